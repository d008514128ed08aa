"""The table of backends: complete, honest about what can run, helpful where it cannot."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.errors import MissingPackageError, UsageError
from yolox_deploy.export import TARGETS
from yolox_deploy.runtimes import BACKENDS, Runtime, backend, backend_for
from yolox_deploy.runtimes.registry import Backend

ABSENT = Backend("absent", "nowhere", "None", "no_such_engine", "absent", (".absent",))


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_here_is_available_and_loads_its_runtime(name: str) -> None:
    row = backend(name)
    assert row.name == name
    assert row.install == f'pip install "yolox-deploy[{row.extra}]"'
    available = row.availability(try_import=True)
    assert available == (True, importlib.metadata.version(row.package), "")
    runtime = row.runtime_class()
    assert issubclass(runtime, Runtime)
    assert runtime.name == name
    assert runtime.devices[0] == "cpu"
    assert runtime.precisions[0] == "fp32"
    assert runtime.__doc__


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_names_a_backend_that_opens_its_files(name: str) -> None:
    row = TARGETS[name]
    assert Path(f"x{row.suffix}").suffix in BACKENDS[row.backend].suffixes


def test_the_extras_that_messages_name_exist() -> None:
    extras = importlib.metadata.metadata("yolox-deploy").get_all("Provides-Extra")
    assert {row.extra for row in BACKENDS.values()} <= set(extras or ())


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("x.onnx", "auto", "onnxruntime"),
        ("x.ONNX", "auto", "onnxruntime"),
        ("x.onnx", "openvino", "openvino"),
        ("x.xml", "auto", "openvino"),
        ("x.ncnn.param", "auto", "ncnn"),
        ("x.pth", "auto", "torch"),
        ("x.pt", "torch", "torch"),
    ],
)
def test_the_suffix_chooses_the_backend(path: str, name: str, expected: str) -> None:
    assert backend_for(Path(path), name).name == expected


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        ("x.onnx", "opnvino", "did you mean 'openvino'"),
        ("x.onnx", "tensorflow", "onnxruntime, openvino, ncnn, torch"),
        ("x.xml", "onnxruntime", "use backend openvino"),
        ("x.tflite", "openvino", r"\.xml and \.onnx"),
        ("x.tflite", "auto", r"\.tflite.*\.onnx"),
        ("x", "auto", "without a suffix"),
    ],
)
def test_what_no_backend_opens_is_refused(path: str, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        backend_for(Path(path), name)


def test_an_engine_that_is_not_installed_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BACKENDS, "absent", ABSENT)
    assert ABSENT.availability().ok is False
    for call in (ABSENT.runtime_class, lambda: backend_for(Path("x.absent"))):
        with pytest.raises(MissingPackageError, match=r'pip install "yolox-deploy\[absent\]"'):
            call()


def test_auto_takes_the_next_backend_where_the_first_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = BACKENDS["onnxruntime"]
    fields: dict[str, Any] = {**vars(first), "package": "no_such_engine"}
    monkeypatch.setitem(BACKENDS, "onnxruntime", Backend(**fields))
    assert backend_for(Path("x.onnx")).name == "openvino"
