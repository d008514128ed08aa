"""The policy of the search: what to quantize next, by what was measured; it measures nothing.

1. The float graph is scored.
2. Each block alone is quantized and scored: its sensitivity.
3. All blocks together are tried.  If that is too much, blocks are added from the least to the most
   sensitive, as long as the drop of AP stays within the limit.
4. The parts of blocks that were left out are tried the same way, one by one: a stage may have a
   single layer that cannot be rounded.

The number of trials grows with the number of parts, not with that of their combinations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from yolox_deploy.export.quantization.graph import block_of
from yolox_deploy.records import Record, Share


@dataclass(frozen=True)
class Trial(Record):
    """What was measured with the units ``quantized`` in INT8.

    ``saved_ms`` is how much less time one picture took than with the float graph, where that was
    measured.
    """

    quantized: Sequence[str]
    ap: Share
    saved_ms: float | None = None


@dataclass(frozen=True)
class Row(Record):
    """One block in the result: its sensitivity, and what is left of it in floating point."""

    block: str
    ap_drop: float
    saved_ms: float | None
    parts: int
    floating: Sequence[str]

    @property
    def kept(self) -> str:
        """What of the block is INT8, in words."""
        if not self.floating:
            return "INT8"
        if len(self.floating) == self.parts:
            return "float"
        return f"INT8 but {', '.join(name.partition('/')[2] for name in self.floating)}"


@dataclass(frozen=True)
class Found:
    """The result: units in floating point, the rows of the table, and AP before and after."""

    floating: tuple[str, ...]
    rows: tuple[Row, ...]
    float_ap: float
    ap: float


# Quantizes and scores; the flag asks for the time as well.
Measure = Callable[[Sequence[str], bool], Trial]


def find_largest(units: Sequence[str], limit: float, measure: Measure) -> Found:
    """Return the largest set of units whose drop of AP (0..1) stays within ``limit``."""
    parts: dict[str, list[str]] = {}
    for unit in units:
        parts.setdefault(block_of(unit), []).append(unit)
    base = measure((), False).ap
    alone = {block: measure(inside, True) for block, inside in parts.items()}
    chosen: set[str] = set()
    best = base

    def add(candidates: Iterable[Sequence[str]]) -> None:
        """Add the candidates that stay within the limit, in this order."""
        nonlocal best
        for candidate in candidates:
            if chosen.issuperset(candidate):
                continue
            wanted = chosen.union(candidate)
            found = measure([unit for unit in units if unit in wanted], False).ap
            if base - found <= limit:
                chosen.update(candidate)
                best = found

    by_drop = sorted(parts, key=lambda block: base - alone[block].ap)
    add([units])
    add(parts[block] for block in by_drop)
    left = [block for block in by_drop if not chosen.issuperset(parts[block])]
    add([unit] for block in left if len(parts[block]) > 1 for unit in parts[block])
    floating = tuple(unit for unit in units if unit not in chosen)
    rows = tuple(
        Row(
            block,
            base - alone[block].ap,
            alone[block].saved_ms,
            len(inside),
            [unit for unit in inside if unit in floating],
        )
        for block, inside in parts.items()
    )
    return Found(floating, rows, base, best)


def most_trials(units: Sequence[str]) -> int:
    """Return how many trials the search takes at most."""
    blocks = len({block_of(unit) for unit in units})
    return 2 + 2 * blocks + len(units)
