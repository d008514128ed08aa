"""Files that claim more than they hold are refused before the memory is taken."""

from __future__ import annotations

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from yolox_deploy.architectures import Architecture
from yolox_deploy.models import build_network
from yolox_deploy.models.reading import read_tensors_only

# What one of the files may take beside PyTorch itself; each claims 400 MB and more.
MOST_BYTES = 120_000_000
CLAIM = 100_000_000


def repacked(path: Path, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write a small checkpoint as a zip with other parts."""
    stream = io.BytesIO()
    torch.save({"model": {"a": torch.arange(7.0)}}, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(path, "w", compression, True, 1) as new:
        for name in old.namelist():
            part = name.partition("/")[2]
            new.writestr(name, changes.get(part, old.read(name)))


def pickled_call(name: str, argument: int) -> bytes:
    return b"\x80\x02c" + name.encode() + b"\nJ" + argument.to_bytes(4, "little") + b"\x85R."


def long_storage(content: bytes) -> bytes:
    """Let a pickle say that its storage of 7 numbers is one of many."""
    changed, count = re.subn(rb"K\x07(?=N?t)", b"J" + CLAIM.to_bytes(4, "little"), content)
    assert count == 1
    return changed


def repeated_numbers(path: Path) -> None:
    """A network of 56 thousand million parameters, each tensor one number with strides of 0."""
    with torch.device("meta"):
        network = build_network(Architecture("huge", 1.0, 32.0), 80)
    weights = {k: torch.zeros(()).expand(v.shape) for k, v in network.state_dict().items()}
    assert sum(value.numel() for value in weights.values()) > 50e9
    torch.save({"model": weights}, path)
    assert path.stat().st_size < 300_000


def packed_zeros(path: Path) -> None:
    repacked(path, {"data/0": bytes(4 * CLAIM)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 4_000_000


def packed_pickle(path: Path) -> None:
    repacked(path, {"data.pkl": bytes(4 * CLAIM)}, zipfile.ZIP_DEFLATED)


def called_bytearray(path: Path) -> None:
    repacked(path, {"data.pkl": pickled_call("builtins\nbytearray", 4 * CLAIM)})


def called_tensor(path: Path) -> None:
    repacked(path, {"data.pkl": pickled_call("torch\nFloatTensor", CLAIM)})


def new_tensor(path: Path) -> None:
    call = pickled_call("torch\nFloatTensor", CLAIM)
    repacked(path, {"data.pkl": call.replace(b"\x85R", b"\x85\x81")})


def storage_beyond_its_part(path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"model": {"a": torch.arange(7.0)}}, stream)
    with zipfile.ZipFile(stream) as archive:
        content = archive.read("archive/data.pkl")
    repacked(path, {"data.pkl": long_storage(content)})


def storage_of_the_old_format(path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"model": {"a": torch.arange(7.0)}}, stream, _use_new_zipfile_serialization=False)
    path.write_bytes(long_storage(stream.getvalue()))


def two_pickles(path: Path) -> None:
    """Names that differ in case only, of which PyTorch may take the other one."""
    repacked(path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/DATA.pkl", pickled_call("builtins\nbytearray", 4 * CLAIM))


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "repeated numbers": (repeated_numbers, "strides"),
    "packed zeros": (packed_zeros, "would take 4"),
    "packed pickle": (packed_pickle, "would take 4"),
    "bytearray": (called_bytearray, "it calls builtins.bytearray"),
    "tensor": (called_tensor, "it calls torch.FloatTensor"),
    "new tensor": (new_tensor, "it calls torch.FloatTensor"),
    "storage beyond its part": (storage_beyond_its_part, "storage 0 would take 400,000,000 bytes"),
    "storage of the old format": (storage_of_the_old_format, "would take 400,000,000 bytes"),
    "two pickles": (two_pickles, "names that PyTorch does not write"),
}

READ_ALL = """
import json, resource, sys
from pathlib import Path
from yolox_deploy.errors import CheckpointError
from yolox_deploy.models.checkpoint import load_checkpoint
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
found = {}
for path in sys.argv[1:]:
    before = peak()
    try:
        load_checkpoint(Path(path))
        error = "read"
    except CheckpointError as refused:
        error = str(refused)
    found[Path(path).stem] = error, peak() - before
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """What became of each file, and how many bytes the process grew, in one process for all."""
    folder = tmp_path_factory.mktemp("claims")
    paths = [folder / f"{name}.pth" for name in FILES]
    for path in paths:
        FILES[path.stem][0](path)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[str, int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_claims_more_than_it_holds_is_refused(
    name: str, outcomes: dict[str, tuple[str, int]]
) -> None:
    error, grown = outcomes[name]
    expected = FILES[name][1] if name != "repeated numbers" else "bytes, and the file holds 4"
    assert expected in error
    assert grown < MOST_BYTES
    assert "\n" not in error


class Settings:
    """Something of a training script, which no reader should make."""


@pytest.mark.parametrize("old", [False, True])
def test_what_training_leaves_is_read(old: bool, tmp_path: Path) -> None:
    """Shared storages, views, parameters, half precision, optimizers, NumPy's numbers."""
    weight = torch.nn.Parameter(torch.randn(4, 5))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    import numpy as np

    content: dict[str, Any] = {
        "model": {"a": weight, "b": weight.detach()[:2], "h": weight.detach().half()},
        "counts": torch.arange(3),
        "flags": torch.tensor([True]),
        "optimizer": optimizer.state_dict(),
        "ap": np.float64(0.5),
        "array": np.arange(3),
        "names": ["a", "b"],
        "size": torch.Size((2, 3)),
    }
    path = tmp_path / "x.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    found = read_tensors_only(path)
    assert torch.equal(found["model"]["a"], weight)
    assert torch.equal(found["model"]["b"], weight[:2])
    assert found["names"] == ["a", "b"]


def test_reading_makes_nothing_that_a_pickle_names(tmp_path: Path) -> None:
    from yolox_deploy.models.claims import _Reader

    for protocol in range(6):
        made = _Reader(io.BytesIO(pickle.dumps({"x": [Path("a"), print, int]}, protocol))).load()
        assert {type(item).__name__ for item in made["x"]} == {"_Named"}
