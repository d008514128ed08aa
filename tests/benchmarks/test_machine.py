"""What a report says of models and machines: costs, limits, published figures, doubts."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.benchmarks.machine import environment, gpu
from yolox_deploy.benchmarks.machine.limits import measure_limit
from yolox_deploy.benchmarks.machine.memory import peak_bytes
from yolox_deploy.export.cache import exported
from yolox_deploy.export.costs import Cost, cost_of, network_layers, total_cost
from yolox_deploy.models import build_network
from yolox_deploy.runtimes import backend_for
from yolox_deploy.spec import SpecHints


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_operations_and_weights_are_the_published_ones(name: str) -> None:
    import torch

    row = ARCHITECTURES[name]
    with torch.device("meta"):
        network = build_network(row).eval()
    cost = total_cost(network_layers(network, row.test_size, row.test_size), "network")
    # The published ones also count normalisation and activations.
    assert cost.gflops == pytest.approx(row.gflops, rel=0.04)
    assert row.params_m is not None
    assert cost.weights == pytest.approx(row.params_m * 1e6, rel=0.03)


def test_every_format_of_a_model_costs_the_same(nano_pth: Path) -> None:
    found = {}
    for backend in ("onnxruntime", "openvino", "torch"):
        path = exported(nano_pth, backend, SpecHints(imgsz=(96, 160)), batch=1, verify=False)
        opened = backend_for(path, backend).runtime_class()
        hints = SpecHints(imgsz=(96, 160)) if backend == "torch" else SpecHints()
        with opened(path, hints=hints) as runtime:
            cost = cost_of(path, nano_pth, runtime.spec, 1)
            double = cost_of(path, nano_pth, runtime.spec, 2)
        assert cost is not None
        assert double is not None
        assert double.gflops == pytest.approx(2 * cost.gflops)
        assert double.weights == cost.weights
        found[backend] = cost
    # The Focus stem of the checkpoint has become one larger convolution in the artifacts.
    assert found["onnxruntime"].gflops == found["openvino"].gflops
    assert found["onnxruntime"].activations == found["openvino"].activations
    assert found["torch"].gflops == pytest.approx(found["openvino"].gflops, rel=0.05)
    assert cost_of(Path("a.param"), Path("b.param"), runtime.spec, 1) is None


def test_bytes_follow_the_precision() -> None:
    cost = Cost(1.0, 10, 90, "x")
    assert cost.gbytes("fp32") == pytest.approx(400e-9)
    assert cost.gbytes("bf16") == pytest.approx(200e-9)


def test_limits_are_measured_or_told_to_be_unknown() -> None:
    found = measure_limit("cpu", "fp32", 1, seconds=0.02)
    assert found.gflops > 1
    assert found.gbytes > 0.1
    assert "numpy" in found.library or "torch" in found.library
    unknown = measure_limit("npu", "fp32", None)
    assert (unknown.gflops, unknown.gbytes) == (0, 0)
    assert "no installed library" in unknown.library


def test_a_busy_or_changing_machine_is_doubtful() -> None:
    assert environment.machine_doubts(0.01, 0.0, 1.02) == []
    (busy,) = environment.machine_doubts(0.5, 0.0, 1.0)
    assert "other programs used 50%" in busy
    (stolen,) = environment.machine_doubts(0.0, 0.3, 1.0)
    assert "the host gave 30%" in stolen
    for change in (0.8, 1.2):
        (clock,) = environment.machine_doubts(0.0, 0.0, change)
        assert "times as long at the end as at the start: another clock" in clock


def test_others_work_is_seen_and_our_own_is_not() -> None:
    watch = environment.Watch()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    found = watch.finish()
    assert found.machine["CPU"]
    assert re.match(r"[\d.]+ allowed of \d+", found.machine["cores"])
    assert re.match(r"\d+\.\d%", found.end["other programs"])
    # One fully used processor of ours must not count as somebody else's.
    watch.own = environment.own_seconds()
    without = watch.finish()
    share = [float(f.end["other programs"].split("%")[0]) for f in (found, without)]
    assert share[1] > share[0]
    assert environment.Environment.from_json(found.to_json()) == found


def test_a_gpu_is_described_by_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    values = {"name": "H1", "power.limit": "700 W", "clocks.sm": "345 MHz"}
    values["clocks_throttle_reasons.active"] = "0x04"
    answers = (", ".join(values.get(f, "5") for f in part) for part in (gpu.FIXED, gpu.CHANGING))
    fixed, changing = answers
    tool.write_text(f"#!/bin/sh\ncase $1 in *name*) echo '{fixed}';; *) echo '{changing}';; esac\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert gpu.gpu_facts(gpu.FIXED)["GPU name"] == "H1"
    assert gpu.gpu_facts(gpu.FIXED)["GPU power.limit"] == "700 W"
    now = gpu.gpu_facts(gpu.CHANGING)
    assert now["GPU clocks.sm"] == "345 MHz"
    (doubt,) = gpu.gpu_doubts(now)
    assert "0x04" in doubt
    assert gpu.gpu_doubts({"GPU clocks_throttle_reasons.active": "0x01"}) == []
    tool.write_text("#!/bin/sh\necho 1024\n")
    assert gpu.gpu_used() == 1 << 30
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu.gpu_used() is None
    assert gpu.gpu_facts(gpu.FIXED) == {}


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_bytes()
    block = bytearray(before + (64 << 20))
    block[::4096] = b"x" * len(block[::4096])
    assert peak_bytes() > before + (32 << 20)
