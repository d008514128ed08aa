"""TensorRT engines that cannot run: what is refused, when, and in which words.

Shown are messages, and that nothing is held after a refusal.  Not shown:
that a real engine loads, what it computes, how fast it is, and TensorRT's own words.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_machine import SPEC, World, expected, pictures

from yolox_deploy import Detector
from yolox_deploy.errors import ArtifactError, DeviceError, ModelWarning
from yolox_deploy.runtimes import gpu
from yolox_deploy.runtimes.tensorrt.runtime import TensorRTRTXRuntime
from yolox_deploy.runtimes.tensorrt.sidecar import EngineRecord, sidecar_path, write_sidecar

MakeWorld = Callable[..., World]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def replace_engine(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def change_engine_part(path: Path, **changes: Any) -> None:
    sidecar = sidecar_path(path)
    content = json.loads(sidecar.read_text())
    content["engine"] = {**content["engine"], **changes}
    sidecar.write_text(json.dumps(content))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (cut, r"is truncated: 20 of \d+ bytes; copy it again"),
    "another engine": (replace_engine, r"is not the engine that small\.engine\.json describes"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"x"), "is not the engine that"),
    "no sidecar": (lambda p: sidecar_path(p).unlink(), r"has no small\.engine\.json beside it"),
    "sidecar cut": (lambda p: cut(sidecar_path(p)), r"json: the engine's sidecar is damaged"),
    "sidecar of noise": (lambda p: sidecar_path(p).write_bytes(b"\xff\0" * 99), "damaged"),
    "sidecar of a list": (lambda p: sidecar_path(p).write_text("[1]"), "damaged"),
    "record of nonsense": (lambda p: change_engine_part(p, batch=[3, 1, 2]), "batch cannot be"),
    "record of a path": (lambda p: change_engine_part(p, version="../../x"), "version cannot be"),
    "record with a wrong kind": (lambda p: change_engine_part(p, executed="no"), "executed"),
    "absurd size": (lambda p: change_engine_part(p, engine_bytes=-1), "engine_bytes cannot be"),
    "another version": (
        lambda p: change_engine_part(p, version="8.6.1"),
        r"it was built by tensorrt 8\.6\.1 and this is 10\.16\.1\.11; build it again: "
        r"yolox-export --model CHECKPOINT --to trt --fp16 --imgsz 64 64 --dynamic --batch 1,1,4",
    ),
    "another flavour": (
        lambda p: change_engine_part(p, flavour="tensorrt-rtx"),
        "it was built by tensorrt-rtx and this is tensorrt; build it again: .* --to trt ",
    ),
    "another GPU": (
        lambda p: change_engine_part(p, gpu="NVIDIA A10G", compute_capability=[9, 0]),
        r"it was built for NVIDIA A10G \(compute capability 9\.0\) and this is NVIDIA GeForce RTX "
        r"3090 \(compute capability 8\.6\); build it again: yolox-export",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_run_is_refused_before_anything_is_deserialized(
    damage: str, world: MakeWorld
) -> None:
    here = world()
    path = here.write()
    spoil, message = DAMAGES[damage]
    spoil(path)
    with pytest.raises(ArtifactError, match=message) as caught:
        here.kind(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert here.module.deaths == []
    assert "cuDevicePrimaryCtxRetain" not in here.driver.calls
    assert here.driver.books() == {}


def test_without_a_driver_nothing_of_tensorrt_is_touched(
    world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    path = here.write()
    monkeypatch.setattr(gpu, "ctypes", gpu_without_driver())
    monkeypatch.setattr(here.module, "Runtime", None)
    with pytest.raises(DeviceError, match="no NVIDIA driver here: install one"):
        here.kind(path)
    with pytest.raises(DeviceError, match="backend tensorrt cannot run here: no NVIDIA driver"):
        Detector(path)


def gpu_without_driver() -> Any:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    return SimpleNamespace(**{**vars(ctypes), "CDLL": missing})


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"outputs": ("num", "boxes")}, {}, "1 inputs and 2 outputs.*NMS belongs outside"),
        ({"dtype": "INT32"}, {}, "images is .*INT32, expected FLOAT or HALF"),
        ({"rows": (-1, 7)}, {}, "NMS belongs outside the engine"),
        ({"picture": (3, 96, 64)}, {}, "takes 1x3x96x64 to 4x3x96x64, its sidecar says .x3x64x64"),
        ({}, {"batch": 8}, "takes 1x3x64x64 to 4x3x64x64, its sidecar says 8x3x64x64"),
        ({"rows": (84, 9)}, {}, "the two do not belong together"),
        ({"context": False}, {}, "no room for the engine's activations"),
    ],
    ids=["NMS inside", "int32", "rows by content", "size", "batch", "classes", "memory"],
)
def test_an_engine_that_is_no_detector_is_refused(
    options: dict[str, Any], spec: dict[str, Any], message: str, world: MakeWorld
) -> None:
    here = world(**options)
    path = here.write(spec=replace(SPEC, **spec))
    with pytest.raises(ArtifactError, match=message):
        here.kind(path)
    assert here.driver.books() == {}
    assert here.driver.wrong == []


def test_an_engine_of_trtexec_is_opened_unseen_and_its_refusal_is_told(
    world: MakeWorld,
) -> None:
    here = world("11.4.0.106")
    path = here.write()
    write_sidecar(path, SPEC, None)
    command = f"yolox-export --verify-artifact {path} --model CHECKPOINT"
    with pytest.warns(ModelWarning, match=re.escape(command)):
        detector = Detector(path)
    with detector:
        found = detector.runtime.infer(pictures(2))
        np.testing.assert_allclose(found, expected(pictures(2)), rtol=1e-5)
    path.write_bytes(b"of another version")
    with pytest.raises(ArtifactError) as caught:
        here.kind(path)
    assert "magic tag does not match" in str(caught.value)
    assert "build it again: yolox-export --model CHECKPOINT --to trt --fp16" in str(caught.value)
    assert here.driver.books() == {}


def test_an_engine_that_was_never_run_says_so_and_one_that_was_is_silent(
    world: MakeWorld, recwarn: pytest.WarningsRecorder
) -> None:
    here = world()
    Detector(here.write()).close()
    assert len(recwarn) == 0
    with pytest.warns(ModelWarning, match="not been verified by running it; to do so: yolox-exp"):
        Detector(here.write(executed=False)).close()
    with pytest.warns(ModelWarning, match="was built on NVIDIA RTX A6000 and this is NVIDIA GeF"):
        Detector(here.write(gpu="NVIDIA RTX A6000")).close()
    # Who verifies it opens the runtime, and is not told to verify it: the notes are data.
    with here.kind(here.write(executed=False)) as opened:
        assert len(opened.notes) == 1
    assert len(recwarn) == 0


@pytest.mark.parametrize("compatible", [False, True])
def test_host_code_is_allowed_only_to_a_version_compatible_engine(
    compatible: bool, world: MakeWorld
) -> None:
    here = world("11.4.0.106")
    allowed = []
    recorded = here.module.Runtime.engine_host_code_allowed
    here.module.Runtime.engine_host_code_allowed = property(
        recorded.fget, lambda self, value: allowed.append(value)
    )
    built = "10.16.1.11" if compatible else here.version
    here.kind(here.write(version=built, version_compatible=compatible)).close()
    assert allowed == [True] * compatible
    with pytest.raises(ArtifactError, match=r"built by tensorrt 10\.16"):
        here.kind(here.write(version="10.16.1.11"))


def test_the_real_tensorrt_rtx_tells_why_it_cannot_load_an_engine(
    tmp_path: Path, gpu_with: Any
) -> None:
    """The one version whose libraries can be installed; it finds no engine in these bytes."""
    rtx = pytest.importorskip("tensorrt_rtx")
    driver = gpu_with()
    path = tmp_path / "x.rtx.engine"
    path.write_bytes(b"no engine" * 100)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = EngineRecord(
        "tensorrt-rtx", rtx.__version__, "fp16", (1, 1, 4), "0" * 64, digest, 900, False
    )
    for known, message in ((record, "the file is whole and fits"), (None, "it may be truncated")):
        write_sidecar(path, SPEC, known)
        with pytest.raises(ArtifactError, match=f"cannot load it on NVIDIA.*; {message}") as caught:
            TensorRTRTXRuntime(path)
        # In TensorRT's own words, through our logger.
        assert "Error Code" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert driver.books() == {}
