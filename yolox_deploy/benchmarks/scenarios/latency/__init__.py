"""Latency by stage, cold start, memory, and the share of the machine's limit."""
