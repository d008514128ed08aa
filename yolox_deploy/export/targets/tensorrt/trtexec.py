"""How an engine is built where TensorRT is, from ONNX and with nothing of this package."""

from __future__ import annotations

import shlex
from pathlib import Path

from yolox_deploy.export.targets.tensorrt.settings import EngineSettings
from yolox_deploy.files import write_atomically
from yolox_deploy.spec import ModelSpec


def trtexec_line(source: str, engine: str, spec: ModelSpec, settings: EngineSettings) -> str:
    """Return the command that makes the same engine with NVIDIA's ``trtexec`` (10 and newer)."""
    words = ["trtexec", f"--onnx={source}", f"--saveEngine={engine}", "--stronglyTyped"]
    for kind, shape in zip(("min", "opt", "max"), settings.shapes(spec) or (), strict=False):
        words.append(f"--{kind}Shapes=images:{'x'.join(map(str, shape))}")
    if settings.workspace is not None:
        words.append(f"--memPoolSize=workspace:{settings.workspace}")
    words += ["--hardwareCompatibilityLevel=ampere+"] if settings.hardware_compatible else []
    words += ["--versionCompatible"] if settings.version_compatible else []
    words += ["--noTF32"] if spec.precision == "fp32" else []
    return shlex.join(words)


def write_recipe(source: Path, engine: Path, line: str, finish: str) -> Path:
    """Write both commands into a text file beside ``source``, and return its path."""
    recipe = source.with_suffix(".trtexec.txt")
    write_atomically(
        recipe,
        "# On the machine that runs the engine, with TensorRT 10 or newer.\n"
        "# (8.6: replace --stronglyTyped by --fp16, or leave it out for an FP32 model.)\n"
        f"{line}\n"
        f"# Then verify the engine there; {engine.name}.json must lie beside it.\n"
        f"{finish}\n",
    )
    return recipe
