"""Reads protobuf messages field by field, without the package of the format.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# The most fields that one message may have.
MOST_FIELDS = 100_000
# The longest beginning of a field: its number, and its length or value.
HEAD_BYTES = 20
# How a field is stored, and the bytes of those of fixed size.
VARINT, LENGTH = 0, 2
FIXED = {1: 8, 5: 4}

Message = memoryview


class Field(NamedTuple):
    """A field: where it begins, where its content begins and ends; ``value`` if it is a number."""

    number: int
    start: int
    content: int
    end: int
    value: int


def fields(message: Message | BinaryIO, size: int) -> Iterator[Field]:
    """Yield the fields of a message of ``size`` bytes; of a file only their beginnings are read.

    Raises ``ValueError`` if it is no message.
    """
    start = 0
    for _ in range(MOST_FIELDS):
        if start == size:
            return
        if isinstance(message, Message):
            head = bytes(message[start : start + HEAD_BYTES])
        else:
            message.seek(start)
            head = message.read(HEAD_BYTES)
        tag, used = varint(head, 0)
        way = tag & 7
        if way not in (VARINT, LENGTH, *FIXED):
            raise ValueError(f"byte {start} begins a field of the unknown kind {way}")
        value, used = (0, used) if way in FIXED else varint(head, used)
        content = start + used
        end = content + FIXED.get(way, value if way == LENGTH else 0)
        if end > size:
            raise ValueError(f"the field at byte {start} ends at {end}, the file at {size}")
        yield Field(tag >> 3, start, content, end, value)
        start = end
    raise ValueError(f"it has more than {MOST_FIELDS} fields")


def varint(data: bytes | Message, start: int) -> tuple[int, int]:
    """Return the number of variable length that begins at ``start``, and where it ends."""
    value = 0
    for index, byte in enumerate(data[start : start + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, start + index + 1
    raise ValueError("a number in it is cut off")


def messages(message: Message, wanted: int) -> list[Message]:
    """Return the contents of the fields with a number."""
    return [message[f.content : f.end] for f in fields(message, len(message)) if f.number == wanted]
