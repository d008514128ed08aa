"""Chooses the recipe for a data set: the paper's, or one for a small data set and trained weights.

The paper's recipe is made for 300 epochs of 118,000 pictures.  Some hundred steps with it leave
trained weights worse than they were: its learning rate and its mosaics destroy in the first epochs
what only many thousand steps would build again.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolox_deploy.errors import number_of
from yolox_deploy.training.recipes import Recipe, recipe
from yolox_deploy.training.weights import ClassRows


@dataclass(frozen=True)
class Small:
    """What is good for few pictures, found by trying (``tools/checks/finetune.py``).

    The run has about so many ``steps``, within the bounds of ``epochs``; the last ``plain`` share
    of it is without Mosaic.  ``memory`` is the time constant of the averaged weights as a share of
    the run: with 1, a third of them is the start.  It grows to this value within the share
    ``ramp``.
    """

    steps: int
    epochs: tuple[int, int]
    plain: float
    lr: float
    memory: float
    ramp: float
    freeze: int


# The weights know all classes: stay near them.
KNOWN = Small(steps=600, epochs=(5, 30), plain=0.1, lr=0.002, memory=1.0, ramp=0.03, freeze=5)
# Some class is new, and its weights must be learned from nothing.
FRESH = Small(steps=600, epochs=(10, 200), plain=0.2, lr=0.04, memory=0.1, ramp=0.25, freeze=2)
# From this many training pictures on, the paper's recipe is right for trained weights, too.
LARGE = 20_000


def choose_recipe(
    arch: str, pictures: int, batch: int, rows: ClassRows | None, epochs: int | None = None
) -> tuple[Recipe, str]:
    """Return the recipe for so many training pictures, and the reason in words.

    ``rows`` says which classes the trained weights know; ``None`` stands for random weights.
    ``epochs`` are those that the user asks for.
    """
    preset = recipe(arch)
    if rows is None:
        return preset, "of the paper, for random weights"
    if pictures >= LARGE:
        return preset, f"of the paper, for {pictures} pictures"
    count = number_of(pictures, "picture")
    small, why = KNOWN, f"for {count} of classes that the weights know"
    if rows.fresh:
        new = number_of(len(rows.fresh), "new class", "new classes")
        small, why = FRESH, f"for {count} and {new}"
    steps = max(pictures // batch, 1)
    least, most = small.epochs
    epochs = epochs or min(max(round(small.steps / steps), least), most)
    return preset.but(
        epochs=epochs,
        warmup_epochs=min(max(round(0.1 * epochs), 1), epochs // 2),
        plain_epochs=round(small.plain * epochs),
        eval_every=max(round(epochs / 20), 1),
        lr=small.lr,
        ema_decay=round(1 - 1 / max(small.memory * epochs * steps, 2), 5),
        ema_ramp=max(round(small.ramp * epochs * steps), 1),
        freeze=small.freeze,
    ), why
