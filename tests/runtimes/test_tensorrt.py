"""The TensorRT runtime over the recorded bindings of every version, and a driver without a GPU.

Shown are the names, arguments and order of the calls, batches, lifetimes and messages.  Not shown:
that a real engine loads, what it computes, how fast it is, and TensorRT's own words.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detector
from yolox_deploy.errors import ArtifactError, DeviceError, UsageError, YoloxDeployError
from yolox_deploy.runtimes import BACKENDS, backend_for, gpu
from yolox_deploy.runtimes.tensorrt.cuda import BINDINGS
from yolox_deploy.runtimes.tensorrt.runtime import TensorRTRTXRuntime, TensorRTRuntime
from yolox_deploy.runtimes.tensorrt.sidecar import EngineRecord, sidecar_path, write_sidecar
from yolox_deploy.spec import ModelSpec

VERSIONS = ("8.6.1", "10.0.1", "10.16.1.11", "11.4.0.106", "1.7.1.116")
SPEC = ModelSpec("small", ("thing",), 64, 64, None, precision="fp16")


class World:
    """A machine with a GPU and one version of TensorRT, and engines on its disk."""

    def __init__(
        self,
        folder: Path,
        version: str,
        driver: Any,
        fake_tensorrt: ModuleType,
        bindings: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        **options: Any,
    ) -> None:
        self.folder, self.version, self.driver = folder, version, driver
        self.kind = TensorRTRTXRuntime if version == "1.7.1.116" else TensorRTRuntime
        self.engine = fake_tensorrt.FakeEngine(**options)
        self.magic: bytes = fake_tensorrt.MAGIC
        self.module: Any = fake_tensorrt.fake_tensorrt(bindings, version, driver, self.engine)
        self.module.__spec__ = importlib.machinery.ModuleSpec(self.kind.module, None)
        monkeypatch.setitem(sys.modules, self.kind.module, self.module)

    def write(self, name: str = "small.engine", **changes: Any) -> Path:
        """Write an engine with its sidecar; ``changes`` are the record's, or ``spec``."""
        path = self.folder / name
        content = self.magic + name.encode() * 20
        path.write_bytes(content)
        low = self.engine.high if self.engine.fixed else self.engine.low
        spec = changes.pop("spec", replace(SPEC, batch=low if self.engine.fixed else None))
        record = EngineRecord(
            flavour=self.kind.name,  # type: ignore[arg-type]
            version=self.version,
            precision="fp16",
            batch=(low, low, self.engine.high),
            onnx_sha256="0" * 64,
            engine_sha256=hashlib.sha256(content).hexdigest(),
            engine_bytes=len(content),
            executed=True,
            gpu=self.driver.name,
            compute_capability=self.driver.capability,
        )
        write_sidecar(path, spec, replace(record, **changes))
        return path


MakeWorld = Callable[..., World]


