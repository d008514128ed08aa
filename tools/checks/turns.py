"""What the checks share: arguments, and turns on a machine whose host moves its processors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from yolox_deploy.benchmarks.machine.exchange import alike, exchange_seconds

# Of each turn that is wanted.
ATTEMPTS = 4

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")


def add_arguments(parser: argparse.ArgumentParser, turns: int) -> None:
    """Add what is measured, and how often."""
    parser.add_argument("--model", help="as for yolox-bench (the bundled one)")
    parser.add_argument("--backend", default="openvino", help="(openvino)")
    parser.add_argument("--precision", help="(the engine's first)")
    parser.add_argument("--threads", type=int, help="CPU threads (the engine's choice)")
    parser.add_argument("--turns", type=int, default=turns, help=f"of each side ({turns})")


def in_turns(
    turns: int, ours: Callable[[], Ours], theirs: Callable[[], Theirs]
) -> list[tuple[Ours, Theirs]]:
    """Return what both gave, turn by turn, in an order that changes.

    A turn during which the processors were moved is taken again, up to :data:`ATTEMPTS` times as
    many as are wanted; then it counts all the same.
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
        if alike(placed) or left <= turns - len(found):
            found.append((mine, other))
        if len(found) == turns:
            break
    return found
