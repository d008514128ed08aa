"""Packages that are there and broken: one sentence that says so, with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.errors import MissingPackageError
from yolox_deploy.packages import distributions_of, install_line, require, version_of

LIBRARY = "OSError('libfoo.so.1:\\ncannot open')"
ROOT = Path(__file__).parents[2]
COMMANDS = ("detect", "export", "evaluate", "bench", "train", "doctor")


def run(folder: Path, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command with the packages in ``folder`` in the place of the installed ones."""
    code = f"import sys\nfrom yolox_deploy.cli.{command} import main\nsys.exit(main(sys.argv[1:]))"
    path = os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )


def broken(folder: Path, package: str, error: str = LIBRARY) -> Path:
    (folder / "site" / package).mkdir(parents=True)
    (folder / "site" / package / "__init__.py").write_text(f"raise {error}")
    return folder / "site"


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, 'pip install "yolox-deploy[eval]"'),
        ({"url": "file:///proc/self", "dir_info": {}}, 'pip install "/proc/self[eval]"'),
        ({"url": "file:///gone/x.whl", "archive_info": {}}, 'pip install "yolox-deploy[eval]"'),
        (
            {"url": "https://x.org/y.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            'pip install "yolox-deploy[eval] @ git+https://x.org/y.git"',
        ),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came_from(
    origin: dict[str, Any] | None, line: str, installed_from: Any
) -> None:
    assert install_line("eval") == f'pip install -e "{ROOT}[eval]"'
    installed_from(origin)
    assert install_line("eval") == line


@pytest.mark.parametrize(
    ("package", "command", "arguments"),
    [
        ("torch", "export", ("--model", "x.pth")),
        ("onnx", "export", ("--model", "x.pth")),
        ("torch", "train", ("--data", "x.json")),
        ("torch", "detect", ("{dog}", "--model", "{pth}")),
        ("onnx", "detect", ("{dog}", "--model", "{pth}", "--backend", "onnxruntime")),
        ("torch", "bench", ("--model", "yolox_nano", "--random-weights")),
        ("onnxruntime", "detect", ("{dog}", "--model", "{onnx}", "--backend", "onnxruntime")),
        ("openvino", "detect", ("{dog}", "--model", "{onnx}", "--backend", "openvino")),
        ("pnnx", "export", ("--model", "{pth}", "--to", "ncnn", "--no-verify")),
    ],
)
def test_a_broken_package_is_no_missing_one(
    package: str,
    command: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    dog_path: Path,
    nano_pth: Path,
    nano_onnx: Path,
) -> None:
    files = {"dog": dog_path, "pth": nano_pth, "onnx": nano_onnx}
    done = run(broken(tmp_path, package), command, *(a.format(**files) for a in arguments))
    assert done.returncode == 4, done.stderr
    *stages, line = done.stderr.splitlines()
    assert all("Traceback" not in stage for stage in stages)
    assert f"{package} {version_of(package)} is installed but cannot be imported" in line
    assert "(OSError: libfoo.so.1: cannot open)" in line
    assert "pip install --force-reinstall " in line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_opencv_is_one_line(command: str, tmp_path: Path) -> None:
    error = "ImportError('libGL.so.1: cannot open shared object file')"
    done = run(broken(tmp_path, "cv2", error), command, "--help")
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert "(ImportError: libGL.so.1: cannot open shared object file)" in line
    assert line.endswith(
        "pip uninstall -y opencv-python opencv-python-headless; pip install opencv-python-headless"
    )


def test_what_is_left_of_a_removed_opencv_is_told(tmp_path: Path) -> None:
    """A folder without ``__init__.py`` can be imported, and holds nothing."""
    code = (
        "import sys, types\nsys.modules['cv2'] = types.ModuleType('cv2')\n"
        "try: from yolox_deploy import Detector\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingPackageError the package cv2 (OpenCV) is incomplete: pip")


def test_importing_the_package_needs_no_opencv() -> None:
    code = (
        "import sys\nsys.modules['cv2'] = None\nimport yolox_deploy\n"
        "print(yolox_deploy.__version__)\n"
        "try: yolox_deploy.Detector\n"
        "except ImportError as error: print(error)\n"
        "try: yolox_deploy.detektor\n"
        "except AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == [
        "OpenCV is missing: pip install opencv-python-headless",
        "module 'yolox_deploy' has no attribute 'detektor'",
    ]


def test_a_package_is_named_as_pip_names_it() -> None:
    assert distributions_of("yaml") == ["PyYAML"]
    assert version_of("yaml")[0].isdigit()
    assert distributions_of("no_such_package") == ["no_such_package"]
    assert version_of("no_such_package") == "unknown"
    with pytest.raises(MissingPackageError, match=r"^this needs it: pip install it$"):
        require("no_such_package.part", "this needs it", "pip install it")
    assert require("json.decoder", "", "").JSONDecoder
