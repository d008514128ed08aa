"""Checkpoints of every container, safely read, and what is refused."""

from __future__ import annotations

import argparse
import os
import pickle
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import CheckpointError, UsageError
from yolox_deploy.models import ARCHITECTURES, build_network
from yolox_deploy.models.checkpoint import infer_architecture, load_checkpoint
from yolox_deploy.spec import SpecHints

Weights = dict[str, Tensor]
STEM = "backbone.backbone.stem.conv.conv.weight"
CLASSES = "head.cls_preds.0.weight"


@pytest.fixture(scope="session")
def weights(nano_pth: Path) -> Weights:
    content: Weights = torch.load(nano_pth, weights_only=True)["model"]
    return content


def prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


def halved(weights: Weights, kind: torch.dtype) -> Weights:
    return {k: v.to(kind) if v.is_floating_point() else v for k, v in weights.items()}


def other(weights: Weights) -> Weights:
    """Weights that would give another network, to see which of two were taken."""
    return {k: v + 1 if v.is_floating_point() else v for k, v in weights.items()}


CONTAINERS: dict[str, Callable[[Weights], Any]] = {
    "the published container": lambda w: {"model": w, "start_epoch": 300},
    "a bare state dict": lambda w: w,
    "an ordered state dict": lambda w: OrderedDict(w),
    "state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "data parallel": lambda w: {"model": prefixed(w, "module.")},
    "compiled": lambda w: prefixed(w, "_orig_mod."),
    "compiled in data parallel": lambda w: prefixed(w, "module._orig_mod."),
    "data parallel compiled": lambda w: prefixed(w, "_orig_mod.module."),
    "averaged weights first": lambda w: {"model": other(w), "ema": w},
    "averaged weights nested": lambda w: {"model": other(w), "ema": {"module": w, "updates": 9}},
    "averaged weights alone": lambda w: {"ema_state_dict": prefixed(w, "module.")},
    "an averaged model": lambda w: {"n_averaged": torch.tensor(3), **prefixed(w, "module.")},
    "numpy scalars beside": lambda w: {
        "model": w,
        "best_ap": np.float64(0.258),
        "curr_ap": np.float32(0.2),
        "epoch": np.int64(3),
        "flag": np.bool_(True),
        "history": np.arange(5.0),
    },
    "optimizer state beside": lambda w: {
        "model": w,
        "optimizer": {"state": {0: {"momentum": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    },
    "double precision": lambda w: halved(w, torch.float64),
    "without batch counters": lambda w: {
        k: v for k, v in w.items() if not k.endswith("num_batches_tracked")
    },
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_gives_the_same_network(
    kind: str, weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    torch.save(CONTAINERS[kind](weights), path)
    found = load_checkpoint(path)
    assert found.arch == ARCHITECTURES["nano"]
    assert not found.network.training
    state = found.network.state_dict()
    assert set(state) == set(weights)
    for key, value in weights.items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(state[key], value), key
            assert state[key].dtype == torch.float32
    assert bool(found.notes) == (kind in ("averaged weights first", "averaged weights nested"))
    assert all("'ema'" in note for note in found.notes)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(
    kind: torch.dtype, weights: Weights, tmp_path: Path
) -> None:
    torch.save(halved(weights, kind), tmp_path / "x.pth")
    state = load_checkpoint(tmp_path / "x.pth").network.state_dict()
    assert torch.equal(state[CLASSES], weights[CLASSES].to(kind).float())
    assert {v.dtype for v in state.values()} == {torch.float32, torch.int64}


def test_a_checkpoint_saved_on_a_gpu_is_read_without_one(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save({"model": weights}, path)
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        assert b"cuda:0" in archive.read(name)
    network = load_checkpoint(path).network
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert torch.equal(network.state_dict()[CLASSES], weights[CLASSES])


def test_the_old_file_format_is_read(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": weights}, path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path).arch.name == "nano"


def test_the_published_weights_are_read_as_published(data_file: Any) -> None:
    for name, legacy in (("yolox_nano", False), ("yolox_nano_legacy", True)):
        found = load_checkpoint(data_file(f"weights/{name}.pth"))
        assert found.input_found.legacy is found.spec().legacy is legacy
        assert (found.input_is_legacy()[1] is not None) == legacy
        assert found.arch == ARCHITECTURES["nano"]
        assert (found.network.num_classes, found.notes, found.legacy) == (80, (), None)
        spec = found.spec()
        assert (spec.class_names, spec.height, spec.width) == (COCO_NAMES, 416, 416)
        assert found.spec(SpecHints(legacy=True)).legacy
        assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("name", "classes"), [*((name, 80) for name in ARCHITECTURES), ("nano", 1), ("s", 7)]
)
def test_architecture_and_class_count_are_inferred(name: str, classes: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with torch.device("meta"):
        state = build_network(name, classes).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert infer_architecture(shapes, path) == ARCHITECTURES[name]
    if name != "nano":  # files of up to 400 MB
        return
    torch.save({k: torch.zeros(v.shape, dtype=v.dtype) for k, v in state.items()}, path)
    found = load_checkpoint(path)
    assert (found.arch, found.network.num_classes) == (ARCHITECTURES[name], classes)
    assert found.spec().height == ARCHITECTURES[name].test_size
    assert found.spec().class_names[0] == ("class_0" if classes != 80 else "person")


def test_what_a_file_says_of_itself_is_used_and_may_be_completed(
    weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    names = [f"thing {i}" for i in range(80)]
    torch.save({"model": weights, "names": names, "imgsz": (320, 640), "legacy": True}, path)
    found = load_checkpoint(path)
    spec = found.spec()
    assert (spec.class_names, spec.height, spec.width) == (tuple(names), 320, 640)
    assert spec.legacy
    assert found.spec(SpecHints(imgsz=(64, 96))).width == 96
    with pytest.raises(UsageError, match="legacy"):
        found.spec(SpecHints(legacy=False))
    with pytest.raises(UsageError, match="use 384 or 416"):
        found.spec(SpecHints(imgsz=(400, 416)))
    with pytest.raises(UsageError, match="80"):
        found.spec(SpecHints(names=("a",)))


def test_a_doubtful_input_is_named(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"

    def note(asked: bool | None = None, **about: Any) -> str:
        torch.save({"model": weights, **about}, path)
        return load_checkpoint(path).input_is_legacy(asked)[1] or ""

    assert note() == note(False) == note(legacy=False) == ""
    assert "legacy input is used as asked for, but its weights look like plain" in note(True)
    assert "legacy input is used as stated in the file, but" in note(legacy=True)
    torch.save(build_network("nano", 3).state_dict(), path)
    untrained = load_checkpoint(path)
    legacy, said = untrained.input_is_legacy()
    assert not legacy
    assert said is not None
    assert "plain 0..255 input is assumed, the weights do not tell: its first layer was not" in said
    assert untrained.input_is_legacy(True) == (True, None)


@pytest.mark.parametrize(
    "about",
    [
        {"names": ["a", "b"]},
        {"names": list(range(80))},
        {"names": "abc"},
        {"imgsz": "large"},
        {"imgsz": (1.5, 2)},
        {"imgsz": (1, 2, 3)},
        {"legacy": "yes"},
        {"legacy": 1},
    ],
)
def test_what_a_file_says_wrongly_of_itself_is_not_used(
    about: dict[str, Any], weights: Weights, tmp_path: Path
) -> None:
    torch.save({"model": weights, **about}, tmp_path / "x.pth")
    spec = load_checkpoint(tmp_path / "x.pth").spec()
    assert (spec.class_names, spec.height, spec.width) == (COCO_NAMES, 416, 416)
    assert not spec.legacy


def without(weights: Weights, *keys: str) -> Weights:
    return {k: v for k, v in weights.items() if k not in keys}


NOT_YOLOX: dict[str, tuple[Callable[[Weights], Any], str]] = {
    "another network": (lambda w: {"fc.weight": torch.zeros(10, 20)}, "no YOLOX checkpoint"),
    "a list": (lambda w: [1, 2], "list"),
    "a tensor": (lambda w: torch.zeros(3), "Tensor"),
    "nothing": (lambda w: {}, "no weights"),
    "only an optimizer": (lambda w: {"optimizer": {"lr": 0.1}}, "optimizer"),
    "integer keys": (lambda w: {1: torch.zeros(2)}, "no weights"),
    "a missing tensor": (lambda w: without(w, "head.stems.1.conv.weight"), "head.stems.1.conv"),
    "a tensor too many": (lambda w: {**w, "head.extra": torch.zeros(1)}, "head.extra"),
    "another shape": (
        lambda w: {**w, "head.stems.0.conv.weight": torch.zeros(64, 32, 1, 1)},
        r"\(64, 32, 1, 1\) instead of \(64, 64, 1, 1\)",
    ),
    "no stem": (lambda w: without(w, STEM), "no YOLOX checkpoint"),
    "an empty stem": (lambda w: {**w, STEM: torch.zeros(0, 12, 3, 3)}, ""),
    "a scalar stem": (lambda w: {**w, STEM: torch.zeros(())}, ""),
    "no classes": (lambda w: {**w, CLASSES: torch.zeros(0, 64, 1, 1)}, CLASSES),
    "a scalar for the classes": (lambda w: {**w, CLASSES: torch.zeros(())}, CLASSES),
    "a block with an absurd number": (
        lambda w: {**w, "backbone.backbone.dark3.1.m.99999999.conv1.conv.weight": torch.zeros(1)},
        "",
    ),
    "a block with an endless number": (
        lambda w: {
            **w,
            f"backbone.backbone.dark3.1.m.{'9' * 5000}.conv1.conv.weight": torch.zeros(1),
        },
        "",
    ),
    "NaN": (lambda w: {**w, CLASSES: w[CLASSES] * float("nan")}, CLASSES),
    "infinity": (lambda w: {**w, CLASSES: w[CLASSES] / 0}, CLASSES),
    "integer weights": (lambda w: {**w, CLASSES: w[CLASSES].to(torch.int8)}, ""),
    "weights without content": (lambda w: {k: v.to("meta") for k, v in w.items()}, ""),
    "weights of half the width": (
        lambda w: {**w, STEM: torch.zeros(17, 12, 3, 3)},
        "nearest is custom",
    ),
}


@pytest.mark.parametrize("kind", NOT_YOLOX)
def test_a_checkpoint_that_fits_no_network_says_what_differs(
    kind: str, weights: Weights, tmp_path: Path
) -> None:
    make, message = NOT_YOLOX[kind]
    path = tmp_path / "stranger.pth"
    torch.save(make(weights), path)
    with pytest.raises(CheckpointError, match=message or None) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_requested_architecture_is_taken_or_the_difference_named(
    nano_pth: Path, tmp_path: Path
) -> None:
    assert load_checkpoint(nano_pth, "yolox_nano").arch.name == "nano"
    with pytest.raises(CheckpointError, match="the requested is tiny"):
        load_checkpoint(nano_pth, "tiny")
    with pytest.raises(UsageError, match="did you mean 'nano'"):
        load_checkpoint(nano_pth, "nanoo")


def damaged(original: bytes) -> dict[str, tuple[bytes, str]]:
    return {
        "empty": (b"", "empty"),
        "cut in half": (original[: len(original) // 2], "damaged"),
        "cut at the end": (original[:-100], "damaged"),
        "ten bytes": (original[:10], "damaged"),
        "text": (b"hello world, this is no checkpoint\n", "damaged"),
        "a page": (b"<!DOCTYPE html><html>Not found</html>", "damaged"),
        "json": (b'{"a": 1}', "damaged"),
        "zeros": (bytes(1000), "damaged"),
        "noise": (np.random.default_rng(0).bytes(5000), "damaged"),
        "an archive of something else": (b"PK\x05\x06" + bytes(18), "damaged"),
    }


@pytest.mark.parametrize("kind", damaged(b""))
def test_a_damaged_file_is_called_damaged(kind: str, nano_pth: Path, tmp_path: Path) -> None:
    content, message = damaged(nano_pth.read_bytes())[kind]
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    # A transfer that broke off is no attack.
    assert "run code" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(CheckpointError, match="no such file"):
            load_checkpoint(path)


class Bait:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("container", ["archive", "old format", "plain pickle"])
def test_code_in_a_checkpoint_does_not_run(
    container: str, weights: Weights, tmp_path: Path
) -> None:
    marker, path = tmp_path / "it ran", tmp_path / "evil.pth"
    content = {"model": weights, "extra": Bait(marker)}
    if container == "plain pickle":
        path.write_bytes(pickle.dumps(Bait(marker), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "archive")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert not marker.exists()
    if container == "archive":
        assert "run code" in str(caught.value)
        assert "mkdir" in str(caught.value)
    # The bait is a live one.
    pickle.loads(pickle.dumps(Bait(marker)))
    assert marker.exists()


def test_harmless_but_unknown_types_are_named(weights: Weights, tmp_path: Path) -> None:
    torch.save({"model": weights, "args": argparse.Namespace(lr=0.1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*state_dict"):
        load_checkpoint(tmp_path / "x.pth")


def test_checkpoints_can_be_read_from_several_threads(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": weights, "best_ap": np.float64(0.2)}, path)
    before = list(torch.serialization.get_safe_globals())
    problems: list[str] = []

    def work() -> None:
        for _ in range(4):
            try:
                load_checkpoint(path)
            except CheckpointError as error:
                problems.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert torch.serialization.get_safe_globals() == before
