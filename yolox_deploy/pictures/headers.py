"""How many pixels a file claims to hold, read from its header, before anything is decoded.

A PNG of 3 MB may ask for gigabytes.  The formats are those that the wheels of OpenCV decode, told
by the first bytes of a file, as OpenCV tells them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

Sizes = Iterator[tuple[int, int]]


def claimed_pixels(data: bytes) -> int:
    """Return the largest product of width and height that the header names, 0 if it names none."""
    for start, sizes in FORMATS:
        if start.match(data):
            try:
                return max((abs(width * height) for width, height in sizes(data)), default=0)
            except (struct.error, IndexError, ValueError):  # cut off, or no numbers
                return 0
    return 0


def _at(layout: str, offset: int) -> Callable[[bytes], Sizes]:
    """Return a reader of width and height at a fixed place."""

    def sizes(data: bytes) -> Sizes:
        width, height = struct.unpack_from(layout, data, offset)
        yield width, height

    return sizes


def _text(pattern: bytes) -> Callable[[bytes], Sizes]:
    """Return a reader of the groups ``w`` and ``h`` of a header of text."""

    def sizes(data: bytes) -> Sizes:
        head = re.sub(rb"#[^\n]*\n", b"\n", data[:4096]) if data[:1] == b"P" else data[:4096]
        if found := re.search(pattern, head):
            yield int(found["w"]), int(found["h"])

    return sizes


def _jpeg(data: bytes) -> Sizes:
    """Yield every frame header (SOF) up to the scan, ISO/IEC 10918-1, B.1.1.3."""
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            place += 1
            continue
        marker = data[place + 1]
        if marker == 0xFF or marker == 0x00 or 0xD0 <= marker <= 0xD8:  # filler, or no length
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):
            return
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            yield width, height
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _bmp(data: bytes) -> Sizes:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    yield width, height


def _webp(data: bytes) -> Sizes:
    """Yield the canvas of an extended file, and the frames, RFC 9649."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        yield width, height
    for found in re.finditer(rb"VP8 ....(...)\x9d\x01\x2a(....)", data, re.DOTALL):
        width, height = struct.unpack("<HH", found[2])
        yield width & 0x3FFF, height & 0x3FFF
    for found in re.finditer(rb"VP8L....\x2f(....)", data, re.DOTALL):
        bits = int.from_bytes(found[1], "little")
        yield (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _tiff(data: bytes) -> Sizes:
    """Yield the first picture, and its tiles, of a TIFF (version 6.0, section 2) or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    place = struct.unpack_from(order + "Q", data, 8)[0] if big else 0
    place = place or struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, place)[0]
    start, step, value = (8, 20, 12) if big else (2, 12, 8)
    kinds = {1: "B", 3: "H", 4: "I", 16: "Q"}
    tags = {}
    for i in range(min(count, 4096)):
        entry = place + start + step * i
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if kind in kinds:
            (tags[tag],) = struct.unpack_from(order + kinds[kind], data, entry + value)
    yield tags.get(256, 0), tags.get(257, 0)
    yield tags.get(322, 0), tags.get(323, 0)


def _jpeg2000(data: bytes) -> Sizes:
    """Yield the codestream's size, ISO/IEC 15444-1, A.5.1; that of the container may differ."""
    for found in re.finditer(rb"\xff\x4f\xff\x51", data):
        width, height, left, top = struct.unpack_from(">4I", data, found.end() + 4)
        yield width - left, height - top
        return


def _avif(data: bytes) -> Sizes:
    """Yield every property of spatial extents, ISO/IEC 23008-12, 6.5.3."""
    for found in re.finditer(rb"ispe\0\0\0\0", data):
        width, height = struct.unpack_from(">II", data, found.end())
        yield width, height


# How a file of a format begins, and the reader of the sizes in it.
FORMATS: list[tuple[re.Pattern[bytes], Callable[[bytes], Sizes]]] = [
    (re.compile(start, re.DOTALL), sizes)
    for start, sizes in (
        (rb"\xff\xd8\xff", _jpeg),
        (rb"\x89PNG\r\n\x1a\n", _at(">II", 16)),
        (rb"BM", _bmp),
        (rb"GIF8[79]a", _at("<HH", 6)),
        (rb"RIFF....WEBP", _webp),
        (rb"II[*+]\0|MM\0[*+]", _tiff),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jpeg2000),
        (rb"....ftyp", _avif),
        (rb"P7", _text(rb"WIDTH\s+(?P<w>\d+)\s+HEIGHT\s+(?P<h>\d+)")),
        (rb"P[1-6fF]\s", _text(rb"^P[1-6fF]\s+(?P<w>\d+)\s+(?P<h>\d+)")),
        (rb"#\?R", _text(rb"[-+]Y\s+(?P<h>\d+)\s+[-+]X\s+(?P<w>\d+)")),
        (rb"\x59\xa6\x6a\x95", _at(">II", 4)),
    )
]
