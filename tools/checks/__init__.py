"""Checks of the benchmarks themselves and of GPUs, run by hand: ``python -m`` and the name."""