@pytest.fixture
def world(
    tmp_path: Path,
    gpu_with: Any,
    fake_tensorrt: ModuleType,
    bindings: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeWorld:
    def make(version: str = "10.16.1.11", fail_at: int = 0, **options: Any) -> World:
        driver = gpu_with(fail_at=fail_at)
        return World(tmp_path, version, driver, fake_tensorrt, bindings, monkeypatch, **options)

    return make


@pytest.fixture
def expected(fake_tensorrt: ModuleType) -> Callable[..., Any]:
    return lambda images: fake_tensorrt.expected_output(images, (84, 6))


def pictures(count: int, seed: int = 0) -> Any:
    # Whole numbers, as pixels are, which float16 holds exactly.
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3, 64, 64)).astype(np.float32)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("binding", ["cuda", *BINDINGS])
@pytest.mark.parametrize(("fixed", "dtype"), [(False, "FLOAT"), (True, "FLOAT"), (False, "HALF")])
def test_engines_of_every_version_run_in_batches_and_give_all_back(
    version: str, binding: str, fixed: bool, dtype: str, world: MakeWorld, expected: Any
) -> None:
    here = world(version, low=2, high=4, fixed=fixed, dtype=dtype)
    tolerance = {"rtol": 2e-3} if dtype == "HALF" else {"rtol": 1e-5}
    with here.kind(here.write(), device=binding) as opened:
        assert opened.spec.batch == (4 if fixed else None)
        assert opened.precision == "fp16"
        for count in (1, 2, 2, 2, 3, 4, 9, 1):
            images = pictures(count, seed=count)
            found = opened.infer(images)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected(images), **tolerance)
        # A millisecond for every piece of work that a stream was given: 4 events, 3 actions.
        assert opened.engine_seconds == pytest.approx((2e-3, 2e-3, 2e-3))
        opened.infer(pictures(9))
        batches = 3
        assert opened.engine_seconds == pytest.approx((2e-3 * batches,) * 3)
        kept = opened.infer(pictures(4))
    np.testing.assert_allclose(kept, expected(pictures(4)), **tolerance)
    assert here.module.deaths == ["context", "engine", "runtime"]
    assert here.driver.books() == {}
    assert here.driver.wrong == []
    assert ("cuGraphLaunch" in here.driver.calls) == (binding == "cuda-python")
    with pytest.raises(UsageError, match="closed"):
        opened.infer(pictures(1))


def test_a_graph_is_captured_once_a_shape_and_freed_with_it(
    world: MakeWorld, expected: Any
) -> None:
    here = world()
    with here.kind(here.write(), device="cuda-python") as opened:
        captures = []
        for count in (1, 1, 1, 1, 2, 1, 2, 2, 2):
            images = pictures(count, seed=len(captures))
            np.testing.assert_allclose(opened.infer(images), expected(images), rtol=1e-5)
            captures.append(here.driver.calls.count("cuStreamBeginCapture"))
            assert len(here.driver.execs) <= 1
        # The first run of a shape is not captured, one that passes by never.
        assert captures == [0, 1, 1, 1, 1, 1, 1, 2, 2]
    assert here.driver.books() == {}


@pytest.mark.parametrize("version", ["11.4.0.106", "1.7.1.116"])
def test_an_engine_that_cannot_be_captured_runs_without_a_graph(
    version: str, world: MakeWorld, expected: Any
) -> None:
    here = world(version, capturable=False)
    with here.kind(here.write(), device="cuda-python") as opened:
        for seed in range(4):
            images = pictures(1, seed)
            np.testing.assert_allclose(opened.infer(images), expected(images), rtol=1e-5)
        assert here.driver.calls.count("cuStreamBeginCapture") <= 1
        assert "cuGraphLaunch" not in here.driver.calls
    assert here.driver.books() == {}


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_refusal_at_any_call_is_one_clear_error_and_leaves_nothing_behind(
    binding: str, world: MakeWorld
) -> None:
    def use(here: World) -> None:
        with here.kind(path, device=binding) as opened:
            for count in (1, 1, 1, 2):
                opened.infer(pictures(count))
            before_close.append(len(here.driver.calls))

    before_close: list[int] = []
    here = world()
    path = here.write()
    use(here)
    total = len(here.driver.calls)
    for number in range(1, total + 1):
        here = world(fail_at=number)
        message = ""
        try:
            use(here)
        except YoloxDeployError as error:
            message = str(error)
        name = here.driver.calls[number - 1]
        where = f"{name}, call {number} of {total}"
        captured = "Capture" in name or "Graph" in name
        waited = name == "cuStreamSynchronize" and number > before_close[0]
        silent = captured or waited or (binding == "pycuda" and name.endswith("Destroy"))
        assert message or silent, where
        assert "\n" not in message, where
        assert here.module.deaths in (["context", "engine", "runtime"], []), where
        closing = name.endswith(("Free", "FreeHost", "Destroy", "Release", "Push", "PopCurrent"))
        if not closing and not waited and name != "cuCtxPushCurrent":
            assert here.driver.books() == {}, where
            assert here.driver.wrong == [], where


