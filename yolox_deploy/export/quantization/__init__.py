"""INT8: what stays in floating point is found by measurement, see ``docs/int8.md``.

``graph`` writes the INT8 graph, ``calibration`` reads pictures and finds the range of each tensor,
``scoring`` tells how well a graph detects, ``search`` decides what to try next, ``speed`` whether
the result is worth it, ``plan`` keeps it all in a file, and ``quantizer`` puts them together.
"""
