"""Training and fine-tuning with the paper's recipe: SimOTA, Mosaic and MixUp, EMA (needs PyTorch).

>>> from yolox_deploy.training import train
>>> outcome = train("data.yaml", weights="yolox_nano", epochs=30)  # doctest: +SKIP

The parts, for what the arguments do not say:

>>> from pathlib import Path
>>> from yolox_deploy.training import Settings, CocoSource, Trainer, recipe
>>> settings = Settings(
...     arch="nano",
...     train=[CocoSource(Path("train.json"), Path("images/train"))],
...     val=[CocoSource(Path("val.json"), Path("images/val"))],
...     recipe=recipe("nano").fitted(30).but(flip_prob=0.0),
...     imgsz=(224, 224),
... )
>>> history = Trainer(settings, Path("runs/mine")).fit()  # doctest: +SKIP
"""

from yolox_deploy.datasets.sources import CocoSource
from yolox_deploy.training.recipes import RECIPES, Recipe, recipe
from yolox_deploy.training.report.outcome import Outcome
from yolox_deploy.training.report.results import EpochResult, Reporter, StepResult
from yolox_deploy.training.run import train
from yolox_deploy.training.settings import Settings
from yolox_deploy.training.trainer import DivergedError, Trainer

__all__ = [
    "RECIPES",
    "CocoSource",
    "DivergedError",
    "EpochResult",
    "Outcome",
    "Recipe",
    "Reporter",
    "Settings",
    "StepResult",
    "Trainer",
    "recipe",
    "train",
]
