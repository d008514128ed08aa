"""The commands: thin layers of arguments and tables over the library."""
