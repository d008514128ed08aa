"""The cache of exports: what is made once, what is made anew, and what is not exported at all."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from yolox_deploy.detector import Detector
from yolox_deploy.errors import MissingPackageError, ModelWarning, UsageError
from yolox_deploy.export import TARGETS, cache, pipeline
from yolox_deploy.export.cache import exported
from yolox_deploy.runtimes import BACKENDS, backend_for, content
from yolox_deploy.runtimes.doubts import verify_command
from yolox_deploy.runtimes.registry import Backend
from yolox_deploy.spec import SpecHints

SMALL = SpecHints(imgsz=(64, 64), names=("thing",))
FAST: dict[str, Any] = {"hints": SMALL, "verify": False}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is exported, in the place of exporting: a file that says nothing."""
    files: list[Path] = []

    def export(checkpoint: Path, targets: list[str], options: Any, folder: Path) -> list[Any]:
        stem = f"{checkpoint.stem}_fp16" if options.fp16 else checkpoint.stem
        folder.mkdir(parents=True, exist_ok=True)
        row = TARGETS[targets[0]]
        files.append(folder / f"{stem}{row.suffix}")
        for file in row.files(files[-1]):
            file.write_bytes(b"")
        passed = SimpleNamespace(notes=(), status="passed")
        return [SimpleNamespace(path=files[-1], verification=passed)]

    monkeypatch.setattr(pipeline, "export_model", export)
    return files


@pytest.mark.parametrize("options", [{"batch": 2}, {"batch": None}, {"fp16": True}], ids=str)
def test_the_artifact_is_what_was_asked_for(
    options: dict[str, Any], checkpoint_of: Callable[[int], Path]
) -> None:
    path = exported(checkpoint_of(1), "onnxruntime", **FAST, **options)
    with backend_for(path).runtime_class()(path) as runtime:
        assert runtime.spec.batch == options.get("batch")
        assert runtime.spec.precision == ("fp16" if options.get("fp16") else "fp32")
        assert (runtime.spec.height, runtime.spec.class_names) == (64, ("thing",))


def test_every_option_has_an_artifact_of_its_own_and_each_is_made_once(
    made: list[Path], checkpoint_of: Callable[[int], Path]
) -> None:
    requests: list[dict[str, Any]] = [
        {},
        {"batch": 1},
        {"batch": 2},
        {"fp16": True},
        {"verify": True},
        {"hints": SpecHints(imgsz=(96, 64), names=("thing",))},
    ]
    first = [exported(checkpoint_of(1), "onnxruntime", **{**FAST, **r}) for r in requests]
    first.append(exported(checkpoint_of(1), "openvino", **FAST))
    assert made == first
    assert len({path.parent for path in first}) == len(first)
    again = [exported(checkpoint_of(1), "onnxruntime", **{**FAST, **r}) for r in requests]
    assert [*again, exported(checkpoint_of(1), "openvino", **FAST)] == first == made


@pytest.fixture(scope="module")
def filled_cache(checkpoint_of: Callable[[int], Path], tmp_path_factory: Any) -> Path:
    """A cache with an artifact of OpenVINO in it, to be copied."""
    folder: Path = tmp_path_factory.mktemp("filled") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLOX_DEPLOY_CACHE", str(folder))
        exported(checkpoint_of(1), "openvino", **FAST)
    return folder


@pytest.mark.parametrize("damage", ["truncated", "garbage", "removed"])
@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_an_artifact_that_is_damaged_is_made_again(
    damage: str, suffix: str, checkpoint_of: Callable[[int], Path], filled_cache: Path
) -> None:
    shutil.copytree(filled_cache, os.environ["YOLOX_DEPLOY_CACHE"])
    path = exported(checkpoint_of(1), "openvino", **FAST)
    file = path.with_suffix(suffix)
    whole = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(whole[:99] + bytes(len(whole) - 99) if damage == "garbage" else whole[:99])
    notes = pytest.warns(ModelWarning, match="damaged or not finished: it is made again")
    with nullcontext() if (damage, suffix) == ("removed", ".xml") else notes:
        assert exported(checkpoint_of(1), "openvino", **FAST) == path
    with backend_for(path).runtime_class()(path) as runtime:
        assert runtime.spec.class_names == ("thing",)
        assert verify_command(runtime).endswith(shlex.join(["--model", str(checkpoint_of(1))]))


