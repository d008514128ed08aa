"""Measurements: accuracy, latency."""
