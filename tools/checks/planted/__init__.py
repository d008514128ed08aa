"""Faults that are planted in artifacts, to see whether yolox-verify finds them."""
