"""How many processors a process may use, and that engines are given no more threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy import Detector, processors
from yolox_deploy.runtimes import BACKENDS


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "what"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_containers_limit_is_read(
    files: dict[str, str], expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(processors, "CGROUP", tmp_path)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert processors.allowed_cores() == (expected or 64)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 64)
    assert processors.threads_allowed() == (expected and int(expected))


def test_less_than_one_processor_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "allowed_cores", lambda: 0.3)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 2)
    assert processors.threads_allowed() == 1


def engine_threads(runtime: Any) -> int:
    """What the engine itself says."""
    if runtime.name == "onnxruntime":
        return int(runtime.session.get_session_options().intra_op_num_threads)
    if runtime.name == "openvino":
        compiled = runtime.request.get_compiled_model()
        return int(compiled.get_property("INFERENCE_NUM_THREADS"))
    if runtime.name == "ncnn":
        return int(runtime.net.opt.num_threads)
    import torch

    return torch.get_num_threads()


CPU_BACKENDS = [name for name, row in BACKENDS.items() if not row.gpu]


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """PyTorch's number belongs to the process."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_engines_take_no_more_threads_than_the_process_may_use(
    backend: str, model_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_for(backend)
    arguments = {k: v for k, v in model.arguments.items() if k != "threads"}
    monkeypatch.setattr(processors, "allowed_cores", lambda: 1.5)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 64)
    with Detector(model.path, **arguments) as detector:
        assert engine_threads(detector.runtime) == 1
