"""Streaming accuracy: what a detector is worth when the world does not wait for it."""
