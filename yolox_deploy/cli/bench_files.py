"""Where reports go, and the commands on stored reports: ``yolox-bench compare`` and ``show``."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from yolox_deploy.benchmarks.report import compare as comparing
from yolox_deploy.benchmarks.report.report import Report, print_report, to_markdown
from yolox_deploy.benchmarks.scenarios.charts import check_chart
from yolox_deploy.cli.common import given, make_parser, run_command
from yolox_deploy.cli.outputs import check_file_option
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import NoVerdictError, SlowerError, UsageError
from yolox_deploy.files import write_atomically, write_document
from yolox_deploy.sinks.outputs import check_apart, check_file
from yolox_deploy.terminal import print_line, print_table

COMPARE, SHOW = "yolox-bench compare", "yolox-bench show"


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the files of a report."""
    add_options(
        parser.add_argument_group("output"),
        """
        --full: print all tables
        --json FILE: write all measurements as JSON, to the standard output for -
        --markdown FILE: write the report as Markdown, to the standard output for -
        --plot FILE: draw a chart (.png, .svg or .pdf)
        """,
    )


def check_outputs(arguments: argparse.Namespace, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise an error for files that cannot be written, or that are written twice or are read.

    Before the measurement, whose result would be lost.
    """
    outputs = given(arguments, "json", "markdown", "plot")
    check_apart({f"--{name}": [path] for name, path in outputs.items()}, inputs)
    for name, path in outputs.items():
        check_file(path, text=name != "plot")
    if arguments.plot:
        check_chart(arguments.plot)


def deliver(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for, and print the report."""
    if arguments.json:
        report.write(arguments.json)
    if arguments.markdown:
        write_atomically(arguments.markdown, to_markdown(report))
    if arguments.plot:
        report.result.plot(report.systems, arguments.plot)
    # Last, because the reader of a pipe may have enough of it.
    print_report(report, full=arguments.full)


def compare_parser() -> argparse.ArgumentParser:
    """Return the parser of ``compare``."""
    result = make_parser(
        COMPARE,
        "Compare two latency reports: ratios of the medians with their confidence intervals, and a "
        "verdict if the intervals allow one. If they do not, the reason is printed, and the exit "
        "code is 11.",
        f"  {COMPARE} before.json after.json --fail-if-slower 1.10",
        (SlowerError.exit_code, NoVerdictError.exit_code),
    )
    result.add_argument("before", type=Path, help="a report of yolox-bench --json")
    result.add_argument("after", type=Path, help="a later report of the same models")
    add_options(
        result,
        """
        --fail-if-slower FACTOR: exit with code 10 if a system is surely slower, and by more than
            this factor, for example 1.10
        --full: show the confidence intervals, too
        --json FILE: write ratios, intervals and verdicts as JSON, to the standard output for -
        """,
    )
    return result


def show_parser() -> argparse.ArgumentParser:
    """Return the parser of ``show``."""
    result = make_parser(
        SHOW,
        "Print a stored report again, or write it as Markdown or as a chart.",
        f"  {SHOW} nano.json --markdown nano.md --plot nano.png",
    )
    result.add_argument("report", type=Path, help="a report of yolox-bench --json")
    add_output_arguments(result)
    return result


def _compare(arguments: argparse.Namespace) -> int:
    factor = arguments.fail_if_slower
    if factor is not None and not (math.isfinite(factor) and factor >= 1):
        raise UsageError(
            f"--fail-if-slower takes a factor of 1 or more, for example 1.10, got {factor:g}"
        )
    check_file_option("--json", arguments.json, [arguments.before, arguments.after])
    before, after = Report.read(arguments.before), Report.read(arguments.after)
    found = comparing.compare(before, after)
    shown = comparing.table(found, comparing.margin_of(before, after), full=arguments.full)
    print_table(shown.headers, shown.rows)
    print_line(shown.note)
    remarks, unknown = comparing.remarks(before, after), comparing.without_verdict(found)
    slower = [c for c in found if factor is not None and c.is_slower_than(factor)]
    # Without a slower system they are the error itself.
    for line in [*remarks, *(unknown if slower else ())]:
        print_line(f"note: {line}")
    if arguments.json:
        files = {"before": str(arguments.before), "after": str(arguments.after)}
        systems = [asdict(c) for c in found]
        content = {**files, "systems": systems, "remarks": [*remarks, *unknown]}
        write_document(arguments.json, COMPARE, content)
    if slower:
        raise SlowerError(
            "; ".join(f"{c.label} takes {c.ratio:.2f} times as long" for c in slower)
            + f", more than {factor:g} is allowed"
        )
    if unknown:
        raise NoVerdictError("; ".join(unknown))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    check_outputs(arguments, [arguments.report])
    deliver(Report.read(arguments.report), arguments)
    return 0


# The commands, which take their arguments and return the exit code.
compare = partial(run_command, COMPARE, compare_parser, _compare)
show = partial(run_command, SHOW, show_parser, _show)
