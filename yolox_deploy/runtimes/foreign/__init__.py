"""Artifacts that state nothing about themselves: what running and reading them tells."""
