"""What importing costs, and what is said where an optional package is missing.

A fresh interpreter each; a package is hidden as if it had never been installed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yolox_deploy.packages import install_line

HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "PIL", "supervision", "rich")


def run(code: str, *arguments: object, hidden: tuple[str, ...] = ()) -> str:
    hide = "".join(f"sys.modules[{name!r}] = None\n" for name in hidden)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{hide}{code}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_no_engine() -> None:
    code = f"import yolox_deploy\nprint([m for m in {HEAVY} if m in sys.modules])"
    assert run(code).strip() == "[]"


def test_the_core_and_the_registry_import_where_nothing_optional_is_installed() -> None:
    code = (
        "import importlib, pathlib, yolox_deploy, yolox_deploy.runtimes\n"
        "root = pathlib.Path(yolox_deploy.__file__).parent\n"
        "rooms = ('', 'data', 'pictures', 'tasks')\n"
        "files = [f for room in rooms for f in (root / room).glob('*.py')]\n"
        "names = ['.'.join(f.relative_to(root).with_suffix('').parts) for f in files]\n"
        "names = [n.removesuffix('.__init__') for n in names]\n"
        "names = [n for n in names if n not in ('__init__', 'progress')]\n"
        "for name in names: importlib.import_module('yolox_deploy.' + name)\n"
        "print(*sorted(names))"
    )
    names = run(code, hidden=HEAVY).split()
    assert {"detector", "spec", "tasks.boxes", "pictures.letterbox", "tasks.nms"} <= set(names)


def test_an_onnx_file_runs_where_only_onnxruntime_is_installed(
    nano_onnx: Path, dog_path: Path
) -> None:
    code = (
        "from yolox_deploy import Detector\n"
        "print(Detector(sys.argv[1])(sys.argv[2]))\n"
        "print([m for m in ('torch', 'onnx', 'openvino', 'ncnn') if sys.modules.get(m)])"
    )
    hidden = tuple(m for m in HEAVY if m != "onnxruntime")
    out = run(code, nano_onnx, dog_path, hidden=hidden).splitlines()
    assert out[0].startswith("Detections(5: dog 0.855, bicycle 0.803, car 0.798")
    assert out[1] == "[]"


ATTEMPT = (
    "from yolox_deploy import Detector\n"
    "from yolox_deploy.errors import MissingPackageError\n"
    "try: Detector(sys.argv[1], sys.argv[2])\n"
    "except MissingPackageError as error: print(error)"
)


@pytest.mark.parametrize(
    ("model", "backend", "hidden", "extra"),
    [
        ("x.onnx", "onnxruntime", ("onnxruntime",), "onnxruntime"),
        ("x.onnx", "openvino", ("openvino",), "openvino"),
        ("x.onnx", "auto", ("onnxruntime", "openvino"), "onnxruntime"),
        ("x.xml", "auto", ("openvino",), "openvino"),
        ("x.param", "ncnn", ("ncnn",), "ncnn"),
        ("x.pth", "torch", ("torch",), "export"),
        ("x.pth", "auto", ("torch",), "export"),
        ("x.pth", "onnxruntime", ("torch",), "export"),
        ("yolox_nano", "auto", ("torch",), "export"),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    model: str, backend: str, hidden: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    path = tmp_path / model
    if path.suffix:
        path.write_bytes(b"x")
    given = path if path.suffix else model
    out = run(ATTEMPT, given, backend, hidden=hidden)
    assert install_line(extra) in out
    assert len(out.splitlines()) == 1


def test_supervision_is_asked_for_by_name() -> None:
    code = (
        "from yolox_deploy import Detections\n"
        "from yolox_deploy.errors import MissingPackageError\n"
        "try: Detections.empty().to_supervision()\n"
        "except MissingPackageError as error: print(error)"
    )
    assert "pip install supervision" in run(code, hidden=("supervision",))


def test_an_engine_that_is_installed_but_broken_is_reported_as_such(tmp_path: Path) -> None:
    package = tmp_path / "site" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libfoo.so.1: cannot\\nopen')")
    (tmp_path / "x.onnx").write_bytes(b"x")
    code = f"sys.path.insert(0, {str(package.parent)!r})\n{ATTEMPT}"
    out = run(code, tmp_path / "x.onnx", "onnxruntime")
    assert "libfoo.so.1" in out
    assert "reinstall" in out
    assert len(out.splitlines()) == 1
