"""The report of a run: one HTML page that needs nothing beside it, and its pictures as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.ap import figure_text
from yolox_deploy.errors import ImageError, number_of
from yolox_deploy.files import write_atomically
from yolox_deploy.packages import install_line
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.output import write_picture
from yolox_deploy.pictures.sheet import Annotated, sheet
from yolox_deploy.sinks.page import Page, as_jpeg
from yolox_deploy.training.report.charts import curves, drawable, score_curves
from yolox_deploy.training.report.judgement import NOTHING, SCORES, Judgement, Wrong
from yolox_deploy.training.report.outcome import FORMAT, Outcome

# What is written into the folder of a run.
PAGE, MOSAIC = "report.html", "mosaic.png"
CURVES, SCORE_CURVES, WORST = "results.png", "scores.png", "worst.jpg"
DRAWN = (PAGE, MOSAIC, SCORE_CURVES, WORST)
FIGURES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
BY_SIZE = {"ap_small": "AP small", "ap_medium": "AP medium", "ap_large": "AP large"}
# The longest side of each of the two pictures of a row.
SIDE = 560
# From more classes a matrix cannot be read; and how many mistakes are listed.
MOST_CLASSES, LISTED = 12, 10
Image = NDArray[np.uint8]


def write_report(outcome: Outcome) -> None:
    """Write the page and its pictures into the run's folder; raises :class:`OutputError`."""
    page = Page(f"Training of {outcome.folder.resolve().name}", FORMAT)
    page.text(*verdict(outcome))
    _figures(page, outcome)
    if outcome.history:
        page.heading("Use the model")
        # Right wherever the page is read.
        folder, example = outcome.folder.absolute(), outcome.example.absolute()
        page.lines(replace(outcome, folder=folder, example=example).commands())
        _curves(page, outcome)
    if outcome.after:
        _classes(page, outcome)
        _threshold(page, outcome)
        _mistakes(page, outcome.names, outcome.after)
        _worst(page, outcome, outcome.after)
    _data(page, outcome)
    _settings(page, outcome)
    write_atomically(outcome.report_path, page.content())


def verdict(outcome: Outcome) -> tuple[str, str]:
    """Return in a sentence what the run came to, and whether that is good, bad, or still going."""
    done, all_epochs = len(outcome.history), outcome.settings["recipe"]["epochs"]
    state = f"{done} of {number_of(all_epochs, 'epoch')}"
    rest = f"; {outcome.sentence()}" if done else ""
    if outcome.problem:
        return f"This run ended early, after {state}: {outcome.problem}{rest}.", "bad"
    if not outcome.ended:
        going = f"When this page was written, {state} were done{rest}."
        return f"{going} If the run is no longer going, it was ended from outside.", "going"
    early = ", because AP was no longer better" if done < all_epochs else ""
    text = f"Finished after {state}{early}{rest}."
    if outcome.before and not outcome.best and (last := outcome.history[-1].ap) is not None:
        text += f" The last epoch had AP {last:.4f}."
    if outcome.validated and not outcome.ap:
        why = "Nothing that the model found on the validation pictures was right."
        return f"{text} {why}", "bad"
    return text, "good" if outcome.gained else "bad"


def _figures(page: Page, outcome: Outcome) -> None:
    before, after = (judged and judged.figures for judged in (outcome.before, outcome.after))
    if after is None:
        return
    page.heading("Average precision before and after")
    rows = []
    for key, title in (FIGURES | BY_SIZE).items():
        old, new = getattr(before, key, None), getattr(after, key)
        rows.append([title, figure_text(old), figure_text(new), _change(old, new)])
    page.table(["", "before training", "best.pth", "change"], rows)
    if before is None:
        page.text("The run began with random weights, so there is no AP before training.")


def _change(old: float | None, new: float | None) -> str:
    return "-" if old is None or new is None else f"{new - old:+.4f}"


def _curves(page: Page, outcome: Outcome) -> None:
    page.heading("Losses and AP")
    if not drawable():
        page.text(f"Charts are drawn by matplotlib, which is missing: {install_line('train')}")
        return
    first, last = outcome.history[0], outcome.history[-1]
    measured = [row for row in outcome.history if row.ap is not None]
    told = f"Total loss: {first.total:.3f} in the first epoch, {last.total:.3f} in the last."
    if measured:
        values = [f"{row.ap:.4f} after epoch {row.epoch}" for row in measured[-5:]]
        told += f" AP: {', '.join(values)}."
    chart = curves(tuple(outcome.history), outcome.before and outcome.before.figures)
    write_atomically(outcome.folder / CURVES, chart)
    page.picture(chart, told)


def _classes(page: Page, outcome: Outcome) -> None:
    page.heading("AP by class")
    rows = [
        [
            name,
            str(row["objects"]),
            figure_text(row["before"]),
            figure_text(row["after"]),
            _change(row["before"], row["after"]),
        ]
        for name, row in outcome.by_class.items()
    ]
    page.table(["class", "objects", "before training", "best.pth", "change"], rows)


