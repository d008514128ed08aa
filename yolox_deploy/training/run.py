"""A training run with the arguments of ``yolox-train``, which calls the same function."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from yolox_deploy.datasets.sources import DataFiles, data_files
from yolox_deploy.errors import UsageError, number_of
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.spec import as_size
from yolox_deploy.training.distributed import processes
from yolox_deploy.training.report.outcome import Outcome
from yolox_deploy.training.report.results import Reporter
from yolox_deploy.training.settings import Settings
from yolox_deploy.training.trainer import Trainer
from yolox_deploy.weights import find_model

Place: TypeAlias = str | os.PathLike[str]
Places: TypeAlias = Place | Sequence[Place]
NUMBER = r"(\d+(?:\.\d+)?)"
TIME = re.compile(rf"(?:{NUMBER}h)?(?:{NUMBER}m)?(?:{NUMBER}s)?")


def train(
    data: Places = (),
    *,
    images: Places = (),
    val: Places = (),
    val_images: Places = (),
    arch: str | None = None,
    weights: Place | None = None,
    legacy: bool | None = None,
    imgsz: int | Sequence[int] | None = None,
    epochs: int | None = None,
    time: str | float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    freeze: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    set: Mapping[str, Any] | None = None,
    precision: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    output: Place | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Outcome:
    """Train, or continue a run, and return what its report shows.

    The arguments are the options of ``yolox-train``, with the same meanings and defaults:
    ``yolox-train --help`` lists them.  Several files are a list; ``time`` is a text such as
    ``1h30m`` or a number of seconds, ``set`` a mapping of names to values.  Errors name the options
    as on the command line.

    ``reporter`` is given the progress (``None``: nothing is shown), for example a
    :class:`~yolox_deploy.training.console.ConsoleReporter`.

    >>> outcome = train("data.yaml", weights="yolox_nano", output="runs/mine")  # doctest: +SKIP
    >>> outcome.ap_before, outcome.ap, outcome.score_threshold  # doctest: +SKIP
    (0.331, 0.402, 0.37)

    Raises what :class:`~yolox_deploy.training.trainer.Trainer` and its ``fit`` raise, and
    :class:`UsageError`.
    """
    files = data_files(*map(_paths, (data, val, images, val_images)))
    recipe = {"epochs": epochs, "lr": lr, "freeze": freeze, "patience": patience}
    changes = _given(**recipe) | dict(set or {})
    folder = None if output is None else Path(output)
    # What a resumed run keeps, and what may be other for it.
    kept = _given(legacy=legacy, batch=batch, seed=seed, precision=precision, threads=threads)
    free = _given(workers=workers)
    with processes(device) as group:
        if resume:
            given = _given(arch=arch, weights=weights, imgsz=imgsz, time=time, set=set or None)
            if refused := ", ".join(f"--{name}" for name in given | _given(**recipe) | kept):
                raise UsageError(f"a resumed run keeps its settings: leave out {refused}")
            if folder is None:
                raise UsageError("--resume needs --output, the folder of the run")
            moved = {"train": files.train, "val": files.val}
            free |= {key: value for key, value in moved.items() if value}
            trainer = Trainer.resume(folder, group, reporter, **free)
        else:
            settings = replace(
                _settings(files, arch, weights),
                changes=changes,
                seconds=_seconds(time) if isinstance(time, str) else time,
                imgsz=None if imgsz is None else as_size(imgsz),
                **kept,
                **free,
            )
            trainer = Trainer(settings, folder or Path("runs", settings.arch), group, reporter)
        try:
            trainer.fit()
        except KeyboardInterrupt:
            done = number_of(len(trainer.history), "complete epoch")
            again = f": continue with yolox-train --resume --output {trainer.output}"
            trainer.reporter.message(f"stopped after {done}{again if trainer.history else ''}")
            raise
        return replace(trainer.outcome, ended=True)


def _settings(files: DataFiles, arch: str | None, weights: Place | None) -> Settings:
    if not files.train:
        raise UsageError("what to train on? Give --data train.json, or --data data.yaml")
    path = find_model(weights) if weights else None
    name = arch or (path and load_checkpoint(path).arch.name)
    if not name:
        raise UsageError("which network? Give --arch nano, or --weights to start from")
    return Settings(name, files.train, files.val, weights=path, names=files.names)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _paths(places: Places) -> list[Path]:
    several = [places] if isinstance(places, (str, os.PathLike)) else places
    return [Path(place) for place in several]


def _seconds(text: str) -> float:
    """Return the seconds of ``90s``, ``30m``, ``1h30m``."""
    found = TIME.fullmatch(text.strip().lower())
    if not text.strip() or not found:
        raise UsageError(f"--time {text}: expected a time such as 90s, 30m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds
