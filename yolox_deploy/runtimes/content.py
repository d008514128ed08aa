"""What an artifact stores, read without its engine: the spec, and the hashes of everything else.

An engine computes with whatever it finds: damaged weights, or the weights of another model, give
other detections without an error, and a damaged NCNN graph ends the process.  So an export writes
the SHA-256 of each file into the spec, and they are compared before an engine sees the files.  The
bytes that hold the spec itself are left out of the hashes; the spec has a seal of its own.

Which function reads which files, the rows of the table of backends say (``Backend.stored``).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from yolox_deploy.errors import ArtifactError
from yolox_deploy.registry import resolve
from yolox_deploy.runtimes.foreign.protobuf import Field, fields, messages
from yolox_deploy.spec import SEAL, SPEC_KEY, stated_hashes

BLOCK_BYTES = 1 << 20
# Enough for a spec with 100,000 class names, and for the graph of the largest network.
LARGEST_SPEC_BYTES = 16 << 20
LARGEST_XML_BYTES = 256 << 20
# ModelProto.metadata_props in onnx.proto, and key and value of an entry.
METADATA_FIELD = 14
KEY, VALUE = 1, 2
SPEC_IN_XML = re.compile(rb'<%s\s+value="([^"]*)"' % SPEC_KEY.encode())
# Words of a spec: where they are and no spec is, it was damaged.
REMAINS = (SEAL.encode(), b"checkpoint_sha256", b"colour_order")
# Digits of a hash in a message.
SHOWN = 12

# The bytes from the first number up to, not including, the second.
Span = tuple[int, int]


class Part(NamedTuple):
    """A file of an artifact, and the bytes of it that are hashed."""

    file: Path
    spans: list[Span]

    def sha256(self) -> str:
        """Return the hash in hexadecimal."""
        with self.file.open("rb") as file:
            return _sha256(file, self.spans)


class Stored(NamedTuple):
    """The spec's JSON (``None`` if there is none), and the parts by their suffix (``bin``)."""

    spec_json: str | None
    parts: dict[str, Part]


class Row(Protocol):
    """What a row of the table of backends says of files: who reads what they store, by suffix."""

    @property
    def stored(self) -> Mapping[str, str]:
        """Functions, as ``"module:function"``, from a path to :class:`Stored`."""
        ...


# The table of backends is above this module, and puts itself here when it is made.
TABLES: list[Mapping[str, Row]] = []


def reader_of(path: Path) -> str | None:
    """Return the function that reads what such a file stores, ``None`` if no backend has one."""
    suffix = path.suffix.lower()
    rows = (row for table in TABLES for row in table.values())
    return next((row.stored[suffix] for row in rows if suffix in row.stored), None)


