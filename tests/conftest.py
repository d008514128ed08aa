"""Test data, real artifacts, and what must not leak from one test into another.

Data lies in the folder named by ``YOLOX_DEPLOY_TEST_DATA`` (default: ``../shared`` beside the
repository).  A test that needs a file which is not there is skipped and says which one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from yolox_deploy import packages

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("YOLOX_DEPLOY_TEST_DATA", ROOT.parent / "shared"))

# Reproducible, without a database in the working folder, and patient with a busy machine.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")

# Threads that spin while they wait make two of them ten times slower than one on a busy machine.
# PyTorch reads it when it is loaded, and so do the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The files that take longest begin first, so that two processes end together.
LONGEST = (
    "training/test_trainer",
    "benchmarks/test_average_precision",
    "export/test_targets",
    "export/test_engines",
    "extensions/test_toys",
    "cli/test_interrupt",
)

DataFile = Callable[[str], Path]
ALLOWED = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes a processor of its own.

    Engines' threads spin while they wait; on shared processors they would wait for each other.
    """
    worker = getattr(config, "workerinput", None)
    if worker and hasattr(os, "sched_setaffinity"):
        processors = sorted(ALLOWED)
        number = int(worker["workerid"].removeprefix("gw"))
        os.sched_setaffinity(0, {processors[number % len(processors)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""

    def place(item: pytest.Item) -> int:
        name = item.path.with_suffix("").as_posix()
        return next((i for i, end in enumerate(LONGEST) if name.endswith(end)), len(LONGEST))

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each reason for skipping once, with the files that it concerns."""
    files: dict[str, Counter[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        files.setdefault(reason, Counter())[report.nodeid.partition("::")[0]] += 1
    if files:
        terminalreporter.section("skipped")
    for reason, where in sorted(files.items()):
        terminalreporter.write_line(f"{where.total()} skipped: {reason}")
        terminalreporter.write_line(f"    in {', '.join(sorted(where))}")


@pytest.fixture(scope="session")
def data_file() -> DataFile:
    """Give the path of a test data file, skipping the test where it is missing."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"test data {path} is missing (see YOLOX_DEPLOY_TEST_DATA)")
        return path

    return find


Once = Callable[[str, Callable[[Path], Any]], Any]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make something slow once for all processes of this run: ``once(what, make)``.

    ``make`` gets an empty folder for its files, and returns something that can be pickled.  An
    error that it raises is not kept.  The text ``what`` must name everything that matters.
    """
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    shared.mkdir(exist_ok=True)

    def give(what: str, make: Callable[[Path], Any]) -> Any:
        folder = shared / hashlib.sha256(what.encode()).hexdigest()[:16]
        result = folder.with_suffix(".pickle")
        with FileLock(folder.with_suffix(".lock")):
            if not result.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                made = pickle.dumps(make(folder))
                result.write_bytes(made)
        return pickle.loads(result.read_bytes())

    return give


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep fetched weights and cached exports out of the user's cache folder."""
    monkeypatch.setenv("YOLOX_DEPLOY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def every_processor() -> Iterator[None]:
    """All the processors that the tests were started with, for as long as it takes."""
    before = os.sched_getaffinity(0) if ALLOWED else set()
    if ALLOWED:
        os.sched_setaffinity(0, ALLOWED)
    yield
    if ALLOWED:
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def dog_path(data_file: DataFile) -> Path:
    return data_file("images/dog.jpg")


@pytest.fixture(scope="session")
def dog(dog_path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(dog_path))
    assert image is not None
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="session")
def mixed_pictures(data_file: DataFile, dog_path: Path) -> list[Path]:
    """Eight pictures, no two neighbours of the same size."""
    pictures = sorted(data_file("coco_val/images").glob("*.jpg"))
    chosen, last = [dog_path], cv2.imread(str(dog_path)).shape
    for path in pictures:
        shape = cv2.imread(str(path)).shape
        if shape != last:
            chosen.append(path)
            last = shape
        if len(chosen) == 8:
            return chosen
    pytest.skip(f"{DATA / 'coco_val/images'} holds too few pictures of different sizes")


@pytest.fixture(scope="session")
def nano_pth(data_file: DataFile) -> Path:
    return data_file("weights/yolox_nano.pth")


@pytest.fixture(scope="session")
def nano_onnx(data_file: DataFile) -> Path:
    return data_file("onnx/yolox_nano_official.onnx")


@pytest.fixture(scope="session")
def reference_weights(data_file: DataFile) -> ModuleType:
    """The functions that make the reference weights and inputs."""
    path = data_file("reference/reference_weights.py")
    spec = importlib.util.spec_from_file_location("reference_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bindings() -> ModuleType:
    """TensorRT's Python bindings as they were recorded: ``replay(version)``, ``instance(...)``."""
    spec = importlib.util.spec_from_file_location("replay", ROOT / "tests/bindings/replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Model(NamedTuple):
    """A model's file, and the arguments that ``Detector`` needs to open it as intended."""

    path: Path
    arguments: dict[str, Any]


ModelFor = Callable[..., Model]
# For backends whose files no export target makes and that open no file of another target: what
# makes the nano's file in a folder from its ONNX file.
MATERIAL: dict[str, Callable[[Path, Path], Path]] = {}


@pytest.fixture(scope="session")
def model_for(nano_pth: Path, once: Once) -> ModelFor:
    """Give the real nano for a backend: ``model_for(backend, size=(416, 416), **options)``.

    The checkpoint itself for ``torch``; for the others this project's export, not verified, made
    once for each set of options (``batch``, ``dynamic``, ``decode``, ``nms``) for all that carry it
    and can run here.
    """

    def give(backend: str, size: tuple[int, int] = (416, 416), **options: Any) -> Model:
        from yolox_deploy.export import TARGETS, ExportOptions, export_model
        from yolox_deploy.runtimes import BACKENDS
        from yolox_deploy.spec import SpecHints

        available = BACKENDS[backend].availability()
        if BACKENDS[backend].gpu and not available.ok:
            pytest.skip(f"backend {backend} cannot run here: {available.reason}")
        # One thread: several would wait for each other on a busy machine.
        arguments = {"backend": backend, "threads": 1}
        if backend == "torch":
            return Model(nano_pth, {**arguments, "imgsz": size})
        carried = "detections" if options.get("nms") else "raw"
        names = [
            name
            for name, row in TARGETS.items()
            if carried in row.outputs and BACKENDS[row.backend].availability().ok
        ]
        request = ExportOptions(hints=SpecHints(imgsz=size), verify=False, **options)

        def make(folder: Path) -> dict[str, Path]:
            results = export_model(nano_pth, names, request, folder)
            return {TARGETS[r.target].backend: r.path for r in results}

        made = once(f"{nano_pth} for {names} {request}", make)
        opened = [p for p in made.values() if p.suffix in BACKENDS[backend].suffixes]
        if backend in MATERIAL:
            onnx = made["onnxruntime"]
            path = once(f"{onnx} for {backend}", lambda folder: MATERIAL[backend](onnx, folder))
        else:
            assert opened, (
                f"no target makes files for {backend}: add a row to MATERIAL in {__file__}"
            )
            path = made.get(backend, opened[0])
        return Model(path, arguments)

    return give


@pytest.fixture
def installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any] | None], None]:
    """Make this package one that ``pip`` installed, with what pip notes of its origin."""

    def install(origin: dict[str, Any] | None) -> None:
        site = tmp_path / "site"
        about = site / "yolox_deploy-0.1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: yolox-deploy\nVersion: 0\n")
        if origin is not None:
            (about / "direct_url.json").write_text(json.dumps(origin))
        monkeypatch.syspath_prepend(site)
        monkeypatch.setattr(packages, "__file__", str(site / "yolox_deploy" / "packages.py"))

    return install
