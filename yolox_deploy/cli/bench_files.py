"""Where reports go, and the commands on stored reports: ``yolox-bench compare`` and ``show``."""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

from yolox_deploy.benchmarks.report import compare as comparing
from yolox_deploy.benchmarks.report.report import Report, print_report, to_markdown
from yolox_deploy.cli.common import add_options, make_parser, run_command
from yolox_deploy.errors import SlowerError, UsageError
from yolox_deploy.files import write_atomically
from yolox_deploy.progress import print_table

COMPARE, SHOW = "yolox-bench compare", "yolox-bench show"


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the files of a report."""
    add_options(
        parser.add_argument_group("output"),
        """
        --json FILE: write all measurements as JSON
        --markdown FILE: write the report as Markdown
        --plot FILE: draw a chart (.png, .svg or .pdf)
        """,
    )


def deliver(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for, and print the report."""
    if arguments.json:
        report.write(arguments.json)
    if arguments.markdown:
        write_atomically(arguments.markdown, to_markdown(report))
    if arguments.plot:
        report.result.plot(report.systems, arguments.plot)
    # Last, because the reader of a pipe may have enough of it.
    print_report(report)


def compare_parser() -> argparse.ArgumentParser:
    """Return the parser of ``compare``."""
    result = make_parser(
        COMPARE,
        "Compare two latency reports: ratios of the medians with their confidence intervals, and a "
        "verdict if the intervals allow one. If they do not, the reason is printed.",
        f"  {COMPARE} before.json after.json --fail-if-slower 1.10",
    )
    result.add_argument("before", type=Path, help="a report of yolox-bench --json")
    result.add_argument("after", type=Path, help="a later report of the same models")
    add_options(
        result,
        """
        --fail-if-slower FACTOR: exit with code 10 if a system is surely slower, and by more than
            this factor, for example 1.10
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
    before, after = Report.read(arguments.before), Report.read(arguments.after)
    found = comparing.compare(before, after)
    shown = comparing.table(found, comparing.margin_of(before, after))
    print_table(shown.headers, shown.rows)
    print(shown.note)
    for line in comparing.remarks(before, after, found):
        print(f"note: {line}")
    if factor is not None:
        slower = [c for c in found if c.is_slower_than(factor)]
        if slower:
            raise SlowerError(
                "; ".join(f"{c.label} takes {c.ratio:.2f} times as long" for c in slower)
                + f", more than {factor:g} is allowed"
            )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    deliver(Report.read(arguments.report), arguments)
    return 0


# The commands, which take their arguments and return the exit code.
compare = partial(run_command, COMPARE, compare_parser, _compare)
show = partial(run_command, SHOW, show_parser, _show)
