"""What is written about a run while it goes: its results, its judgements, its checkpoints."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from yolox_deploy.errors import ImageError, OutputError, YoloxDeployError
from yolox_deploy.models.saving import save_checkpoint
from yolox_deploy.pictures.output import write_picture
from yolox_deploy.pictures.sheet import mosaic
from yolox_deploy.sinks.outputs import check_folder, check_new
from yolox_deploy.sinks.page import is_page_of
from yolox_deploy.training.data.pictures import CocoPictures
from yolox_deploy.training.report.judgement import Judgement
from yolox_deploy.training.report.outcome import FORMAT, Outcome
from yolox_deploy.training.report.page import DRAWN, MOSAIC, PAGE, write_report
from yolox_deploy.training.report.results import EpochResult, Reporter
from yolox_deploy.training.settings import TrainingRun

# What a run writes into its folder.
FILES = ("last.pth", "best.pth", "results.csv", "results.json", "results.png")


class Record:
    """A run's folder, and what it has come to so far.

    ``start`` is the judgement on the weights before training, ``judged`` that of the last epoch
    that was measured, ``trained`` that of the best one.  ``start_weights`` are those to keep if
    nothing is better.  ``full_epochs`` is how many epochs the recipe for the data has (0: unknown).

    Raises :class:`OutputError` for a folder that holds the files of another run, unless this one is
    ``resumed``.
    """

    def __init__(self, folder: Path, reporter: Reporter, *, resumed: bool) -> None:
        if not resumed:
            if os.path.lexists(folder / FILES[0]):
                raise OutputError(
                    f"{folder} holds a run already: continue it with --resume, or choose another"
                    " --output"
                )
            # The page of a run that ended before its first checkpoint is in nobody's way.
            names = FILES if is_page_of(folder / PAGE, FORMAT) else (*FILES, *DRAWN)
            check_new([folder / name for name in names], "choose another --output")
        check_folder(folder)
        self.folder = folder
        self.reporter = reporter
        self.history: list[EpochResult] = []
        self.notes: list[str] = []
        self.start: Judgement | None = None
        self.judged: Judgement | None = None
        self.trained: Judgement | None = None
        self.start_weights: dict[str, Tensor] | None = None
        self.full_epochs = 0

    def load(self, content: Mapping[str, Any]) -> None:
        """Take over what :meth:`save` wrote into a ``last.pth``."""
        self.history = [EpochResult(**row) for row in content["history"]]
        self.start, self.trained = (
            Judgement.from_plain(content[key]) if content[key] else None
            for key in ("start", "trained")
        )
        self.full_epochs = int(content.get("full_epochs", 0))

    def note(self, text: str) -> None:
        """Tell the user something, now and in the report."""
        self.notes.append(text)
        self.reporter.message(text)

    def outcome(self, run: TrainingRun, data: CocoPictures, val: CocoPictures | None) -> Outcome:
        """Return what the run has come to so far."""
        return Outcome(
            self.folder,
            run.plain(),
            data.names,
            self.notes,
            self.history,
            self.start,
            self.trained,
            val is not None,
            (val or data).pictures[0].path,
            self.full_epochs,
        )

    def begin(self, outcome: Outcome, data: CocoPictures) -> None:
        """Draw what was read, before the first step: a user sees at once that boxes are wrong."""
        write_report(outcome)
        place = self.folder / MOSAIC
        # A picture that cannot be read ends the run in its turn, with an error that names it.
        with suppress(ImageError):
            write_picture(place, mosaic(data.annotated()))
            self.reporter.message(f"{place} shows pictures with their boxes as they were read")

    def end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Write the report of a run that has ended, or that an error has ended early."""
        if error is None:
            write_report(replace(outcome, ended=True))
            return
        # What happened says more than what writing may still raise.
        with suppress(Exception):
            write_report(replace(outcome, ended=True, problem=_reason(error, outcome)))

    def save(self, outcome: Outcome, model: Mapping[str, Any], rest: Mapping[str, Any]) -> None:
        """Write the checkpoints, the results and, if something new was measured, the report.

        ``model`` is what every checkpoint states; ``rest`` what is needed to resume.
        """
        latest = self.history[-1]
        is_best = outcome.best is latest
        if is_best:
            self.trained = self.judged
            outcome = replace(outcome, trained=self.trained)
        kept = {**model, "ap": outcome.ap, "score_threshold": outcome.score_threshold}
        # The best goes first: a run that is stopped in between repeats this epoch, and so both.
        if is_best:
            save_checkpoint(outcome.best_path, kept)
        elif self.start and self.start_weights:
            start = {"model": self.start_weights, "start_epoch": 0}
            save_checkpoint(outcome.best_path, kept | start)
        self.start_weights = None
        whole = {
            **model,
            "name": f"{model['name']}_last",
            **rest,
            "settings": outcome.settings,
            "history": [asdict(row) for row in self.history],
            "start": self.start and self.start.plain(),
            "trained": self.trained and self.trained.plain(),
            "full_epochs": self.full_epochs,
        }
        save_checkpoint(self.folder / "last.pth", whole)
        outcome.write_results()
        if latest.ap is not None or not outcome.validated:
            write_report(outcome)


def _reason(error: BaseException, outcome: Outcome) -> str:
    """Return in words why a run ended early."""
    if isinstance(error, KeyboardInterrupt):
        folder = shlex.quote(str(outcome.folder.absolute()))
        again = f", and goes on with {FORMAT} --resume --output {folder}"
        return f"it was stopped{again if outcome.history else ''}"
    text = " ".join(str(error).split())
    return text if isinstance(error, YoloxDeployError) else f"{type(error).__name__}: {text}"