def hashes_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each part of the artifact ``path``, by the part's suffix.

    Without a function that reads such files there are none.
    """
    return {name: part.sha256() for name, part in _read(path).parts.items()}


def onnx_hashes(model: bytes) -> dict[str, str]:
    """Return the hashes of a serialized ONNX model, whatever its metadata."""
    file = io.BytesIO(model)
    return {"onnx": _sha256(file, _hashed(_onnx_fields(file, len(model))[0]))}


def stored_spec(path: Path, *, check: bool = True) -> str | None:
    """Return the JSON of the spec in or beside ``path``, ``None`` if there is none.

    There is none either where no backend says how the spec is read without its engine.
    With ``check`` the files are compared with the hashes that the spec states; a spec of an older
    version states none.

    Raises :class:`ArtifactError` if they differ, or if what holds the spec is damaged.
    """
    stored = _read(path)
    if check and (problem := _difference(path, stored)):
        raise ArtifactError(
            f"{problem}: it is damaged, or belongs to another model; copy all files of the "
            "artifact again from one export, or export the checkpoint again. If you changed the "
            f"file on purpose, verify it: yolox-export --verify-artifact {shlex.quote(str(path))} "
            "--model CHECKPOINT"
        )
    return stored.spec_json


def difference(path: Path) -> str:
    """Return in words which file is not the one that was exported, "" if all are.

    Files of which no hash is stated count as those that were exported.
    """
    return _difference(path, _read(path))


def state_of(path: Path) -> str:
    """Return in words whether an opened artifact is as it was exported, "" without a spec."""
    stored = _read(path)
    if stored.spec_json is None:
        return ""
    if stated_hashes(stored.spec_json, str(path)):
        return "unchanged since the export, by their SHA-256"
    return "their SHA-256 is not stored, so a change since the export is not noticed"


def _difference(path: Path, stored: Stored) -> str:
    if stored.spec_json is None:
        return ""
    for name, expected in stated_hashes(stored.spec_json, str(path)).items():
        if name not in stored.parts:
            return f"{path} has a spec for an artifact with a .{name} file"
        part = stored.parts[name]
        try:
            found = part.sha256()
        except OSError as error:
            raise ArtifactError(f"{part.file}: cannot be read: {error.strerror}") from error
        if found != expected:
            return (
                f"{part.file} is not the file that was exported (SHA-256 {found[:SHOWN]}..., "
                f"expected {expected[:SHOWN]}...)"
            )
    return ""


def _read(path: Path) -> Stored:
    reader = reader_of(path)
    if reader is None:
        return Stored(None, {})
    try:
        stored: Stored = resolve(reader)(path)
        return stored
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ArtifactError(
            f"{path}: it is damaged or no {path.suffix} file ({error}): copy it again, or export "
            "the checkpoint again"
        ) from error


def _sha256(file: BinaryIO, spans: list[Span]) -> str:
    digest = hashlib.sha256()
    for start, end in spans:
        file.seek(start)
        while start < end and (block := file.read(min(end - start, BLOCK_BYTES))):
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def onnx_stored(path: Path) -> Stored:
    """Read an ONNX file; raises ``ValueError`` if it is damaged."""
    with path.open("rb") as file:
        others, metadata = _onnx_fields(file, os.fstat(file.fileno()).st_size)
    spec = metadata.get(SPEC_KEY.encode())
    if spec is None:
        _demand_no_rest(b"".join(metadata.values()))
    return Stored(None if spec is None else spec.decode(), {"onnx": Part(path, _hashed(others))})


def _onnx_fields(file: BinaryIO, size: int) -> tuple[list[Field], dict[bytes, bytes]]:
    """Return every field but the metadata that may hold a spec, and that metadata."""
    others, metadata = [], {}
    for field in fields(file, size):
        if field.number == METADATA_FIELD and field.end - field.content <= LARGEST_SPEC_BYTES:
            file.seek(field.content)
            entry = memoryview(file.read(field.end - field.content))
            key, value = (b"".join(messages(entry, number)[-1:]) for number in (KEY, VALUE))
            metadata[key] = value
        else:
            others.append(field)
    return others, metadata


def _hashed(others: list[Field]) -> list[Span]:
    return [(field.start, field.end) for field in others if field.number != METADATA_FIELD]


def put_into_onnx(path: Path, spec_json: str) -> bytes:
    """Return the content of an ONNX file with another spec, and nothing else changed.

    Raises ``ValueError`` for a file that is no ONNX file.
    """
    content = path.read_bytes()
    others, metadata = _onnx_fields(io.BytesIO(content), len(content))
    metadata[SPEC_KEY.encode()] = spec_json.encode()
    entries = [
        _field(METADATA_FIELD, _field(KEY, key) + _field(VALUE, value))
        for key, value in metadata.items()
    ]
    # In the order of the numbers, as protobuf's own libraries write them.
    before = [content[f.start : f.end] for f in others if f.number < METADATA_FIELD]
    after = [content[f.start : f.end] for f in others if f.number >= METADATA_FIELD]
    return b"".join((*before, *entries, *after))


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes as protobuf writes it."""
    head = bytearray()
    for value in (number << 3 | 2, len(content)):
        while value > 127:
            head.append(value & 127 | 128)
            value >>= 7
        head.append(value)
    return bytes(head) + content


def openvino_stored(path: Path) -> Stored:
    """Read an OpenVINO file; raises ``ValueError`` if it is damaged."""
    text = _bounded(path, LARGEST_XML_BYTES)
    places = [match.span(1) for match in SPEC_IN_XML.finditer(text)]
    if len(places) > 1:
        raise ValueError("it has two specs")
    if not places:
        _demand_no_rest(text)
        # OpenVINO would try its readers of other formats, which print what they make of it.
        if (root := ElementTree.fromstring(text).tag) != "net":
            raise ValueError(f"its root is <{root}>, expected <net>")
    weights = path.with_suffix(".bin")
    (start, end) = places[0] if places else (len(text), len(text))
    spans = [(0, start), (end, len(text))]
    parts = {"xml": Part(path, spans), "bin": whole(weights)}
    if not places:
        return Stored(None, parts)
    element = ElementTree.fromstring(b'<spec value="%s"/>' % text[start:end])
    return Stored(element.get("value"), parts)


def put_into_xml(path: Path, spec_json: str) -> bytes:
    """Return the content of an OpenVINO file with another spec; raises ``ValueError`` without."""
    text = path.read_bytes()
    match = SPEC_IN_XML.search(text)
    if match is None:
        raise ValueError(f"{path} has no rt_info {SPEC_KEY}")
    value = escape(spec_json, {'"': "&quot;", "\n": "&#10;"}).encode()
    return text[: match.start(1)] + value + text[match.end(1) :]


def ncnn_stored(path: Path) -> Stored:
    """Read an NCNN file; raises ``ValueError`` if it is damaged."""
    sidecar, weights = path.with_suffix(".json"), path.with_suffix(".bin")
    parts = {"param": whole(path), "bin": whole(weights)}
    spec = _bounded(sidecar, LARGEST_SPEC_BYTES).decode() if sidecar.is_file() else None
    return Stored(spec, parts)


def whole(file: Path) -> Part:
    """Return a file all of whose bytes are hashed; one that is not there has none."""
    return Part(file, [(0, file.stat().st_size if file.is_file() else 0)])


def _bounded(file: Path, most: int) -> bytes:
    if file.stat().st_size > most:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, at most {most} are read")
    return file.read_bytes()


def _demand_no_rest(text: bytes) -> None:
    """Raise ``ValueError`` if there is a spec under a name that is not the spec's."""
    if any(word in text for word in REMAINS):
        raise ValueError("it has parts of a spec, but no spec under its name")
