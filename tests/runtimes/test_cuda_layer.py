"""The CUDA layer on a driver that keeps books: order, sizes, lifetimes, errors, threads.

That a real GPU and driver behave like the fake ones cannot be shown here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy.errors import DeviceError, MissingPackageError, UsageError
from yolox_deploy.runtimes import gpu
from yolox_deploy.runtimes.tensorrt.bindings import BINDINGS, choose_binding
from yolox_deploy.runtimes.tensorrt.cuda import Cuda, CudaError

FLOAT = np.dtype(np.float32)


@pytest.fixture(params=list(BINDINGS))
def binding(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def there_and_back(cuda: Cuda) -> float:
    """Copy an array to the GPU and back, and return the seconds that it took."""
    with cuda.current():
        given, returned = (cuda.host_buffer((2, 3), FLOAT) for _ in range(2))
        memory, stream = cuda.device_buffer(24), cuda.stream()
        start, end = cuda.event(), cuda.event()
        given.array[:] = np.arange(6).reshape(2, 3)
        returned.array[:] = -1

        def copies() -> None:
            cuda.copy_in(memory, given.array, stream)
            cuda.copy_out(returned.array, memory, stream)

        cuda.record(start, stream)
        copies()
        cuda.record(end, stream)
        cuda.synchronize(stream)
        np.testing.assert_array_equal(returned.array, given.array)
        if cuda.graphs:
            graph = cuda.capture(stream, copies)
            given.array[:] += 1
            for _ in range(2):
                cuda.launch(graph, stream)
            cuda.synchronize(stream)
            np.testing.assert_array_equal(returned.array, given.array)
            cuda.free(graph)
        return cuda.seconds(start, end)


def test_copies_streams_events_and_graphs_work_and_all_is_given_back(
    binding: str, gpu_with: Callable[..., Any]
) -> None:
    driver = gpu_with()
    with choose_binding(binding)(0) as cuda:
        # Two copies and the later event, of one millisecond each.
        assert there_and_back(cuda) == pytest.approx(3e-3)
        assert not driver.stack
    cuda.close()
    assert driver.books() == {}
    assert driver.wrong == []
    made = [c for c in driver.calls if c in ("cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate")]
    assert len(made) == 4
    # The newest goes first, the context last.
    frees = [c for c in driver.calls if "Free" in c or "Destroy" in c or "Release" in c]
    assert frees[-6:] == [
        "cuEventDestroy", "cuStreamDestroy", "cuMemFree", "cuMemFreeHost", "cuMemFreeHost",
        "cuDevicePrimaryCtxRelease",
    ]  # fmt: skip
    assert driver.calls[0] == "cuInit"


def leftover(driver: Any) -> dict[str, int]:
    """What a refused call may leave behind: that which it was asked to give back."""
    refused = driver.calls[driver.fail_at - 1]
    kept = {
        "cuMemFree": {"memory": 1},
        "cuMemFreeHost": {"host": 1},
        "cuStreamDestroy": {"streams": 1},
        "cuEventDestroy": {"events": 1},
        "cuGraphDestroy": {"graphs": 1},
        "cuGraphExecDestroy": {"execs": 1},
        "cuDevicePrimaryCtxRelease": {"retained": 1},
        "cuCtxPopCurrent": {"current contexts": 1},
    }
    return kept.get(refused, {})


def test_a_refusal_at_any_call_is_raised_and_leaves_nothing_behind(
    binding: str, gpu_with: Callable[..., Any]
) -> None:
    driver = gpu_with()
    with choose_binding(binding)(0) as cuda:
        there_and_back(cuda)
        first_of_close = len(driver.calls)
    total = len(driver.calls)
    assert total > 30
    for number in range(1, total + 1):
        driver = gpu_with(fail_at=number)
        where = f"call {number} of {total}"
        refused = ""
        try:
            with choose_binding(binding)(0) as cuda:
                there_and_back(cuda)
        except Exception as error:
            refused = type(error).__name__
        cuda = None  # type: ignore[assignment]
        name = driver.calls[number - 1]
        where = f"{name}, {where}"
        # Destructors, which is how pycuda destroys streams and events, cannot raise.
        # What an error left on a stream is waited for, whatever comes of it.
        waited = name == "cuStreamSynchronize" and number > first_of_close
        silent = waited or (binding == "pycuda" and name.endswith("Destroy"))
        assert refused in ("CudaError", "DeviceError", "RefusedError", "" if silent else "?"), where
        if name == "cuCtxPushCurrent" and number > first_of_close:
            # Nothing can be freed in a context that cannot be made current; it is given back.
            assert "retained" not in driver.books() or binding == "pycuda", where
            continue
        allowed = leftover(driver)
        found = driver.books()
        assert {k: v for k, v in found.items() if v > allowed.get(k, 0)} == {}, where
        if name not in ("cuCtxPopCurrent", "cuMemFree", "cuMemFreeHost", "cuStreamDestroy"):
            wrong = [w for w in driver.wrong if "went before" not in w or not allowed]
            assert wrong == [], where


def test_wrong_sizes_and_use_after_free_are_refused(
    binding: str, gpu_with: Callable[..., Any]
) -> None:
    driver = gpu_with()
    with choose_binding(binding)(0) as cuda, cuda.current():
        host, memory, stream = (
            cuda.host_buffer((4, 4), FLOAT),
            cuda.device_buffer(32),
            cuda.stream(),
        )
        for array in (host.array, host.array.T[:1], host.array[:0]):
            with pytest.raises(CudaError, match="cannot copy"):
                cuda.copy_in(memory, array, stream)
            with pytest.raises(CudaError, match="cannot copy"):
                cuda.copy_out(array, memory, stream)
        with pytest.raises(Exception, match=r"not as many|UNKNOWN"):
            cuda.copy_in(memory, np.zeros(8, np.float32), stream)
        cuda.copy_in(memory, host.array[:2], stream)
        cuda.synchronize(stream)
        assert memory.address in driver.memory
        cuda.free(memory)
        for use in (lambda: memory.address, lambda: cuda.copy_in(memory, host.array[:2], stream)):
            with pytest.raises(CudaError, match="after it was freed"):
                use()
        with pytest.raises(KeyError):
            cuda.free(memory)
    with pytest.raises(CudaError, match="after it was freed"):
        _ = host.array
    with pytest.raises(CudaError, match="closed"), cuda.current():
        pass
    assert driver.books() == {}


def test_a_capture_that_fails_leaves_the_stream_usable(gpu_with: Callable[..., Any]) -> None:
    driver = gpu_with()
    with choose_binding("cuda-python")(0) as cuda, cuda.current():
        stream = cuda.stream()

        def work() -> None:
            raise CudaError("cannot be captured")

        with pytest.raises(CudaError, match="cannot be captured"):
            cuda.capture(stream, work)
        cuda.synchronize(stream)
        assert driver.captures == driver.graphs == {}
    with choose_binding("pycuda")(0) as cuda, cuda.current():
        stream = cuda.stream()
        for use in (
            lambda: cuda.capture(stream, lambda: None),
            lambda: cuda.launch(stream, stream),
        ):
            with pytest.raises(CudaError, match="no CUDA graphs"):
                use()
    assert driver.books() == {}


def test_threads_and_layers_share_the_primary_context(
    binding: str, gpu_with: Callable[..., Any]
) -> None:
    driver = gpu_with()
    failures: list[BaseException] = []
    other = choose_binding(binding)(0)

    def work() -> None:
        try:
            for _ in range(5):
                with choose_binding(binding)(0) as cuda:
                    there_and_back(cuda)
            # Opened by one thread, used by another.
            with other_lock:
                there_and_back(other)
        except BaseException as error:
            failures.append(error)

    other_lock = threading.Lock()
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert driver.retained == 1
    closing = threading.Thread(target=other.close)
    closing.start()
    closing.join()
    assert driver.books() == {}
    assert driver.wrong == []


def test_a_context_of_somebody_else_stays_current(
    binding: str, gpu_with: Callable[..., Any]
) -> None:
    driver = gpu_with()
    with choose_binding(binding)(0) as mine, mine.current():
        with choose_binding(binding)(0) as cuda:
            there_and_back(cuda)
        assert len(driver.stack) == 1
        assert mine.device_buffer(8).address in driver.memory
    assert driver.books() == {}
    assert driver.wrong == []


def test_the_driver_is_asked_first(monkeypatch: pytest.MonkeyPatch, gpu_with: Any) -> None:
    driver = gpu_with()
    found = gpu.find_gpu()
    assert found == (0, "NVIDIA GeForce RTX 3090", (8, 6), 24 << 30, "13.1")
    assert str(found) == "NVIDIA GeForce RTX 3090 (compute capability 8.6, CUDA 13.1)"
    assert gpu.why_no_gpu() == ""
    assert gpu.free_memory() == 20 << 30
    assert driver.books() == {}
    with pytest.raises(DeviceError, match="no GPU 3 here: the driver sees 1"):
        gpu.find_gpu(3)
    gpu_with(gpus=0)
    with pytest.raises(DeviceError, match="sees no GPU"):
        gpu.find_gpu()
    gpu_with(fail_at=1)
    with pytest.raises(DeviceError, match=r"refuses cuInit: CUDA_ERROR_UNKNOWN \(999\)"):
        gpu.find_gpu()

    gpu_with(gpus=0)
    for kind in BINDINGS.values():
        # Importing it would raise ModuleNotFoundError.
        monkeypatch.setitem(sys.modules, kind.module, None)
        with pytest.raises(DeviceError):
            kind(0)


def test_where_there_is_no_driver_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", "libno_such_driver.so.1")
    with pytest.raises(DeviceError, match="no NVIDIA driver here: install one") as caught:
        gpu.find_gpu()
    assert caught.value.exit_code == 4
    assert gpu.why_no_gpu() == str(caught.value)


def test_the_binding_is_chosen_by_name_or_by_what_works(
    gpu_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu_with()
    assert choose_binding().name == choose_binding("pycuda").name == "pycuda"
    assert choose_binding("cuda-python").name == "cuda-python"
    with pytest.raises(UsageError, match="did you mean 'pycuda'"):
        choose_binding("pycudaa")

    broken = tmp_path / "pycuda"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "driver.py").write_text(r"raise ImportError('libcudart.so.11:\ncannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name)
    assert choose_binding().name == "cuda-python"
    with pytest.raises(
        MissingPackageError, match=r"cannot be imported \(ImportError: libcudart.* pip install"
    ):
        choose_binding("pycuda")
    # As the import system marks a package that is not there.
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert choose_binding().name == "cuda-python"
    with pytest.raises(MissingPackageError, match="pycuda is not installed: pip install"):
        choose_binding("pycuda")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingPackageError, match="pip install cuda-bindings"):
        choose_binding()
