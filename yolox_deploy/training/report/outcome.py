"""What a run came to: what its report shows, and what ``train`` returns."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from yolox_deploy.errors import number_of
from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.training.report.judgement import Judgement
from yolox_deploy.training.report.results import EpochResult, best_epoch

FORMAT = "yolox-train"
WHAT_TO_TRY = (
    "Try a lower --lr, more --freeze, or more pictures; and look whether the boxes in the data are"
    " right"
)


@dataclass(frozen=True)
class Outcome:
    """A run and what it came to, or has come to so far.

    * ``folder`` holds its files; ``settings`` are those of the run as plain values; ``names`` the
      classes; ``notes`` the sentences about data and weights that the user was told;
    * ``history`` has the results of its epochs;
    * ``before`` is the judgement on the weights that it started from (``None``: random ones, or
      nothing was measured), ``trained`` that on the best epoch, ``validated`` whether there are
      validation pictures at all;
    * ``example`` is one of the pictures;
    * ``full_epochs`` is how many epochs the recipe for the data has (0: unknown);
    * ``ended`` is whether the run has ended, and ``problem`` why it ended early, if it did.
    """

    folder: Path
    settings: Mapping[str, Any]
    names: Sequence[str]
    notes: Sequence[str]
    history: Sequence[EpochResult]
    before: Judgement | None
    trained: Judgement | None
    validated: bool
    example: Path
    full_epochs: int = 0
    ended: bool = False
    problem: str | None = None

    @property
    def best(self) -> EpochResult | None:
        """The epoch that ``best.pth`` is of; ``None``: the start, because no epoch was better."""
        if not self.validated:
            return self.history[-1] if self.history else None
        return best_epoch(self.history, self.before and self.before.figures)

    @property
    def after(self) -> Judgement | None:
        """The judgement on ``best.pth``."""
        return self.trained if self.best else self.before

    @property
    def gained(self) -> bool:
        """Whether an epoch was better than the start; also true where there is nothing to beat."""
        return not self.before or self.best is not None

    @property
    def ap_before(self) -> float | None:
        """AP of the weights that the run started from, where it was measured."""
        return self.before and self.before.figures.ap

    @property
    def ap(self) -> float | None:
        """AP of ``best.pth``, where it was measured."""
        return self.after and self.after.figures.ap

    @property
    def score_threshold(self) -> float | None:
        """The score with the highest F1 on the validation pictures; ``best.pth`` states it."""
        return self.after and self.after.threshold

    @property
    def by_class(self) -> dict[str, dict[str, float | None]]:
        """Of each class: the number of ``objects`` to validate on, AP ``before`` and ``after``."""
        if self.after is None:
            return {}
        return {
            name: {
                "objects": self.after.objects[i],
                "before": self.before and self.before.by_class[i],
                "after": self.after.by_class[i],
            }
            for i, name in enumerate(self.names)
        }

    @property
    def best_path(self) -> Path:
        """The checkpoint to use."""
        return self.folder / "best.pth"

    @property
    def report_path(self) -> Path:
        """The page that shows all of this."""
        return self.folder / "report.html"

    def sentence(self) -> str:
        """Return what ``best.pth`` is."""
        before = f", before training {self.ap_before:.4f}" if self.ap_before is not None else ""
        best = self.best
        if not self.validated:
            return "AP was not measured, so best.pth is of the last epoch; --val measures it"
        if best and best.ap is not None:
            return f"best.pth is of epoch {best.epoch}: AP {best.ap:.4f}{before}"
        if self.before and self.history:
            start = "no epoch was better than the start, so best.pth holds the start"
            return f"{start}: AP {self.ap_before:.4f}. {self._too_short()}{WHAT_TO_TRY}"
        return f"AP was not measured yet{before}"

    def _too_short(self) -> str:
        """Return that the run has fewer epochs than the recipe for its data, where it does."""
        epochs = self.settings["recipe"]["epochs"]
        if epochs >= self.full_epochs:
            return ""
        given = number_of(epochs, "epoch")
        return f"This run has {given}, the recipe for its pictures has {self.full_epochs}. "

    def commands(self) -> list[str]:
        """Return the commands to go on with."""
        model = shlex.quote(str(self.best_path))
        picture, folder = (shlex.quote(str(p)) for p in (self.example, self.example.parent))
        return [
            f"yolox-detect {picture} --model {model}",
            f"yolox-export --model {model} --to onnx --verify {folder}",
        ]

    def document(self) -> dict[str, Any]:
        """Return what ``results.json`` has beside its format and version."""
        return {
            "settings": self.settings,
            "start": self.before and self.before.figures.as_dict(),
            "score_threshold": self.score_threshold,
            "classes": self.by_class,
            "epochs": [asdict(result) for result in self.history],
        }

    def write_results(self) -> None:
        """Write ``results.csv`` and ``results.json``; raises :class:`OutputError`."""
        document = self.document()
        table = io.StringIO()
        writer = csv.DictWriter(table, [field.name for field in fields(EpochResult)])
        writer.writeheader()
        writer.writerows(document["epochs"])
        write_atomically(self.folder / "results.csv", table.getvalue())
        write_document(self.folder / "results.json", FORMAT, document)
