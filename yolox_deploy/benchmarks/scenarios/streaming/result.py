"""Streaming accuracy, stored as JSON and shown: as a table, as advice, and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.base import ApFigures, Result, Table
from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.data.ap import figure_text
from yolox_deploy.records import Amount, Count, Record, Side, Words

# Advice is not given for a smaller difference in AP.
WORTH_SAYING = 0.005


@dataclass(frozen=True)
class Playing(Record):
    """The figures of playing all frames in one way.

    ``speed`` is the factor of simulated hardware; ``missed``, ``in_time`` and ``mean_lag`` are as
    in ``Stream``; ``seen`` is the number of frames that were looked at.  All are means over
    ``passes``, which is how often the frames were played.  ``boxes`` is how they were shown: as the
    detector gave them, as a tracker behind it returned them, or moved by it to the moment when they
    were shown.
    """

    mode: Annotated[str, Words(enum=["zero latency", "real time", "simulated"])]
    schedule: Annotated[str, Words(enum=["", "naive", "dynamic"])]
    speed: Amount
    ap: ApFigures
    missed: Amount
    in_time: Amount
    mean_lag: Amount | None
    seen: Amount
    passes: Side
    boxes: Annotated[str, Words(enum=["as detected", "tracked", "forecast"])] = "as detected"


@dataclass(frozen=True)
class Streamed(Record):
    """All playings of one system, and the seconds of its calls, from which latencies were drawn."""

    label: str
    seconds: Annotated[Sequence[Amount], Words(minItems=1)]
    runs: Annotated[Sequence[Playing], Words(minItems=2)]

    @property
    def offline(self) -> Playing:
        """The playing at zero latency: plain AP."""
        return self.runs[0]

    @property
    def streaming(self) -> Playing:
        """The playing of the detector alone to judge by: in real time, else simulated."""
        return next(iter(self.shown.values()))

    @property
    def shown(self) -> dict[str, Playing]:
        """The playings to judge by: for each way of showing boxes that in real time, or simulated.

        As detected comes first.
        """
        # Of equal ones, min() returns the first.
        return {
            boxes: min(
                (run for run in self.runs[1:] if run.boxes == boxes),
                key=lambda run: (run.mode != "real time", run.speed != 1),
            )
            for boxes in dict.fromkeys(run.boxes for run in self.runs[1:])
        }

    def simulated(self, schedule: str, speed: float, boxes: str = "as detected") -> Playing | None:
        """Return a simulated playing, if there is one."""
        wanted = ("simulated", schedule, speed, boxes)
        rows = ((run, (run.mode, run.schedule, run.speed, run.boxes)) for run in self.runs)
        return next((run for run, row in rows if row == wanted), None)


@dataclass(frozen=True)
class StreamingResult(Result):
    """All systems on the same frames; ``annotated``: whether the true boxes were given."""

    PER_SYSTEM = ("systems",)

    source: str
    fps: Amount
    frames: Side
    annotated: bool
    thresholds: str
    seed: Count
    systems: Annotated[Sequence[Streamed], Words(minItems=1)]

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        cells = [
            {
                "system": s.label,
                "ms per call": f"{median(s.seconds) * 1e3:.1f}",
                **self._in_short(s),
                "missed": f"{s.streaming.missed:.0f}",
            }
            for s in self.systems
        ]
        truth = (
            "AP: all frames, however late (COCO's). sAP: streaming AP, with what is known when a "
            "frame ends"
            if self.annotated
            else "The frames are not annotated: AP is measured against the detections of the same "
            "detector at zero latency, so it shows what lateness costs, and not how good the "
            "detector is"
        )
        title = (
            f"{self.source}, {self.frames} frames at {self.fps:g} per second, "
            f"{self.systems[0].streaming.mode}"
        )
        note = f"{truth}. Missed: frames without any output yet. Thresholds: {self.thresholds}."
        if any(len(s.shown) > 1 for s in self.systems):
            note += f" {BOXES}"
        return [Table.of(title, cells, note), *map(self._playings, self.systems)]

    def _in_short(self, s: Streamed) -> dict[str, str]:
        ap, late = s.offline.ap["ap"], s.streaming.ap["ap"]
        ways = dict.fromkeys(boxes for each in self.systems for boxes in each.shown)
        runs = {boxes: s.shown.get(boxes) for boxes in list(ways)[1:]}
        others = {b: f"{run.ap['ap']:.4f}" if run else "-" for b, run in runs.items()}
        if self.annotated:
            return {"AP": f"{ap:.4f}", "sAP": f"{late:.4f}", **others}
        return {"AP": f"{late:.4f}", **others, "streaming penalty": f"{1 - late:.4f}"}

    def _playings(self, s: Streamed) -> Table:
        several = len(s.shown) > 1
        cells = [
            {
                "played": _described(run),
                **({"boxes": run.boxes} if several else {}),
                **self._figures(run),
                "missed": f"{run.missed:.0f}",
                "in time": f"{run.in_time:.0f}",
                "mean lag": "-" if run.mean_lag is None else f"{run.mean_lag:.2f}",
                "seen": f"{run.seen:.0f}",
            }
            for run in s.runs
        ]
        note = (
            "In time: frames whose output is at most one frame old. Mean lag: in frames. Seen: "
            "frames that were looked at. Simulated: latencies are drawn from the measured ones, "
            f"mean of {max(run.passes for run in s.runs)} passes, seed {self.seed}."
        )
        if several:
            note += f" {BOXES}"
        return Table.of(s.label, cells, note)

    def _figures(self, run: Playing) -> dict[str, str]:
        if self.annotated:
            names = {"(s)AP": "ap", "AP50": "ap50", "AP75": "ap75"}
            return {name: figure_text(run.ap[key]) for name, key in names.items()}
        return {"AP": f"{run.ap['ap']:.4f}", "streaming penalty": f"{1 - run.ap['ap']:.4f}"}

    def best(self) -> Streamed:
        """Return the system with the highest streaming AP."""
        return max(self.systems, key=lambda s: s.streaming.ap["ap"])

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        found = []
        best = self.best()
        if self.annotated and not any(s.offline.ap["ap"] for s in self.systems):
            found.append(
                f"no annotated object of {self.source} was found: do the annotations belong to "
                "these frames, and do the model's classes belong to the annotations?"
            )
        elif self.annotated:
            found.append(
                f"for {self.fps:g} frames per second on this machine take {best.label}: sAP "
                f"{best.streaming.ap['ap']:.4f}, AP {best.offline.ap['ap']:.4f}"
                + (f", the best of {len(self.systems)}" if len(self.systems) > 1 else "")
            )
        for s in self.systems:
            late = sum(second * self.fps > 1 for second in s.seconds) / len(s.seconds)
            if late > 0.5:
                found.append(
                    f"{s.label} takes {median(s.seconds) * 1e3:.1f} ms per picture and does not "
                    f"keep up with {self.fps:g} frames per second: a smaller model or a smaller "
                    "input may score higher"
                )
            forecast = s.shown.get("forecast")
            if forecast and forecast.ap["ap"] > s.streaming.ap["ap"] + WORTH_SAYING:
                found.append(
                    f"{s.label}: boxes that are moved to the moment when they are shown "
                    "(yolox-detect --forecast) bring "
                    f"{forecast.ap['ap'] - s.streaming.ap['ap']:+.4f} of AP"
                )
            naive, dynamic = (s.simulated(name, 1.0) for name in ("naive", "dynamic"))
            if naive and dynamic and dynamic.ap["ap"] > naive.ap["ap"] + WORTH_SAYING:
                found.append(
                    f"{s.label}: --schedule dynamic would bring "
                    f"{dynamic.ap['ap'] - naive.ap['ap']:+.4f} of AP (simulated)"
                )
        return found

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        precisions = list(dict.fromkeys(info.precision for info in systems))
        with chart(path, (2 + 1.2 * max(len(self.systems), 4), 5)) as axes:
            for place, (s, info) in enumerate(zip(self.systems, systems, strict=True)):
                colour = f"C{precisions.index(info.precision)}"
                offline, streaming = s.offline.ap["ap"], s.streaming.ap["ap"]
                axes.bar(place, offline, 0.8, facecolor="none", edgecolor=colour, linestyle="--")
                axes.bar(place, streaming, 0.8, color=colour)
                text = f"{streaming:.3f}\n{median(s.seconds) * 1e3:.0f} ms"
                axes.annotate(text, (place, streaming), ha="center", va="bottom")
            names = [s.label.replace(" ", "\n") for s in self.systems]
            axes.set_xticks(range(len(names)), names)
            axes.set_ylabel("sAP (dashed: AP at zero latency)" if self.annotated else OWN)
            handles = [axes.bar(0, 0, color=f"C{i}") for i in range(len(precisions))]
            axes.legend(handles, precisions, loc="upper left", bbox_to_anchor=(1, 1))
            title = f"{self.source} at {self.fps:g} FPS, {self.systems[0].streaming.mode}"
            best = f"\nbest: {self.best().label}" if self.annotated else ""
            axes.set_title(title + best)


def _described(run: Playing) -> str:
    """Return how the frames were played, in a few words."""
    hardware = f"{run.speed:g}x hardware" if run.mode == "simulated" else ""
    return ", ".join(filter(None, (run.mode, run.schedule, hardware)))


BOXES = (
    "Tracked: what a tracker behind the detector returns. Forecast: its boxes, moved to the moment "
    "when they are shown."
)
OWN = "AP against own detections\nat zero latency"
