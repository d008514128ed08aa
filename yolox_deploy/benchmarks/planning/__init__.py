"""``yolox-plan``: which model, input size, engine, precision and threads to take on a machine.

``candidates`` lists what could be taken, ``policy`` decides what is measured next and what is
dropped, ``race`` measures, ``promise`` proves the choice and lets LoadGen test it, and ``plan`` is
the result: stored, shown and drawn.
"""
