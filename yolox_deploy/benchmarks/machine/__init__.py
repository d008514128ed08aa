"""The machine that is measured on: its description, its limits, and doubts."""
