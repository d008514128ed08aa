"""How many processors a process may use, and that engines are given no more threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy import Detector, processors
from yolox_deploy.processors import wait_passively
from yolox_deploy.runtimes import BACKENDS


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "what"}, None),
        ({"own": "0::/a.slice/b.service\n", "a.slice/b.service/cpu.max": "300000 100000"}, 3),
        ({"own": "0::/a.slice/b.service\n", "a.slice/cpu.max": "400000 100000"}, 4),
        (
            {"own": "0::/a/b\n", "a/cpu.max": "400000 100000", "a/b/cpu.max": "500000 100000"},
            4,
        ),
        (
            {
                "own": "4:cpuset:/x\n3:cpu,cpuacct:/docker/c\n",
                "cpu/docker/c/cpu.cfs_quota_us": "250000",
                "cpu/docker/c/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        ({"own": "nonsense", "cpu.max": "150000 100000\n"}, 1.5),
        ({}, None),
    ],
    ids=str,
)
def test_the_containers_limit_is_read(
    files: dict[str, str], expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(processors, "CGROUP", tmp_path)
    monkeypatch.setattr(processors, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(processors, "TOPOLOGY", str(tmp_path / "core{}"))
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert processors.allowed_cores() == (expected or 64)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 64)
    assert processors.threads_allowed() == (expected and int(expected))


def test_two_processors_of_one_core_are_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for processor in range(8):
        (tmp_path / f"core{processor}").write_text(f"{processor % 4},{processor % 4 + 4}\n")
    monkeypatch.setattr(processors, "CGROUP", tmp_path)
    monkeypatch.setattr(processors, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(processors, "TOPOLOGY", str(tmp_path / "core{}"))
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(
        processors.os, "sched_getaffinity", lambda _: {0, 1, 2, 4, 5, 6}, raising=False
    )
    assert processors.allowed_cores() == 6
    assert processors.threads_allowed() == 3
    assert processors.physical_cores() == 3
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(8)))
    assert processors.threads_allowed() is None
    assert processors.physical_cores() == 4
    (tmp_path / "core7").unlink()
    assert processors.physical_cores() is None


def test_less_than_one_processor_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "allowed_cores", lambda: 0.3)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 2)
    assert processors.threads_allowed() == 1


CPU_BACKENDS = [name for name, row in BACKENDS.items() if not row.gpu]


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """PyTorch's number belongs to the process."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torch_threads")
def test_fewer_threads_than_allowed_stay_fewer(
    nano_pth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.set_num_threads(1)
    monkeypatch.setattr(processors, "allowed_cores", lambda: 2.0)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 64)
    with Detector(nano_pth, "torch"):
        assert torch.get_num_threads() == 1


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
        assert detector.runtime.facts().threads == 1


@pytest.mark.parametrize(("chosen", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_has_chosen(
    chosen: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set first, so that the end of the test restores what was there before.
    monkeypatch.setenv("OMP_WAIT_POLICY", chosen or "")
    if chosen is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == expected
