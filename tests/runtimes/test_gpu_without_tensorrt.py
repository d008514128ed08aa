"""PyTorch and ONNX Runtime on a GPU, over stand-ins for what needs one.

Shown are buffers, batches, times and refusals.  Not shown: that a graph is captured, what it
computes on a GPU, and how fast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from yolox_deploy.errors import DeviceError, UsageError
from yolox_deploy.runtimes import onnxruntime as ort_runtime
from yolox_deploy.runtimes import torch as torch_runtime
from yolox_deploy.runtimes.onnxruntime import OnnxRuntime
from yolox_deploy.runtimes.torch import TorchRuntime
from yolox_deploy.spec import SpecHints


class FakeEvent:
    """An event that knows whether somebody waited after it was recorded."""

    clock = 0
    waited = 0

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.time = -1

    def record(self) -> None:
        FakeEvent.clock += 1
        self.time = FakeEvent.clock

    def synchronize(self) -> None:
        FakeEvent.waited = self.time

    def elapsed_time(self, end: FakeEvent) -> float:
        assert 0 < self.time <= end.time <= FakeEvent.waited
        return float(end.time - self.time)


@pytest.fixture
def cuda_of_torch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let PyTorch's CUDA be its CPU; gives the batch sizes of captured graphs."""
    captured: list[int] = []

    def capture(self: Any, compute: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Any]:
        given = compute()
        captured.append(len(given))
        return given, SimpleNamespace(replay=lambda: given.copy_(compute()))

    @contextlib.contextmanager
    def context(of: Any) -> Any:
        yield

    stand_ins = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "device": context,
        "stream": context,
        "Stream": object,
        "Event": FakeEvent,
        "graph_pool_handle": object,
        "empty_cache": lambda: None,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch_runtime, "gpu", lambda index: torch.device("cpu"))
    monkeypatch.setattr(torch_runtime.GraphRunner, "_capture", capture)
    return captured


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.05)])
def test_torch_runs_every_batch_size_from_a_graph_of_its_own(
    precision: str, tolerance: float, cuda_of_torch: list[int], nano_pth: Path
) -> None:
    random = np.random.default_rng(0)
    size: dict[str, Any] = {"hints": SpecHints(imgsz=(64, 64))}
    with (
        TorchRuntime(nano_pth, device="cuda", precision=precision, threads=1, **size) as opened,
        TorchRuntime(nano_pth, threads=1, **size) as reference,
    ):
        kept = []
        for count in (1, 2, 1, 2):
            images = random.uniform(0, 255, (count, 3, 64, 64)).astype(np.float32)
            found, expected = opened.infer(images), reference.infer(images)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found[..., 4:], expected[..., 4:], atol=tolerance)
            assert opened.engine_seconds == pytest.approx((1e-3, 1e-3, 1e-3))
            assert reference.engine_seconds is None
            kept.append((found, found.copy()))
        assert cuda_of_torch == [1, 2]
        halves = {p.dtype for p in opened.network.parameters()}
        assert (torch.float16 in halves) == (precision == "fp16")
        runner = opened.on_gpu
        assert runner is not None
        weight = next(p for p in opened.network.parameters() if p.ndim == 4 and p.shape[1] > 1)
        assert weight.is_contiguous(memory_format=torch.channels_last)
    # A later call overwrites no earlier result here, and closing none either.
    for found, copy in kept:
        np.testing.assert_array_equal(found, copy)
    assert opened.on_gpu is None


def test_torch_refuses_a_gpu_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, nano_pth: Path
) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="PyTorch sees no cuda device here: use device cpu"):
            TorchRuntime(nano_pth, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="there is no GPU 3: PyTorch sees 1"):
        TorchRuntime(nano_pth, device="cuda:3")
    with pytest.raises(UsageError, match="expected cuda or cuda:0"):
        TorchRuntime(nano_pth, device="cuda:x")


@pytest.mark.parametrize("loads", [True, False])
def test_onnxruntime_on_a_gpu_never_falls_back_in_silence(
    loads: bool, monkeypatch: pytest.MonkeyPatch, nano_onnx: Path, gpu_with: Any
) -> None:
    asked: list[Any] = []
    real = onnxruntime.InferenceSession
    every = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def session(path: str, options: Any, providers: list[Any]) -> Any:
        asked.extend(providers)
        made = real(path, options, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: every[0 if loads else 1 :])
        return made

    stand_in = SimpleNamespace(
        get_available_providers=lambda: every,
        InferenceSession=session,
        SessionOptions=onnxruntime.SessionOptions,
        preload_dlls=lambda: asked.append("libraries"),
        __version__="1.31.1",
    )
    monkeypatch.setattr(ort_runtime, "onnxruntime", stand_in)
    gpu_with(gpus=2)
    if not loads:
        with pytest.raises(DeviceError, match=r"would run on the CPU: .* pip install"):
            OnnxRuntime(nano_onnx, device="cuda")
        return
    with OnnxRuntime(nano_onnx, device="cuda:1") as opened:
        assert opened.infer(np.zeros((1, 3, 416, 416), np.float32)).shape == (1, 3549, 85)
    provider = ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})
    assert asked == ["libraries", provider]
    with pytest.raises(DeviceError, match="no GPU 2 here: the driver sees 2"):
        OnnxRuntime(nano_onnx, device="cuda:2")
