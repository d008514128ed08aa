"""From what a user names as a model to an opened runtime."""
