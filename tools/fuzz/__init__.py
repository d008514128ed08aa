"""Damaged files of every kind, each given to a command in a process of its own."""
