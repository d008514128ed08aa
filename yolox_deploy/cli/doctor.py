"""``yolox-doctor``: what runs here, and what is missing for the rest."""

from __future__ import annotations

import argparse
import platform
from functools import partial
from pathlib import Path
from typing import Any

import cv2

import yolox_deploy
from yolox_deploy.cli.common import make_parser, run_command
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import DeviceError, OutputError
from yolox_deploy.files import STANDARD_OUTPUT, cache_folder, write_document
from yolox_deploy.packages import install_line, is_installed, reinstall, version_of, why_broken
from yolox_deploy.processors import own_processors
from yolox_deploy.runtimes import BACKENDS, backend_for
from yolox_deploy.runtimes.doubts import verify_command
from yolox_deploy.runtimes.gpu import Driver
from yolox_deploy.runtimes.tensorrt.bindings import installed_bindings
from yolox_deploy.tasks.proof import verdict_in
from yolox_deploy.terminal import print_line, print_table

COMMAND = "yolox-doctor"
EXAMPLES = """\
  yolox-doctor
  yolox-doctor --full
  yolox-doctor --model artifacts/yolox_nano.xml
  yolox-doctor --json doctor.json
"""

# Package, what it is for, the extra that brings it.
PACKAGES = (
    ("torch", "reading checkpoints", "export"),
    ("onnx", "writing ONNX", "export"),
    ("onnxscript", "ONNX opset 18 and newer", "export"),
    ("onnxsim", "simplifying ONNX", "export"),
    ("pnnx", "writing NCNN", "ncnn"),
    ("av", "videos, cameras, streams", "video"),
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
    add_options(
        result,
        """
        --full: also print what each backend opens, the machine and the packages
        --model FILE ...: also print what runs these artifacts here, and what is proven of them
        """,
        model=(),
    )
    result.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=STANDARD_OUTPUT,
        metavar="FILE",
        help="write all of it as JSON, to the standard output without FILE or for -",
    )
    return result


def report(arguments: argparse.Namespace) -> int:
    """Print what was found; returns the exit code."""
    backends: list[dict[str, Any]] = [
        {"name": row.name, "opens": row.suffixes, **row.availability(try_import=True)._asdict()}
        for row in BACKENDS.values()
    ]
    packages = [about_package(*row) for row in PACKAGES]
    models = [opened(path) for path in arguments.model]
    about = machine()
    if arguments.json:
        found = {**about, "backends": backends, "packages": packages, "models": models}
        write_document(arguments.json, COMMAND, found)
    gpu = str(about["gpu"]).partition(": ")[0]
    print_line(
        f"yolox-deploy {about['yolox-deploy']}, Python {about['python']}, {about['system']}, "
        f"{about['processors']} processors, GPU: {gpu}"
    )
    print_line()
    rows = []
    for b in backends:
        works, opens = "yes" if b["ok"] else "no", " ".join(b["opens"])
        what = [opens] if arguments.full else []
        rows.append([b["name"], *what, works, b["version"] or "-", b["reason"]])
    what = ["opens"] if arguments.full else []
    print_table(["backend", *what, "runs here", "version", "what to do"], rows)
    if arguments.full:
        print_line()
        print_table(["", ""], [[key, str(value)] for key, value in about.items()])
        print_line()
        rows = [[p["name"], p["for"], p["version"] or "-", p["reason"]] for p in packages]
        print_table(["package", "for", "version", "what to do"], rows)
    elif missing := [p for p in packages if p["reason"]]:
        print_line()
        print_line("Missing or broken packages:")
        for reason in dict.fromkeys(p["reason"] for p in missing):
            uses = {p["name"]: p["for"] for p in missing if p["reason"] == reason}
            purposes = ", ".join(dict.fromkeys(uses.values()))
            print_line(f"  {', '.join(uses)} (for {purposes}): {reason}")
    if models:
        print_line()
        print_table([*models[0]], [[*model.values()] for model in models])
    return 0


def opened(path: Path) -> dict[str, str]:
    """Return what runs an artifact here, and what is proven of it."""
    with backend_for(path).runtime_class()(path) as runtime:
        precision = runtime.facts().precision
        verdict = verdict_in(runtime.spec, precision, runtime.name)
        pictures = " --verify FOLDER" if verdict == "not proven on detections" else ""
        return {
            "model": str(path),
            "runs on": f"{runtime.name}, {precision}",
            "verification": verdict,
            "what to do": "" if verdict == "passed" else f"{verify_command(runtime)}{pictures}",
        }


def about_package(name: str, purpose: str, extra: str) -> dict[str, Any]:
    """Return the version of a package (``None``: missing), and what to do if it cannot be used."""
    version, reason = None, install_line(extra)
    if is_installed(name):
        broken = why_broken(name)
        version, reason = version_of(name), f"{broken}: {reinstall(name)}" if broken else ""
    return {"name": name, "for": purpose, "version": version, "extra": extra, "reason": reason}


def machine() -> dict[str, object]:
    """Return what is worth knowing of this machine and installation."""
    return {
        "yolox-deploy": yolox_deploy.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(own_processors()),
        "numpy": version_of("numpy"),
        "opencv": cv2.__version__,
        "gpu": gpus(),
        "cuda binding": ", ".join(f"{k} {v}" for k, v in installed_bindings().items())
        or "none (pip install cuda-bindings)",
        "cache": cache(),
    }


def cache() -> str:
    """Return the cache folder, or why there is none."""
    try:
        return str(cache_folder())
    except OutputError as error:
        return str(error)


def gpus() -> str:
    """Return what the NVIDIA driver sees, or what is missing."""
    try:
        driver = Driver()
        return "; ".join(str(driver.gpu(i)) for i in range(driver.count))
    except DeviceError as error:
        return str(error)


main = partial(run_command, COMMAND, parser, report)
