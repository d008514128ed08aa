"""Training and fine-tuning with the paper's recipe: SimOTA, Mosaic and MixUp, EMA (needs PyTorch).

>>> from pathlib import Path
>>> from yolox_deploy.training import Settings, Source, Trainer, recipe
>>> settings = Settings(
...     arch="nano",
...     train=[Source(Path("train.json"), Path("images/train"))],
...     val=[Source(Path("val.json"), Path("images/val"))],
...     recipe=recipe("nano").fitted(30).but(flip_prob=0.0),
...     imgsz=(224, 224),
... )
>>> history = Trainer(settings, Path("runs/mine")).fit()  # doctest: +SKIP
"""

from yolox_deploy.training.data import Source
from yolox_deploy.training.recipes import RECIPES, Recipe, recipe
from yolox_deploy.training.report import EpochResult, Reporter, StepResult
from yolox_deploy.training.settings import Settings
from yolox_deploy.training.trainer import DivergedError, Trainer

__all__ = [
    "RECIPES",
    "DivergedError",
    "EpochResult",
    "Recipe",
    "Reporter",
    "Settings",
    "Source",
    "StepResult",
    "Trainer",
    "recipe",
]
