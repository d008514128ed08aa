"""The TensorRT runtime over the recorded bindings of every version, and a driver without a GPU.

Shown are the names, arguments and order of the calls, batches and lifetimes.  Not shown:
that a real engine loads, what it computes, how fast it is, and TensorRT's own words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_machine import World, expected, pictures

from yolox_deploy import Detector
from yolox_deploy.errors import DeviceError, UsageError, YoloxDeployError
from yolox_deploy.runtimes import BACKENDS, backend_for
from yolox_deploy.runtimes.tensorrt.bindings import BINDINGS

VERSIONS = ("8.6.1", "10.0.1", "10.16.1.11", "11.4.0.106", "1.7.1.116")
MakeWorld = Callable[..., World]
# Nothing asked for, and every binding.
SETTINGS = {"default": {}, **{name: {"cuda_binding": name} for name in BINDINGS}}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("binding", SETTINGS)
@pytest.mark.parametrize(("fixed", "dtype"), [(False, "FLOAT"), (True, "FLOAT"), (False, "HALF")])
def test_engines_of_every_version_run_in_batches_and_give_all_back(
    version: str, binding: str, fixed: bool, dtype: str, world: MakeWorld
) -> None:
    here = world(version, low=2, high=4, fixed=fixed, dtype=dtype)
    tolerance = {"rtol": 2e-3} if dtype == "HALF" else {"rtol": 1e-5}
    with here.kind(here.write(), settings=SETTINGS[binding]) as opened:
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


def test_a_graph_is_captured_once_a_shape_and_freed_with_it(world: MakeWorld) -> None:
    here = world()
    with here.kind(here.write(), settings=SETTINGS["cuda-python"]) as opened:
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
    version: str, world: MakeWorld
) -> None:
    here = world(version, capturable=False)
    with here.kind(here.write(), settings=SETTINGS["cuda-python"]) as opened:
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
        with here.kind(path, settings=SETTINGS[binding]) as opened:
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
def test_detectors_in_threads_do_not_disturb_each_other(binding: str, world: MakeWorld) -> None:
    here = world()
    paths = [here.write(f"{i}.engine") for i in range(2)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with here.kind(paths[number], settings=SETTINGS[binding]) as opened:
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
    opened = here.kind(paths[0], settings=SETTINGS[binding])
    other = threading.Thread(target=lambda: (opened.infer(pictures(2)), opened.close()))
    other.start()
    other.join()
    assert opened.closed
    assert here.driver.books() == {}
    assert here.driver.wrong == []


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
        ("cpu", r"has no device 'cpu': expected cuda \(a GPU by NVIDIA\)$"),
        ("pycuda", "has no device 'pycuda': expected cuda"),
        ("cuda:x", "expected cuda or cuda:0"),
        ("cuda:1:2", "expected cuda or cuda:0"),
    ):
        with pytest.raises(UsageError, match=message):
            here.kind(path, device=device)
    with pytest.raises(DeviceError, match="no GPU 1 here: the driver sees 1"):
        here.kind(path, device="cuda:1")
    for settings, message in (
        ({"cuda_binding": "pycudaa"}, "cannot be 'pycudaa': expected pycuda or cuda-python; did"),
        ({"binding": "pycuda"}, "has no setting 'binding': expected cuda_binding; did you mean"),
    ):
        with pytest.raises(UsageError, match=message):
            here.kind(path, settings=settings)
    with pytest.raises(UsageError, match="has no precision 'int8': expected as built"):
        here.kind(path, precision="int8")
