"""One run of ``yolox-bench``: stored as JSON, shown on a terminal, as Markdown and as a chart.

Everything shown is made from what the JSON holds, so a stored file gives the same report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from yolox_deploy.benchmarks.machine.environment import Environment
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.needs import require
from yolox_deploy.benchmarks.scenarios import SCENARIOS
from yolox_deploy.benchmarks.scenarios.base import Table
from yolox_deploy.errors import ExtensionError, InputFileError
from yolox_deploy.files import read_input, write_atomically
from yolox_deploy.records import Record, Schema, Words
from yolox_deploy.terminal import note, print_line, print_table

FORMAT = "yolox-bench"
# Rises when a reader of an older version would misunderstand the file.
VERSION = 1
LARGEST_FILE = 1 << 28
LARGEST_INTEGER = (1 << 63) - 1
MEASURE_AGAIN = (
    "measure again on a quiet machine: other programs had {:.0%} of the processors' time, so these "
    "times are too long"
)
DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Report(Record):
    """What was measured (``systems``), how (``scenario``, ``command``), where, and the result.

    ``created`` is a time in ISO 8601; ``notes`` say what was left out.
    """

    scenario: str
    command: str
    created: str
    environment: Environment
    systems: Annotated[Sequence[SystemInfo], Words(minItems=1, maxItems=10_000)]
    notes: Sequence[str]
    # A Result of scenarios.base; its schema depends on the scenario.
    result: Any

    def to_json(self) -> dict[str, Any]:
        """Return the report as the schema describes it."""
        return {"format": FORMAT, "version": VERSION, **super().to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str = "report") -> Report:
        """Return what :meth:`to_json` gave; raises :class:`InputFileError` for anything else."""
        check(content, where)
        kind, result = SCENARIOS[content["scenario"]].load().RESULT, content["result"]
        for name in kind.PER_SYSTEM:
            if (count := len(result[name])) != len(content["systems"]):
                raise InputFileError(
                    f"{where}: damaged at result/{name}: {count} entries for "
                    f"{len(content['systems'])} systems"
                )
        return super().from_json({**content, "result": kind.from_json(result)})

    @classmethod
    def schema(cls) -> Schema:
        """Return the schema of the whole file, with that of each scenario's result."""
        plain = super().schema()
        plain["properties"] |= {
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "scenario": {"enum": list(SCENARIOS)},
        }
        results = []
        for name, row in SCENARIOS.items():
            # A scenario of another package that cannot be used has no reports.
            with suppress(ExtensionError):
                then = {"properties": {"result": row.load().RESULT.schema()}}
                results.append({"if": {"properties": {"scenario": {"const": name}}}, "then": then})
        required = ["format", "version", *plain["required"]]
        return {"$schema": DRAFT, **plain, "required": required, "allOf": results}

    def write(self, path: Path) -> None:
        """Write the report as JSON; raises :class:`OutputError`."""
        write_atomically(path, json.dumps(self.to_json(), allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Return the report in a file; raises :class:`InputFileError`."""
        try:
            text = read_input(path, LARGEST_FILE, "report of yolox-bench").decode("utf-8-sig")
            content = json.loads(
                text, parse_int=_integer, parse_float=_finite, parse_constant=_finite
            )
        except OSError as error:
            raise InputFileError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputFileError(f"{path}: not a JSON file ({str(error)[:100]})") from error
        return cls.from_json(content, str(path))

    def lines(self) -> list[str]:
        """Return what stands above the tables."""
        return [
            f"{self.scenario}: {SCENARIOS[self.scenario].question}",
            *(
                f"note: {model} has random weights: decode and NMS have hardly anything to do, the "
                "other stages are as with trained weights"
                for model in dict.fromkeys(s.model for s in self.systems if s.random_weights)
            ),
            *(f"note: {note}" for note in self.notes),
        ]

    def tables(self) -> list[Table]:
        """Return every table, the environment last."""
        measured = Table.of("What was measured", [system.cells() for system in self.systems])
        return [*self.result.tables(self.systems), measured, self._environment()]

    def verdicts(self) -> list[str]:
        """Return the sentences below the tables: doubts if there are any, then advice."""
        about, advice = self.environment, list(self.result.advice(self.systems))
        if about.busy:
            advice.insert(0, MEASURE_AGAIN.format(about.lost))
        else:
            advice += self.result.quiet_advice(self.systems)
        doubts = [f"doubtful, because {text}" for text in about.doubts]
        return [*doubts, *(f"advice: {text}" for text in advice)]

    def _environment(self) -> Table:
        about = self.environment
        changing = list(dict.fromkeys((*about.start, *about.end)))
        rows = [
            *([key, value] for key, value in about.machine.items()),
            *([key, _from_to(about.start.get(key), about.end.get(key))] for key in changing),
            ["measured", self.created],
            ["command", self.command],
        ]
        return Table("Machine", ("", ""), rows)


def _from_to(start: str | None, end: str | None) -> str:
    """Return in words what something was at the start and at the end of a measurement."""
    if start is None or end is None or start == end:
        return end or start or ""
    return f"{start} at the start, {end} at the end"


def _integer(text: str) -> int:
    """Return a number of a report; raises ``ValueError`` for one that arrays cannot hold."""
    number = int(text)
    if abs(number) > LARGEST_INTEGER:
        raise ValueError(f"the number {text[:20]}... is too large")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def check(content: Any, where: str) -> None:
    """Raise :class:`InputFileError` unless ``content`` is a report of this version."""
    jsonschema = require("jsonschema", "reports are checked by jsonschema")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputFileError(f"{where}: not a report of yolox-bench --json")
    if content.get("version") != VERSION:
        raise InputFileError(
            f"{where}: a report of version {content.get('version')!r:.20}, this yolox_deploy reads "
            f"version {VERSION}: measure again"
        )
    errors = jsonschema.Draft202012Validator(Report.schema()).iter_errors(content)
    wrong = jsonschema.exceptions.best_match(errors)
    if wrong is not None:
        place = "/".join(map(str, wrong.absolute_path)) or "the file"
        raise InputFileError(f"{where}: damaged at {place}: {wrong.message[:200]}")


def print_report(report: Report, *, full: bool = False) -> None:
    """Print the report to the standard output: its first table, or all of them if ``full``."""
    for line in report.lines():
        print_line(line)
    tables = report.tables()
    for table in tables if full else tables[:1]:
        print_line()
        print_line(table.title)
        print_table(table.headers, table.rows)
        if table.note:
            print_line(table.note)
    verdicts = report.verdicts()
    for line in ["", *verdicts] if verdicts else []:
        print_line(line)
    if not full and len(tables) > 1:
        note(f"{len(tables) - 1} more tables with --full")


def to_markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = [f"# yolox-bench: {report.scenario}", f"```\n{report.command}\n```", *report.lines()]
    for table in report.tables():
        parts += [f"## {table.title}", "\n".join(_markdown_rows(table)), table.note]
    parts += [f"- {line}" for line in report.verdicts()]
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_rows(table: Table) -> Iterator[str]:
    for row in (table.headers, ["---"] * len(table.headers), *table.rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
