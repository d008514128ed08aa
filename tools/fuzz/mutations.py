"""Ways to damage a file: bytes anywhere, numbers and texts of JSON."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

# Numbers that readers forget: signs, the edges of integer types, and what is no number.
ODD_INTEGERS = (0, 1, -1, 127, 255, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 2**64)
ODD_VALUES: tuple[Any, ...] = (
    *ODD_INTEGERS,
    *(0.5, -0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "x", "7", "\x1b[31mred\x1b[0m", "\x00", "\ufeff", "\udc80", "é" * 40, "../../x", "/"),
    *(None, True, False, [], {}, [[]], [0] * 1000),
)
Edit = Callable[[bytearray, random.Random], None]


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Return ``data`` with one to four kinds of damage at random places; never ``data`` itself."""
    for _ in range(20):
        result = bytearray(data)
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            if result:
                dice.choice(EDITS)(result, dice)
        if result != data:
            return bytes(result)
    return data[:-1]


def damaged_json(data: bytes, dice: random.Random) -> bytes:
    """Return a JSON text with another value or key somewhere, or damaged like any file."""
    if dice.random() < 0.2:
        return damaged(data, dice)
    content = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = list(_places(content))
        if not places:
            break
        # Texts are long and many; every depth gets its turn.
        depth = dice.choice(sorted({depth for depth, _, _ in places}))
        _, parent, key = dice.choice([place for place in places if place[0] == depth])
        change = dice.random()
        if change < 0.7:
            parent[key] = copy.deepcopy(dice.choice(ODD_VALUES))
        elif change < 0.85:
            del parent[key]
        elif isinstance(parent, dict):
            parent[str(dice.choice(ODD_VALUES))] = parent.pop(key)
        else:
            parent.extend([parent[key]] * dice.choice((1, 3, 200)))
    if dice.random() < 0.03:
        return b"[" * 100_000
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _places(content: Any, depth: int = 0) -> Iterator[tuple[int, Any, Any]]:
    """Yield every place of a value: its depth, the list or dictionary, the index or key."""
    keys: Any = content if isinstance(content, dict) else range(len(content))
    for key in keys:
        yield depth, content, key
        if isinstance(content[key], (dict, list)):
            yield from _places(content[key], depth + 1)


def _place(data: bytearray, dice: random.Random) -> int:
    """Return a place in ``data``: often in its first or last kilobyte, where the headers are."""
    where = dice.random()
    if where < 0.35:
        return dice.randrange(min(1024, len(data)))
    if where < 0.5:
        return len(data) - 1 - dice.randrange(min(1024, len(data)))
    return dice.randrange(len(data))


def _flip_bit(data: bytearray, dice: random.Random) -> None:
    data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _other_bytes(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    count = dice.choice((1, 2, 8, 64))
    data[start : start + count] = dice.randbytes(min(count, len(data) - start))


def _odd_integer(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    layout, bits = dice.choice((("<H", 16), (">H", 16), ("<I", 32), (">I", 32), ("<Q", 64)))
    number = struct.pack(layout, dice.choice(ODD_INTEGERS) % 2**bits)
    data[start : start + len(number)] = number


def _odd_text(data: bytearray, dice: random.Random) -> None:
    """Replace a run of digits, as in a text file, by an odd number."""
    start = end = _place(data, dice)
    while start > 0 and chr(data[start - 1]).isdigit():
        start -= 1
    while end < len(data) and chr(data[end]).isdigit():
        end += 1
    data[start:end] = str(dice.choice(ODD_VALUES[:19])).encode()


def _truncate(data: bytearray, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _zeros(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    end = min(len(data), start + dice.choice((4, 64, 4096)))
    data[start:end] = bytes(end - start)


def _remove(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    del data[start : start + dice.choice((1, 4, 100, 4096))]


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    part = data[start : start + dice.choice((1, 16, 512))]
    data[start:start] = part * dice.choice((1, 2, 50))


def _append(data: bytearray, dice: random.Random) -> None:
    data += dice.randbytes(dice.choice((1, 100, 5000)))


EDITS: tuple[Edit, ...] = (
    *(_flip_bit, _flip_bit, _other_bytes, _odd_integer, _odd_integer, _odd_text),
    *(_truncate, _zeros, _remove, _repeat, _append),
)
