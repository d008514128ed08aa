"""Streaming accuracy, kept as JSON and shown: as tables, in a sentence, and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from yolox_deploy.benchmarks.scenarios.charts import chart
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.benchmarks.report.schema import TEXT, record
from yolox_deploy.benchmarks.measure.systems import SystemInfo

# Below this difference in AP nobody should change anything.
WORTH_SAYING = 0.005


@dataclass(frozen=True)
class Run:
    """One way of letting the frames pass.

    ``mode`` is ``zero latency``, ``real time`` or ``simulated``; ``speed`` the factor of simulated
    hardware; ``ap`` COCO's figures (0..1); ``missed``, ``in_time`` and ``mean_lag`` as in
    :class:`~yolox_deploy.benchmarks.scenarios.streaming.streams.Stream`; ``seen`` how many frames were looked
    at; all are means over ``passes``, times that the frames passed.
    """

    mode: str
    schedule: str
    speed: float
    ap: Mapping[str, float]
    missed: float
    in_time: float
    mean_lag: float | None
    seen: float
    passes: int


@dataclass(frozen=True)
class Streamed:
    """All runs of one system, and the seconds of its calls, from which latencies were drawn."""

    label: str
    seconds: Sequence[float]
    runs: Sequence[Run]

    @property
    def offline(self) -> Run:
        """The run of zero latency: plain AP."""
        return self.runs[0]

    @property
    def streaming(self) -> Run:
        """The run to judge by: in real time, else simulated on this hardware or the first given."""
        real = [run for run in self.runs if run.mode == "real time"]
        simulated = [run for run in self.runs if run.mode == "simulated"]
        same = [run for run in simulated if run.speed == 1]
        return (real or same or simulated)[0]

    def simulated(self, schedule: str, speed: float) -> Run | None:
        """Return a simulated run, if there was one."""
        for run in self.runs:
            if (run.mode, run.schedule, run.speed) == ("simulated", schedule, speed):
                return run
        return None


@dataclass(frozen=True)
class StreamingResult:
    """All systems on the same frames; ``annotated`` tells whether their truth was given."""

    source: str
    fps: float
    frames: int
    annotated: bool
    thresholds: str
    seed: int
    systems: Sequence[Streamed]

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> StreamingResult:
        """Return what :meth:`to_json` gave."""
        systems = [
            Streamed(s["label"], tuple(s["seconds"]), tuple(Run(**run) for run in s["runs"]))
            for s in content["systems"]
        ]
        return cls(**{**content, "systems": tuple(systems)})

    def tables(self, systems: Sequence[SystemInfo]) -> list[Table]:
        """Return one table with a row a run."""
        first = ("AP, sAP", "AP50", "AP75") if self.annotated else ("AP", "streaming penalty")
        headers = (
            *("what", "ms a call", "mode", "schedule", "hardware", *first),
            *("missed", "in time", "mean lag", "frames seen"),
        )
        rows = [
            [
                s.label,
                f"{median(s.seconds) * 1e3:.1f}",
                run.mode,
                run.schedule or "-",
                f"{run.speed:g}x",
                *self._figures(run),
                f"{run.missed:.0f}",
                f"{run.in_time:.0f}",
                "-" if run.mean_lag is None else f"{run.mean_lag:.2f}",
                f"{run.seen:.0f}",
            ]
            for s in self.systems
            for run in s.runs
        ]
        truth = (
            "AP at zero latency is COCO's plain AP, every other one is streaming AP"
            if self.annotated
            else "Not annotated: AP is against the same detector's own detections with zero "
            "latency, so it tells what lateness costs, not how good the detector is"
        )
        title = f"{self.source}, {self.frames} frames at {self.fps:g} a second"
        note = (
            f"{truth}. Missed: frames without any output yet; in time: shown at most one frame "
            f"late; mean lag in frames. {self.thresholds}. Simulated with latencies drawn from "
            f"the measured ones, mean of {max(r.passes for s in self.systems for r in s.runs)} "
            f"passes, seed {self.seed}"
        )
        return [Table(title, headers, rows, note)]

    def _figures(self, run: Run) -> list[str]:
        if self.annotated:
            return [f"{run.ap[key]:.4f}" for key in ("ap", "ap50", "ap75")]
        return [f"{run.ap['ap']:.4f}", f"{1 - run.ap['ap']:.4f}"]

    def best(self) -> Streamed:
        """Return the system with the highest streaming AP."""
        return max(self.systems, key=lambda s: s.streaming.ap["ap"])

    def advice(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Say which model to take, and what the dynamic schedule would bring."""
        found = []
        best = self.best()
        if self.annotated and not any(s.offline.ap["ap"] for s in self.systems):
            found.append(
                f"nothing of what {self.source} annotates was found: do the annotations belong to "
                "these frames, and the model's classes to them?"
            )
        elif self.annotated:
            found.append(
                f"for {self.fps:g} FPS on this machine take {best.label}: sAP "
                f"{best.streaming.ap['ap']:.4f}, AP {best.offline.ap['ap']:.4f}"
                + (f", the best of {len(self.systems)}" if len(self.systems) > 1 else "")
            )
        for s in self.systems:
            late = sum(second * self.fps > 1 for second in s.seconds) / len(s.seconds)
            if late > 0.5:
                found.append(
                    f"{s.label} takes {median(s.seconds) * 1e3:.1f} ms a picture and does not "
                    f"keep up with {self.fps:g} FPS: a smaller model or input size may score higher"
                )
            naive, dynamic = (s.simulated(name, 1.0) for name in ("naive", "dynamic"))
            if naive and dynamic and dynamic.ap["ap"] > naive.ap["ap"] + WORTH_SAYING:
                found.append(
                    f"{s.label}: --schedule dynamic would bring "
                    f"{dynamic.ap['ap'] - naive.ap['ap']:+.4f} of AP (simulated)"
                )
        return found

    def doubts(self, systems: Sequence[SystemInfo]) -> list[str]:
        """Return none: the machine's are all there are."""
        return []

    def plot(self, systems: Sequence[SystemInfo], path: Path) -> None:
        """Draw AP at zero latency and in the stream, system by system, coloured by precision."""
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
            if self.annotated:
                title += f"\nbest: {self.best().label}"
            axes.set_title(title)


OWN = "AP against own detections\nwith zero latency"

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT = {"type": "integer", "minimum": 0}
_AMOUNT = {"type": "number", "minimum": 0}
SCHEMA = record(
    source=TEXT,
    fps={"type": "number", "exclusiveMinimum": 0},
    frames={"type": "integer", "minimum": 1},
    annotated={"type": "boolean"},
    thresholds=TEXT,
    seed=_COUNT,
    systems={
        "type": "array",
        "minItems": 1,
        "items": record(
            label=TEXT,
            seconds={"type": "array", "items": _AMOUNT, "minItems": 1},
            runs={
                "type": "array",
                "minItems": 2,
                "items": record(
                    mode={"enum": ["zero latency", "real time", "simulated"]},
                    schedule={"enum": ["", "naive", "dynamic"]},
                    speed=_AMOUNT,
                    ap=record(
                        **dict.fromkeys(
                            ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"), _SHARE
                        )
                    ),
                    missed=_AMOUNT,
                    in_time=_AMOUNT,
                    mean_lag={"type": ["number", "null"], "minimum": 0},
                    seen=_AMOUNT,
                    passes={"type": "integer", "minimum": 1},
                ),
            },
        ),
    },
)