def test_what_several_need_at_once_is_made_by_one_of_them(
    made: list[Path], checkpoint_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    export = pipeline.export_model
    others: list[threading.Thread] = []

    def while_another_begins(*arguments: Any) -> Any:
        if not others:
            others.append(threading.Thread(target=exported, args=wanted, kwargs=FAST))
            others[0].start()
            # Until it waits for this one, or has made the artifact as well.
            while others[0].is_alive() and not any("waiting" in str(w.message) for w in noted):
                others[0].join(0.01)
        return export(*arguments)

    monkeypatch.setattr(pipeline, "export_model", while_another_begins)
    wanted = (checkpoint_of(1), "onnxruntime")
    with pytest.warns(ModelWarning, match=r"waiting for another process .* nano_1\.pth") as noted:
        path = exported(*wanted, **FAST)
    others[0].join()
    assert made == [path]


def test_the_files_of_the_cache_are_hashed_once(
    checkpoint_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    sha256 = content.Part.sha256
    monkeypatch.setattr(content.Part, "sha256", lambda p: hashed.append(p.file) or sha256(p))
    options = {"imgsz": (64, 64), "names": ("thing",), "backend": "onnxruntime"}
    Detector(checkpoint_of(1), **options).close()
    hashed.clear()
    Detector(checkpoint_of(1), **options).close()
    assert hashed == []
    path = exported(checkpoint_of(1), "onnxruntime", SMALL)
    Detector(path).close()
    assert hashed == [path]


def test_an_artifact_depends_on_the_content_of_the_checkpoint_not_on_its_name(
    made: list[Path], checkpoint_of: Callable[[int], Path], tmp_path: Path
) -> None:
    copied = tmp_path / "sub" / "nano_1.pth"
    copied.parent.mkdir()
    copied.write_bytes(checkpoint_of(1).read_bytes())
    one = exported(checkpoint_of(1), "onnxruntime", **FAST)
    assert exported(copied, "onnxruntime", **FAST) == one
    copied.write_bytes(checkpoint_of(7).read_bytes())
    assert exported(copied, "onnxruntime", **FAST) != one
    assert len(made) == 2


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_a_checkpoint_that_states_its_name_is_run_by_every_engine(
    backend: str, checkpoint_of: Callable[[int], Path], tmp_path: Path, dog_path: Path
) -> None:
    """As training writes it: ``best.pth`` of a run that is called otherwise."""
    path = tmp_path / "best.pth"
    torch.save(torch.load(checkpoint_of(1), weights_only=True) | {"name": "my_run"}, path)
    for _ in range(2):
        artifact = exported(path, backend, **FAST)
        assert artifact.name.split(".")[0] == "my_run"
    with Detector(artifact, backend) as detector:
        assert detector.spec.name == "my_run"
        detector(dog_path)


def test_an_artifact_for_one_machine_is_made_anew_on_another(
    made: list[Path], checkpoint_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(machine: str) -> Path:
        monkeypatch.setattr(TARGETS["onnx"], "made_for", lambda: machine, raising=False)
        return exported(checkpoint_of(1), "onnxruntime", **FAST)

    paths = [on("10.3 NVIDIA L4"), on("10.3 NVIDIA T4"), on("10.3 NVIDIA L4")]
    assert paths[0] == paths[2] != paths[1]
    assert made == paths[:2]


def test_what_a_backend_opens_is_not_exported(
    made: list[Path], nano_onnx: Path, checkpoint_of: Callable[[int], Path]
) -> None:
    assert exported(nano_onnx, "openvino", **FAST) == nano_onnx
    assert exported(checkpoint_of(1), "torch", **FAST) == checkpoint_of(1)
    assert made == []


def test_where_no_engine_runs_the_checkpoint_is_left_to_pytorch(
    made: list[Path], checkpoint_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BACKENDS", {"torch": BACKENDS["torch"]})
    assert exported(checkpoint_of(1), "auto", **FAST) == checkpoint_of(1)
    assert made == []


def test_a_backend_without_a_target_or_a_package_is_said_to_have_none(
    checkpoint_of: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Backend("alone", "no target", "nowhere:None", package="numpy", suffixes=(".alone",))
    absent = Backend("ncnn", "absent", "nowhere:None", package="no_such_engine", suffixes=(".x",))
    rows = {**BACKENDS, "alone": alone, "ncnn": absent}
    monkeypatch.setattr(cache, "BACKENDS", rows)
    with pytest.raises(UsageError, match=r"no export target writes files for backend alone.*\.al"):
        exported(checkpoint_of(1), "alone", **FAST)
    with pytest.raises(MissingPackageError, match="pip install no_such_engine"):
        exported(checkpoint_of(1), "ncnn", **FAST)
