"""Counts which planted faults yolox-verify finds, and how often it is wrong about sound artifacts.

    python -m tools.checks.planted ../shared
    python -m tools.checks.planted ../shared --kind weight pad --no-sound

Six faults of each of ten kinds are planted in exports of YOLOX-Nano and of its legacy twin.  A
damaged weight is planted only if it moves AP by 0.5 points or more.  Then sound artifacts are
proven in a process without PyTorch and ONNX: four models on every engine here, 1 and 2 threads,
batches of 1 and 4.  Exit code 5 if fewer than 95 % of the faults are found, or if a sound artifact
fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from tools.checks.planted.faults import ENGINES, KINDS, PER_KIND, Workshop
from yolox_deploy.cli.common import run
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import VerificationError
from yolox_deploy.export import ExportOptions, export_model
from yolox_deploy.models import build_network
from yolox_deploy.terminal import print_table
from yolox_deploy.verification.again import prove_file

ENOUGH = 0.95
# Standard deviation that suits the reference weights of nano, see reference_weights.py.
GAIN = 1.774

PROVE = """
import json, sys, warnings
warnings.simplefilter("ignore")
for name in ("torch", "onnx", "onnxsim", "onnxscript", "pnnx"):
    sys.modules[name] = None
from pathlib import Path
from time import perf_counter
from yolox_deploy.verification.again import prove_file
for line in sys.stdin:
    path, backend, threads = json.loads(line)
    start = perf_counter()
    _, found = prove_file(Path(path), backend=backend, threads=threads)
    print(json.dumps([found.status, found.summary, perf_counter() - start]), flush=True)
"""


def planted(shop: Workshop, kinds: list[str]) -> tuple[int, list[list[str]]]:
    """Plant and prove; returns the number of faults that were found, and the rows of a table."""
    hits, rows = 0, []
    for kind in kinds:
        for fault in KINDS[kind](shop):
            with fault.patch():
                _, found = prove_file(fault.path, threads=1)
            hit = found.status == "failed"
            hits += hit
            words = found.problems[0] if hit else f"NOT FOUND: {found.summary}"
            rows.append([kind, fault.what, words])
            print(f"{kind}: {fault.what}: {words}", file=sys.stderr, flush=True)
    return hits, rows


def sound(shop: Workshop) -> list[list[str]]:
    """Prove sound artifacts in a process of its own; returns the rows of a table."""
    checkpoints = {
        "nano": shop.data / "weights/yolox_nano.pth",
        "legacy twin": shop.data / "weights/yolox_nano_legacy.pth",
        **{f"{count} class{'es' * (count > 1)}": reference(shop, count) for count in (1, 7)},
    }
    runs = []
    for model, checkpoint in checkpoints.items():
        for batch in (1, 4):
            targets = [name for name in ENGINES if batch == 1 or name != "ncnn"]
            options = ExportOptions(batch=batch, allow_unverified=True)
            for result in export_model(checkpoint, targets, options, shop.folder()):
                backends = ("onnxruntime", "openvino") if result.target == "onnx" else ("auto",)
                for backend in backends:
                    name = f"{result.target} on {backend}" if len(backends) > 1 else result.target
                    runs += [(model, name, batch, n, result.path, backend) for n in (1, 2)]
    lines = [json.dumps([str(path), backend, n]) for *_, n, path, backend in runs]
    done = subprocess.run(
        [sys.executable, "-c", PROVE],
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows = []
    for one, answer in zip(runs, done.stdout.splitlines(), strict=True):
        status, summary, seconds = json.loads(answer)
        model, engine, batch, threads, *_ = one
        rows.append([model, engine, str(batch), str(threads), status, f"{seconds:.1f}", summary])
    return rows


def reference(shop: Workshop, classes: int) -> Path:
    """Return a checkpoint of nano with reference weights, which anyone can make again."""
    file = shop.data / "reference/reference_weights.py"
    spec = importlib.util.spec_from_file_location("reference_weights", file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = build_network("nano", classes)
    weights = {
        key: torch.from_numpy(np.asarray(module.reference_tensor(key, tuple(value.shape), GAIN)))
        for key, value in network.state_dict().items()
    }
    path = shop.place / f"nano_{classes}.pth"
    torch.save({"model": weights, "names": [f"thing {i}" for i in range(classes)]}, path)
    return path


def survey(arguments: argparse.Namespace) -> int:
    """Plant, prove, and print the tables."""
    warnings.simplefilter("ignore")
    kinds, start = arguments.kind or [*KINDS], perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(arguments.data, Path(folder), arguments.seed)
        hits, rows = planted(shop, kinds)
        print_table(["kind", "fault", "what yolox-verify says first"], rows)
        every = sound(shop) if arguments.sound else []
    if every:
        titles = ["model", "engine", "batch", "threads", "verdict", "seconds", "summary"]
        print_table(titles, every)
    alarms = [row for row in every if row[4] != "passed"]
    print(
        f"{hits} of {PER_KIND * len(kinds)} faults were found; {len(alarms)} of {len(every)} sound "
        f"artifacts failed ({perf_counter() - start:.0f} s)"
    )
    if hits < ENOUGH * PER_KIND * len(kinds) or alarms:
        raise VerificationError("too few faults were found, or a sound artifact failed")
    return 0


def main() -> int:
    """Read the arguments and make the survey."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of test data (../shared)")
    add_options(
        parser,
        f"""
        --kind NAME ...: kinds of faults: {", ".join(KINDS)} (default: all)
        --seed N: random seed
        --[no-]sound: prove sound artifacts, too (default: --sound)
        """,
        kind=None,
        seed=5,
    )
    arguments = parser.parse_args()
    return run("planted", partial(survey, arguments))


if __name__ == "__main__":
    raise SystemExit(main())
