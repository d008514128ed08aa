"""One run of ``yolox-bench``: kept as JSON, shown on a terminal, as Markdown and as a chart.

Everything shown is made from what the JSON keeps, so that a file read back gives the same report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.machine.environment import Environment
from yolox_deploy.benchmarks.scenarios.base import SCENARIOS, Result, Table
from yolox_deploy.benchmarks.report.schema import FORMAT, SCHEMA_VERSION, check
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.errors import InputFileError
from yolox_deploy.files import write_atomically
from yolox_deploy.progress import print_table

LARGEST_FILE = 1 << 30


@dataclass(frozen=True)
class Report:
    """What was measured (``systems``), how (``scenario``, ``command``), where, and the result.

    ``created`` is a time in ISO 8601; ``notes`` say what was left out.
    """

    scenario: str
    command: str
    created: str
    environment: Environment
    systems: Sequence[SystemInfo]
    notes: Sequence[str]
    result: Result

    def to_json(self) -> dict[str, Any]:
        """Return the report as the schema describes it."""
        return {
            "format": FORMAT,
            "version": SCHEMA_VERSION,
            "scenario": self.scenario,
            "command": self.command,
            "created": self.created,
            "environment": self.environment.to_json(),
            "systems": [system.to_json() for system in self.systems],
            "notes": list(self.notes),
            "result": self.result.to_json(),
        }

    @classmethod
    def from_json(cls, content: Any, where: str = "report") -> Report:
        """Return what :meth:`to_json` gave; raises :class:`InputFileError` for anything else."""
        check(content, where)
        result_class = SCENARIOS[content["scenario"]].load().RESULT
        return cls(
            content["scenario"],
            content["command"],
            content["created"],
            Environment.from_json(content["environment"]),
            [SystemInfo.from_json(system) for system in content["systems"]],
            content["notes"],
            result_class.from_json(content["result"]),
        )

    def write(self, path: Path) -> None:
        """Write the report as JSON; raises :class:`OutputError`."""
        write_atomically(path, json.dumps(self.to_json(), allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Return the report in a file; raises :class:`InputFileError`."""
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise InputFileError(f"{path}: too large for a report of yolox-bench")
            content = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise InputFileError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputFileError(f"{path}: no JSON ({str(error)[:100]})") from error
        return cls.from_json(content, str(path))

    def lines(self) -> list[str]:
        """Return what stands above the tables."""
        return [
            f"{self.scenario}: {SCENARIOS[self.scenario].question}",
            *(
                f"note: {model} has random weights: decode and NMS have next to nothing to do, the "
                "rest is as with trained ones"
                for model in dict.fromkeys(s.model for s in self.systems if s.random_weights)
            ),
            *(f"note: {note}" for note in self.notes),
        ]

    def tables(self) -> list[Table]:
        """Return every table, the environment last."""
        return [*self.result.tables(self.systems), self._systems(), self._environment()]

    @property
    def doubts(self) -> list[str]:
        """Sentences why the figures may be wrong."""
        return [*self.environment.doubts, *self.result.doubts(self.systems)]

    def verdicts(self) -> list[str]:
        """Return the sentences below the tables: advice, and doubts if there are any."""
        return [
            *(f"advice: {text}" for text in self.result.advice(self.systems)),
            *(f"doubtful, because {text}" for text in self.doubts),
        ]

    def _systems(self) -> Table:
        headers = (
            *("what", "model", "input", "batch", "engine", "device"),
            *("precision used", "asked", "artifact", "threads", "verification"),
        )
        rows = [
            [
                s.label,
                s.model + (" (random weights)" if s.random_weights else ""),
                f"{s.height}x{s.width}",
                str(s.batch),
                f"{s.backend} {s.engine_version}",
                s.device,
                s.precision,
                s.asked_precision,
                s.artifact_precision,
                str(s.threads or "-"),
                s.verification,
            ]
            for s in self.systems
        ]
        return Table("What was measured", headers, rows)

    def _environment(self) -> Table:
        about = self.environment
        changing = list(dict.fromkeys((*about.start, *about.end)))
        rows = [
            *([key, value, ""] for key, value in about.machine.items()),
            *([key, about.start.get(key, ""), about.end.get(key, "")] for key in changing),
            ["measured", self.created, ""],
            ["command", self.command, ""],
        ]
        return Table("Where", ("", "at the start", "at the end"), rows)


def print_report(report: Report) -> None:
    """Print the report to the standard output."""
    for line in report.lines():
        print(line)
    for table in report.tables():
        print(f"\n{table.title}")
        print_table(table.headers, table.rows)
        if table.note:
            print(table.note)
    if report.verdicts():
        print()
    for line in report.verdicts():
        print(line)


def to_markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = [f"# yolox-bench: {report.scenario}", f"```\n{report.command}\n```", *report.lines()]
    for table in report.tables():
        parts += [f"## {table.title}", "\n".join(_markdown_rows(table))]
        if table.note:
            parts.append(table.note)
    parts += [f"- {line}" for line in report.verdicts()]
    return "\n\n".join(parts) + "\n"


def _markdown_rows(table: Table) -> Iterator[str]:
    for row in (table.headers, ["---"] * len(table.headers), *table.rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
