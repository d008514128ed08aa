"""Measurements of speed and accuracy.

Where things are, from the bottom to the top: ``machine`` (what is measured on), ``measure`` (opened
models, the measuring loop, statistics), ``scenarios`` (what can be measured; **a new scenario goes
there**), ``report`` (showing and comparing stored results).
"""
