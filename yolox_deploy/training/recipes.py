"""How to train: all settings of the YOLOX recipe in one object, and a preset per model size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from yolox_deploy.architectures import architecture
from yolox_deploy.errors import UsageError, number_of, suggest

# The batch that learning rates are stated for.
REFERENCE_BATCH = 64


# What can be frozen, from the picture on: the stages of the backbone, and the pyramid behind it.
STAGES = ("stem", "dark2", "dark3", "dark4", "dark5", "pyramid")
SHOWN = ("epochs", "warmup_epochs", "plain_epochs", "lr", "ema_decay", "mosaic_prob", "freeze")
SHARE = (0, 1)
# The lowest and the highest value of each setting of a recipe.
BOUNDS: dict[str, tuple[float, float]] = {
    "epochs": (1, 1_000_000),
    "warmup_epochs": (0, 1_000_000),
    "plain_epochs": (0, 1_000_000),
    "lr": (1e-12, 1e38),
    **dict.fromkeys(("lr_floor", "momentum", "weight_decay", "ema_decay"), SHARE),
    "ema_ramp": (1, 1_000_000_000),
    "eval_every": (1, 1_000_000),
    "patience": (0, 1_000_000),
    "freeze": (0, 6),
    **dict.fromkeys(("mosaic_prob", "mixup_prob", "hsv_prob", "flip_prob"), SHARE),
    "degrees": (0, 180),
    "shear": (0, 80),
    "translate": (0, 10),
    **dict.fromkeys(("scale", "mixup_scale"), (0.01, 10)),
    "hsv": (0, 255),
    "multiscale": (0, 100),
}


@dataclass(frozen=True)
class Recipe:
    """Optimisation and augmentation; the defaults are those of the paper (arXiv 2107.08430).

    Epochs, learning rate and evaluation:

    * ``epochs`` is the number of all epochs.  The first ``warmup_epochs`` of them raise the
      learning rate.  The last ``plain_epochs`` use pictures without Mosaic and MixUp, a constant
      learning rate and the additional L1 loss;
    * ``lr`` is the learning rate for a batch of 64 and is scaled with the batch; at the end of the
      cosine it has fallen to ``lr * lr_floor``;
    * ``ema_decay`` is the decay of the moving average of the weights, which grows to this value
      with a time constant of ``ema_ramp`` steps;
    * AP is measured after every ``eval_every`` epochs.  If it was not better for ``patience``
      epochs, training ends (0: never);
    * ``freeze`` is the number of stages that keep their weights and their statistics, counted from
      the picture: 1 to 5 are those of the backbone, 6 is the pyramid behind it.

    Augmentation (``*_prob`` are probabilities, ranges are uniform):

    * ``mosaic_prob``: a picture becomes a mosaic of four, turned by up to ``degrees``, sheared by
      up to ``shear`` degrees, scaled by ``scale``, shifted by up to ``translate`` of its size;
    * ``mixup_prob``: a mosaic is blended with another picture, scaled by ``mixup_scale``;
    * ``hsv_prob``: colours change by up to ``hsv`` (hue in degrees / 2, saturation, value);
    * ``flip_prob``: the picture is mirrored left to right;
    * ``multiscale``: the input side varies by up to this number of steps of 32 pixels for an input
      of 640 pixels, and in proportion for other inputs.
    """

    epochs: int = 300
    warmup_epochs: int = 5
    plain_epochs: int = 15
    lr: float = 0.01
    lr_floor: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    ema_decay: float = 0.9998
    ema_ramp: int = 2000
    eval_every: int = 10
    patience: int = 0
    freeze: int = 0

    mosaic_prob: float = 1.0
    degrees: float = 10.0
    shear: float = 2.0
    scale: tuple[float, float] = (0.1, 2.0)
    translate: float = 0.1
    mixup_prob: float = 1.0
    mixup_scale: tuple[float, float] = (0.5, 1.5)
    hsv_prob: float = 1.0
    hsv: tuple[int, int, int] = (5, 30, 30)
    flip_prob: float = 0.5
    multiscale: int = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            least, most = BOUNDS[field.name]
            given = getattr(self, field.name)
            values = given if isinstance(given, tuple) else (given,)
            if not all(least <= value <= most for value in values):
                raise UsageError(f"{field.name} must lie in {least}..{most}, got {given}")
            if len(values) == 2 and values[0] > values[1]:
                raise UsageError(f"{field.name} is a range from low to high, got {given}")
        if self.warmup_epochs + self.plain_epochs > self.epochs:
            raise UsageError(
                f"warmup_epochs {self.warmup_epochs} and plain_epochs {self.plain_epochs} do not"
                f" fit into {number_of(self.epochs, 'epoch')}"
            )

    def but(self, **changes: Any) -> Self:
        """Return a copy with some settings changed.

        Raises :class:`UsageError` for an unknown setting, or a value of another kind.
        """
        known = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in known:
                raise UsageError(
                    f"a recipe has no setting {name!r}{suggest(name, known)}; it has"
                    f" {', '.join(known)}"
                )
            if not _alike(value, getattr(self, name)):
                raise UsageError(f"{name} must be like {getattr(self, name)!r}, not {value!r}")
        return replace(self, **changes)

    def fitted(self, epochs: int) -> Self:
        """Return the recipe for a run of another length, its phases shrunk in proportion."""
        share = min(epochs / self.epochs, 1.0)
        return self.but(
            epochs=epochs,
            warmup_epochs=min(max(round(self.warmup_epochs * share), 1), epochs // 2),
            plain_epochs=round(self.plain_epochs * share),
            eval_every=max(round(self.eval_every * share), 1),
        )

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return the recipe :meth:`fitted` to the epochs among the changes, with the others."""
        epochs = changes.get("epochs")
        if not isinstance(epochs, int):
            return self.but(**changes)
        return self.fitted(epochs).but(**{**changes, "epochs": epochs})

    def described(self) -> str:
        """Return the settings that matter most, as ``--set`` takes them."""
        return " ".join(f"{name}={getattr(self, name):g}" for name in SHOWN)

    def learning_rate(self, step: int, batch: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step, counted from 0 over the whole run.

        A quadratic warm-up from 0, half a cosine down to the floor, and the floor until the end
        (the schedule that goes with arXiv 2107.08430).  ``batch`` is summed over all processes.
        """
        peak = self.lr * batch / REFERENCE_BATCH
        floor = peak * self.lr_floor
        warmup = self.warmup_epochs * steps_per_epoch
        cosine_end = (self.epochs - self.plain_epochs) * steps_per_epoch
        if step < warmup:
            return peak * ((step + 1) / warmup) ** 2
        if step >= cosine_end:
            return floor
        progress = (step - warmup) / (cosine_end - warmup)
        return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def _alike(value: Any, example: Any) -> bool:
    """Whether a value is of the example's kind: a number, or the same count of numbers."""
    if isinstance(example, tuple):
        good = isinstance(value, tuple) and len(value) == len(example)
        return good and all(_alike(number, 0.0) for number in value)
    kinds = int if isinstance(example, int) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool)


LARGE = Recipe()
# Strong augmentation hurts small models (paper, table 5): no MixUp, and a narrower scale.
SMALL = Recipe(mixup_prob=0.0, scale=(0.5, 1.5))

RECIPES: dict[str, Recipe] = {
    "nano": SMALL.but(mosaic_prob=0.5),
    **dict.fromkeys(("tiny", "s"), SMALL),
    **dict.fromkeys(("m", "l", "x", "darknet53"), LARGE),
}


def recipe(arch: str) -> Recipe:
    """Return the preset for an architecture (any name :func:`architecture` understands)."""
    return RECIPES[architecture(arch).name]