def _threshold(page: Page, outcome: Outcome) -> None:
    judged = outcome.after
    assert judged
    page.heading("Which score threshold")
    if judged.threshold is None:
        page.text("Nothing that was found was right, so no threshold is better than another.")
        return
    precision, recall = judged.at_threshold()
    told = (
        f"With a score threshold of {judged.threshold:.2f} the F1 of precision and recall is"
        f" highest: {precision:.0%} of what is found is right, and {recall:.0%} of the objects are"
        " found."
    )
    objects = number_of(sum(judged.objects), "object")
    page.text(
        f"{told} This was measured on {objects}, at an IoU of at least 0.5. best.pth states this"
        " threshold, and so does what is exported from it: it is used where no other is given."
    )
    if drawable():
        chart = score_curves(tuple(judged.precision), tuple(judged.recall), judged.threshold)
        write_atomically(outcome.folder / SCORE_CURVES, chart)
        page.picture(chart, f"Precision, recall and F1 over the score threshold. {told}")
    rows = [
        [f"{SCORES[i]:.2f}", "-" if p is None else f"{p:.3f}", f"{judged.recall[i]:.3f}"]
        for i, p in enumerate(judged.precision)
        if i % 10 == 9
    ]
    page.table(["score threshold", "precision", "recall"], rows)


def _mistakes(page: Page, names: Sequence[str], judged: Judgement) -> None:
    """Show what was taken for what."""
    page.heading("What is taken for what")
    if judged.threshold is None:
        page.text("Nothing that was found was right.")
        return
    page.text(
        f"At the score threshold {judged.threshold:.2f}, and an IoU of at least 0.5. What is found"
        " on an object that was found already, as another class or twice, is counted as not"
        " annotated."
    )
    if len(names) <= MOST_CLASSES:
        count = {(true, found): number for true, found, number in judged.mistakes}
        order = [*range(len(names)), NOTHING]
        rows = [
            [
                names[true] if true != NOTHING else "(not annotated)",
                *(str(count.get((true, found), 0)) for found in order),
            ]
            for true in order
        ]
        # Nothing that is neither annotated nor found can be counted.
        rows[-1][-1] = "-"
        page.table(["annotated / found as", *names, "(not found)"], rows)
    wrong = [row for row in judged.mistakes if row[0] != row[1]]
    listed = sorted(wrong, key=lambda row: -row[2])[:LISTED]
    if listed:
        rows = [[_mistake(names, true, found), str(number)] for true, found, number in listed]
        page.table(["most frequent mistakes", "number"], rows)


def _mistake(names: Sequence[str], true: int, found: int) -> str:
    if true == NOTHING:
        return f"{names[found]} where none is annotated"
    return f"{names[true]} not found" if found == NOTHING else f"{names[true]} as {names[found]}"


def _worst(page: Page, outcome: Outcome, judged: Judgement) -> None:
    page.heading("The validation pictures with most mistakes")
    if not judged.worst:
        page.text("There are no mistakes." if judged.threshold else "Nothing was found.")
        return
    page.text("Left: as annotated. Right: as found, with scores.")
    cells: list[tuple[str, Image]] = []
    for row in judged.worst:
        for pair in _pair(row, outcome.names):
            told = f"{row.missed} missed, {row.wrong} wrong"
            caption = f"{row.path}: {told}"
            page.picture(as_jpeg(sheet(pair, 2)), f"{caption}; annotations and detections", caption)
            cells += pair
    if cells:
        write_picture(outcome.folder / WORST, sheet(cells, 2))


def _pair(row: Wrong, names: Sequence[str]) -> Iterator[list[tuple[str, Image]]]:
    """Yield a picture as annotated and as found, unless it cannot be read any more."""
    truth = np.array(row.truth, np.float32).reshape(-1, 5)
    found = np.array(row.found, np.float32).reshape(-1, 6)
    path, classes = Path(row.path), found[:, 0].astype(np.int64)
    known = truth[:, 0].astype(np.int64)
    labels = [f"{names[c]} {score:.2f}" for c, score in zip(classes, found[:, 1], strict=True)]
    try:
        left = Annotated(path, truth[:, 1:], known, [names[c] for c in known]).draw(SIDE)
        right = Annotated(path, found[:, 2:], classes, labels).draw(SIDE)
    except ImageError:
        return
    yield [(f"{path.name}, annotated", left), ("found", right)]


def _data(page: Page, outcome: Outcome) -> None:
    page.heading("The data as it was read")
    page.lines(outcome.notes)
    with suppress(ImageError):
        mosaic = as_jpeg(read_image(outcome.folder / MOSAIC))
        page.picture(mosaic, "Training pictures with their boxes as they were read")


def _settings(page: Page, outcome: Outcome) -> None:
    page.heading("Settings")
    settings = dict(outcome.settings)
    recipe = settings.pop("recipe")
    both = (settings | recipe).items()
    rows = [(name, _text(value)) for name, value in both if value not in (None, [], {})]
    page.table(["setting", "value"], rows)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(map(str, value.values()))
    return str(value)
