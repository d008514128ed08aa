"""What a checkpoint claims to hold, checked against its size before PyTorch allocates anything.

The pickle is read with stand-ins instead of everything that it names, so nothing in it is
called.  PyTorch itself trusts the sizes in a file: it unpacks what a zip names, and takes a storage
to be as long as the pickle says.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from yolox_deploy.errors import CheckpointError

# torch.save stores without packing.  A file that was packed again is at most so many times larger.
MOST_PACKED = 10
# The first of the pickles in PyTorch's format of before 2020.
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
# Bytes per element of a storage, by what its type is called.
ITEM_BYTES = {
    **dict.fromkeys(("Bool", "Byte", "Char", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4"), 1),
    **dict.fromkeys(("Untyped", "Typed"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
# What PyTorch would call, and what then allocates as many bytes as the pickle wants.
ALLOCATING = re.compile(r"(bytearray|\w*Tensor|\w*Storage)$")


class ForeignPickleError(pickle.UnpicklingError):
    """A pickle that PyTorch did not write."""


def check_claims(path: Path) -> None:
    """Raise :class:`CheckpointError` for a file that claims to hold more than it does.

    Raises what ``pickle`` and ``zipfile`` raise for a file that is damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"PK"
        file.seek(0)
        size = path.stat().st_size
        for key, (needed, held) in _in_zip(file, size) if packed else _in_pickle(file, size):
            if needed > held:
                raise CheckpointError(
                    f"{path}: {key} would take {needed:,} bytes, and the file holds {held:,} of "
                    "them: it is damaged, or made to fill the memory"
                )


def check_tensors(content: Any, path: Path) -> None:
    """Raise :class:`CheckpointError` for a tensor that repeats its numbers, as strides of 0 do."""
    for name, tensor in _tensors(content):
        if tensor.is_meta or tensor.is_sparse or tensor.is_nested:
            continue
        needed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if needed > held:
            raise CheckpointError(
                f"{path}: the tensor {name[:80]!r} of shape {tuple(tensor.shape)} would take "
                f"{needed:,} bytes, and the file holds {held:,} of them: it is damaged, or made "
                "to fill the memory"
            )


Claims = Iterator[tuple[str, tuple[int, int]]]


def _in_zip(file: BinaryIO, size: int) -> Claims:
    """Yield for each part of a zip how many bytes it needs, and how many are there."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        yield "its content", (sum(entry.file_size for entry in entries), MOST_PACKED * size)
        sizes = {entry.filename.lower(): entry.file_size for entry in entries}
        prefixes = {name.partition("/")[0] for name in sizes}
        if len(sizes) < len(entries) or len(prefixes) != 1:
            raise zipfile.BadZipFile("names that PyTorch does not write")
        prefix = prefixes.pop()
        with archive.open(entries[[*sizes].index(f"{prefix}/data.pkl")]) as content:
            claims = _claims(content)
    for key, needed in claims.items():
        yield f"storage {key}", (needed, sizes.get(f"{prefix}/data/{key}".lower(), 0))


def _in_pickle(file: BinaryIO, size: int) -> Claims:
    if _Reader(file).load() != MAGIC_NUMBER:
        raise ForeignPickleError("a pickle that torch.save did not write")
    for _ in ("version of the format", "system"):
        _Reader(file).load()
    yield "its storages", (sum(_claims(file).values()), size)


def _claims(file: Any) -> dict[str, int]:
    """Return how many bytes each storage of a pickle wants."""
    reader = _Reader(file)
    reader.load()
    return reader.claims


class _Named:
    """Stands in for whatever a pickle names, and for what calling it would give."""

    __slots__ = ("name",)
    name: str

    def __new__(cls: Any, *arguments: Any) -> _Named:
        """Make a stand-in called ``name``, or what a pickle makes of one with NEWOBJ."""
        if isinstance(cls, _Named):
            return cls(*arguments)
        made = object.__new__(_Named)
        made.name = arguments[0] if arguments else ""
        return made

    def __call__(self, *_: Any) -> _Named:
        if ALLOCATING.search(self.name):
            raise pickle.UnpicklingError(f"it calls {self.name}, which would fill the memory")
        return _Named()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass


# The reader in Python: that in C allocates as many places for known objects as a pickle asks for.
class _Reader(pickle._Unpickler):
    """Notes the storages that a pickle wants, and makes nothing but plain values."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.claims: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _Named(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """Note ``("storage", type, key, location, count, ...)``."""
        if pid[0] != "storage":
            return _Named()
        _, kind, key, _, count, *_ = pid
        word = kind.name.rpartition(".")[2].removesuffix("Storage")
        needed = ITEM_BYTES[word] * max(int(count), 0)
        self.claims[str(key)] = max(needed, self.claims.get(str(key), 0))
        return _Named()


def _tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor with its key; a container that is there twice is looked at once."""
    waiting, seen = [("", content)], set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else ((name, v) for v in value)
            waiting += [(str(key), inner) for key, inner in items]
