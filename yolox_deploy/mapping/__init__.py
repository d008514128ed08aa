"""The way of pictures through one runtime, and of many pictures through several at once."""
