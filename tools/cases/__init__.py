"""Command lines with odd options and odd files, made by Hypothesis, and how each one must end."""
