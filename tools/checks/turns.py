"""What the checks share: options, and turns on a machine whose host may move its processors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from yolox_deploy.benchmarks.machine.exchange import changes, exchange_seconds

# Most attempts per wanted turn.
ATTEMPTS = 4

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")


def add_arguments(parser: argparse.ArgumentParser, turns: int) -> None:
    """Add the options that say what is measured, and how often."""
    parser.add_argument("--model", help="as for yolox-bench (default: the bundled model)")
    parser.add_argument("--backend", default="openvino", help="(default: openvino)")
    parser.add_argument("--precision", help="(default: the engine's first)")
    parser.add_argument(
        "--threads", type=int, help="number of CPU threads (default: the engine's choice)"
    )
    parser.add_argument(
        "--turns", type=int, default=turns, help=f"turns of each side (default: {turns})"
    )


def in_turns(
    turns: int, ours: Callable[[], Ours], theirs: Callable[[], Theirs]
) -> list[tuple[Ours, Theirs]]:
    """Return what both sides gave, turn by turn; each turn begins with the other side.

    A turn during which the host moved the processors is taken again.  After :data:`ATTEMPTS` times
    the wanted number of turns, such turns count, too.
    """
    found: list[tuple[Ours, Theirs]] = []
    for left in range(ATTEMPTS * turns, 0, -1):
        placed = [exchange_seconds()]
        if left % 2:
            mine = ours()
            placed.append(exchange_seconds())
            other = theirs()
        else:
            other = theirs()
            placed.append(exchange_seconds())
            mine = ours()
        placed.append(exchange_seconds())
        if not changes(placed) or left <= turns - len(found):
            found.append((mine, other))
        if len(found) == turns:
            break
    return found
