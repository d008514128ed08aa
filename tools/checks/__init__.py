"""Checks of the benchmarks and of GPUs, run by hand: ``python -m tools.checks.NAME``."""
