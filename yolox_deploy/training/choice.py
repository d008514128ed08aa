"""Chooses the recipe for a data set: the paper's, or one for a small data set and trained weights.

The paper's recipe is made for 300 epochs of 118,000 pictures.  Some hundred steps with it leave
trained weights worse than they were: its learning rate and its mosaics destroy in the first epochs
what only many thousand steps would build again.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolox_deploy.training.recipes import Recipe, recipe
from yolox_deploy.training.weights import ClassRows


@dataclass(frozen=True)
class Small:
    """What is good for few pictures, found by trying (``tools/checks/finetune.py``).

    The run has about so many ``steps``, within the bounds of ``epochs``.  ``memory`` is the time
    constant of the averaged weights as a share of the run: of 1, a third of them is the start.
    """

    steps: int
    epochs: tuple[int, int]
    lr: float
    memory: float
    freeze: int


# The weights know all classes: stay near them.
KNOWN = Small(steps=600, epochs=(5, 40), lr=0.002, memory=1.0, freeze=5)
# Some class starts new, and the rows of a new class must be learned from nothing.
FRESH = Small(steps=1500, epochs=(10, 80), lr=0.005, memory=0.1, freeze=0)
# From this many training pictures on, the paper's recipe is right for trained weights, too.
LARGE = 20_000


def choose_recipe(
    arch: str, pictures: int, batch: int, rows: ClassRows | None
) -> tuple[Recipe, str]:
    """Return the recipe for so many training pictures, and the reason in words.

    ``rows`` says which classes the trained weights know; ``None`` stands for random weights.
    """
    preset = recipe(arch)
    if rows is None:
        return preset, "of the paper, for random weights"
    if pictures >= LARGE:
        return preset, f"of the paper, for {pictures} pictures"
    steps = max(pictures // batch, 1)
    if rows.fresh:
        why = f"for {pictures} pictures and {len(rows.fresh)} classes that the weights do not know"
        settings = FRESH
    else:
        why = f"for {pictures} pictures of classes that the weights know"
        settings = KNOWN
    least, most = settings.epochs
    epochs = min(max(round(settings.steps / steps), least), most)
    return preset.but(
        epochs=epochs,
        warmup_epochs=max(round(0.1 * epochs), 1),
        plain_epochs=round(0.3 * epochs),
        eval_every=max(round(epochs / 20), 1),
        lr=settings.lr,
        ema_decay=1 - 1 / max(settings.memory * epochs * steps, 2),
        ema_ramp=steps,
        freeze=settings.freeze,
    ), why