@pytest.mark.parametrize("binding", BINDINGS)
def test_detectors_in_threads_do_not_disturb_each_other(
    binding: str, world: MakeWorld, expected: Any
) -> None:
    here = world()
    paths = [here.write(f"{i}.engine") for i in range(2)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with here.kind(paths[number], device=binding) as opened:
                for count in (1, 3, 3, 3, 6):
                    images = pictures(count, seed=number)
                    np.testing.assert_allclose(opened.infer(images), expected(images), rtol=1e-5)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    # Opened here, used and closed elsewhere.
    opened = here.kind(paths[0], device=binding)
    other = threading.Thread(target=lambda: (opened.infer(pictures(2)), opened.close()))
    other.start()
    other.join()
    assert opened.closed
    assert here.driver.books() == {}
    assert here.driver.wrong == []


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
    import ctypes
    from types import SimpleNamespace

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
    world: MakeWorld, capsys: pytest.CaptureFixture[str], expected: Any
) -> None:
    here = world("11.4.0.106")
    path = here.write()
    write_sidecar(path, SPEC, None)
    with Detector(path) as detector:
        found = detector.runtime.infer(pictures(2))
        np.testing.assert_allclose(found, expected(pictures(2)), rtol=1e-5)
    assert f"yolox-export --verify-artifact {path} --model CHECKPOINT" in capsys.readouterr().err
    path.write_bytes(b"of another version")
    with pytest.raises(ArtifactError) as caught:
        here.kind(path)
    assert "magic tag does not match" in str(caught.value)
    assert "build it again: yolox-export --model CHECKPOINT --to trt --fp16" in str(caught.value)
    assert here.driver.books() == {}


def test_an_engine_that_was_never_run_says_so_and_one_that_was_is_silent(
    world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    here = world()
    Detector(here.write()).close()
    assert capsys.readouterr().err == ""
    Detector(here.write(executed=False)).close()
    assert "has not been verified by running it; to do so: yolox-exp" in capsys.readouterr().err
    Detector(here.write(gpu="NVIDIA RTX A6000")).close()
    assert "was built on NVIDIA RTX A6000 and this is NVIDIA GeForce" in capsys.readouterr().err
    # Who verifies it opens the runtime, and is not told to verify it.
    here.kind(here.write(executed=False)).close()
    assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize(
    ("version", "name"), [("10.16.1.11", "small.engine"), ("1.7.1.116", "small.rtx.engine")]
)
def test_a_detector_finds_the_backend_by_itself(
    version: str, name: str, world: MakeWorld, dog_path: Path
) -> None:
    here = world(version)
    path = here.write(name)
    with Detector(path, score_threshold=0) as detector:
        assert detector.backend == here.kind.name
        assert detector.spec.name == "small"
        assert detector.runtime.device == "cuda"
        assert len(detector(dog_path)) > 0
        assert len(detector.batch([dog_path] * 5)) == 5
    assert here.driver.books() == {}
    # The sidecar knows better than the name.
    renamed = here.write("renamed.engine" if "rtx" in name else "renamed.rtx.engine")
    assert backend_for(renamed).name == here.kind.name
    assert BACKENDS[here.kind.name].availability().ok


def test_devices_it_does_not_have_are_refused(world: MakeWorld) -> None:
    here = world()
    path = here.write()
    for device, message in (
        ("cpu", "has no device 'cpu': expected cuda, pycuda, cuda-python"),
        ("cuda:x", "expected cuda or cuda:0"),
        ("cuda:1:2", "expected cuda or cuda:0"),
    ):
        with pytest.raises(UsageError, match=message):
            here.kind(path, device=device)
    with pytest.raises(DeviceError, match="no GPU 1 here: the driver sees 1"):
        here.kind(path, device="pycuda:1")
    with pytest.raises(UsageError, match="has no precision 'int8': expected as built"):
        here.kind(path, precision="int8")


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
