"""``yolox-doctor``: what runs here, and what is missing for the rest."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from functools import partial
from typing import Any

import cv2

import yolox_deploy
from yolox_deploy.cli.common import add_options, make_parser, run_command
from yolox_deploy.errors import DeviceError
from yolox_deploy.files import cache_folder
from yolox_deploy.progress import print_table
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.runtimes.gpu import Driver
from yolox_deploy.runtimes.tensorrt.bindings import installed_bindings

COMMAND = "yolox-doctor"
EXAMPLES = """\
  yolox-doctor
  yolox-doctor --json
"""

# Package, what it is for, the extra that brings it.
PACKAGES = (
    ("torch", "reading checkpoints", "export"),
    ("onnx", "writing ONNX", "export"),
    ("onnxscript", "ONNX opset 18 and newer", "export"),
    ("onnxsim", "simplifying ONNX", "export"),
    ("pnnx", "writing NCNN", "ncnn"),
    ("pycocotools", "AP", "eval"),
    ("scipy", "benchmarks", "bench"),
    ("psutil", "benchmarks", "bench"),
)


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Show which backends and tools run on this machine, and why others do not.",
        EXAMPLES,
    )
    add_options(result, "--json: print JSON instead of tables")
    return result


def report(arguments: argparse.Namespace) -> int:
    """Print what was found; returns the exit code."""
    backends: list[dict[str, Any]] = [
        {"name": row.name, "opens": row.suffixes, **row.availability(try_import=True)._asdict()}
        for row in BACKENDS.values()
    ]
    packages: list[dict[str, Any]] = [
        {"name": name, "for": purpose, "version": version_of(name), "extra": extra}
        for name, purpose, extra in PACKAGES
    ]
    about = machine()
    if arguments.json:
        print(json.dumps({**about, "backends": backends, "packages": packages}, indent=1))
        return 0
    print_table(["", ""], [[key, str(value)] for key, value in about.items()])
    print()
    rows = []
    for b in backends:
        works = "yes" if b["ok"] else "no"
        rows.append([b["name"], " ".join(b["opens"]), works, b["version"] or "-", b["reason"]])
    print_table(["backend", "opens", "runs here", "version", "what to do"], rows)
    print()
    rows = []
    for p in packages:
        advice = "" if p["version"] else f'pip install "yolox-deploy[{p["extra"]}]"'
        rows.append([p["name"], p["for"], p["version"] or "-", advice])
    print_table(["package", "for", "version", "what to do"], rows)
    return 0


def version_of(package: str) -> str | None:
    """Return the installed version, ``None`` where the package is missing."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def machine() -> dict[str, object]:
    """Return what is worth knowing of this machine and installation."""
    return {
        "yolox-deploy": yolox_deploy.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "numpy": version_of("numpy"),
        "opencv": cv2.__version__,
        "gpu": gpus(),
        "cuda binding": ", ".join(f"{k} {v}" for k, v in installed_bindings().items())
        or "none (pip install cuda-bindings)",
        "cache": str(cache_folder()),
    }


def gpus() -> str:
    """Return what the NVIDIA driver sees, or what is missing."""
    try:
        driver = Driver()
        return "; ".join(str(driver.gpu(i)) for i in range(driver.count))
    except DeviceError as error:
        return str(error)


main = partial(run_command, COMMAND, parser, report)
