"""The family of errors: one base, documented exit codes, suggestions."""

from __future__ import annotations

import inspect

import pytest

from yolox_deploy import errors
from yolox_deploy.errors import YoloxDeployError, suggest

EXIT_CODES = {
    "YoloxDeployError": 1,
    "UsageError": 2,
    "InputFileError": 3,
    "CheckpointError": 3,
    "ArtifactError": 3,
    "ImageError": 3,
    "SourceError": 3,
    "MissingPackageError": 4,
    "DeviceError": 4,
    "VerificationError": 5,
    "OutputError": 7,
    "DownloadError": 8,
    "ConversionError": 9,
    "SlowerError": 10,
    "NoVerdictError": 11,
    "NotMetError": 14,
    "ExtensionError": 1,
}


def test_every_error_has_its_exit_code() -> None:
    family = {
        name: kind.exit_code
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, YoloxDeployError)
    }
    assert family == EXIT_CODES


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.MissingPackageError, ImportError)


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        ("onnxruntim", ["openvino", "onnxruntime"], "; did you mean 'onnxruntime'?"),
        ("OpenVino", ["openvino", "onnxruntime"], "; did you mean 'openvino'?"),
        ("xyz", ["openvino", "onnxruntime"], ""),
        ("", ["openvino"], ""),
        ("a", [], ""),
    ],
)
def test_suggest_names_the_nearest_word(given: str, known: list[str], expected: str) -> None:
    assert suggest(given, known) == expected
