"""The commands that tell whether two models, or one and its checkpoint, detect the same."""
