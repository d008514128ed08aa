"""The charts of a run, as PNGs; there are none where matplotlib is not installed."""

from __future__ import annotations

import functools
import io
import math
from typing import Any

from yolox_deploy.data.ap import AveragePrecision
from yolox_deploy.packages import is_installed, why_broken
from yolox_deploy.training.report.judgement import SCORES
from yolox_deploy.training.report.results import SHOWN, EpochResult

# The least height of the axis of AP, as a share of the highest AP: below it, differences are noise.
LEAST_SPAN = 0.1


def drawable() -> bool:
    """Whether charts can be drawn here."""
    return is_installed("matplotlib") and not why_broken("matplotlib.figure")


# A page is written again at the end of a run, with the charts of its last evaluation.
@functools.lru_cache(1)
def curves(history: tuple[EpochResult, ...], start: AveragePrecision | None = None) -> bytes:
    """Return a PNG of losses and AP over the epochs; ``start`` is AP before training."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    figure = _figure()
    losses, precision = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    for name in SHOWN:
        values = [getattr(row, name) or math.nan for row in history]  # l1 is 0 until the end
        losses.plot(epochs, values, marker=".", label=name)
    losses.set(title="training loss", xlabel="epoch", yscale="log")
    # 0.5, 1, 2, 5, 10, ... in plain numbers.
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("")
    measured = [row for row in history if row.ap is not None]
    shown: list[float] = [start.ap] if start else []
    for name, label in (("ap50", "AP50"), ("ap75", "AP75"), ("ap", "AP")):
        values = [getattr(row, name) for row in measured]
        precision.plot([row.epoch for row in measured], values, marker=".", label=label)
        shown += values
    if start:
        style = {"color": "black", "linestyle": ":"}
        precision.axhline(start.ap, label="AP before training", **style)
    precision.set(title="average precision, validation set", xlabel="epoch")
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if high > 0:
        middle, half = (low + high) / 2, 0.55 * max(high - low, LEAST_SPAN * high)
        # A little below 0, so that points at 0 are seen.
        precision.set_ylim(max(middle - half, -0.03 * high), middle + half)
    else:
        precision.set_ylim(-0.03, 1)
        text = "AP is 0: nothing found was right" if shown else "not measured"
        precision.text(0.5, 0.5, text, ha="center", transform=precision.transAxes)
    for axes in (losses, precision):
        axes.set_xlim(0.5, max(len(history), 1) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _finish(axes)
    return _png(figure)


@functools.lru_cache(1)
def score_curves(
    precision: tuple[float | None, ...], recall: tuple[float, ...], threshold: float
) -> bytes:
    """Return a PNG of precision, recall and F1 at each of ``SCORES``, and of the threshold."""
    figure = _figure(6)
    axes = figure.subplots()
    known = [math.nan if value is None else value for value in precision]
    f1 = [
        2 * p * r / (p + r) if p + r > 0 else math.nan for p, r in zip(known, recall, strict=True)
    ]
    for label, values in (("precision", known), ("recall", recall), ("F1", f1)):
        axes.plot(SCORES, values, label=label)
    label = f"highest F1: score {threshold:.2f}"
    axes.axvline(threshold, color="black", linestyle=":", label=label)
    axes.set(title="all classes, IoU 0.5", xlabel="score threshold", xlim=(0, 1), ylim=(0, 1.02))
    _finish(axes)
    return _png(figure)


def _figure(width: float = 10) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, 4), layout="constrained")


def _finish(axes: Any) -> None:
    axes.grid(alpha=0.3)
    # Beside the curves, which may be anywhere.
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()
