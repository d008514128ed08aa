"""A probe for artifacts that state nothing: read and run once, and remembered by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import OutputError
from yolox_deploy.files import ASSETS, cache_folder, sha256_of, write_atomically
from yolox_deploy.pictures.convention import LEGACY_INPUT
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.stem import InputFound, find_input
from yolox_deploy.runtimes.foreign.front import Stem
from yolox_deploy.runtimes.foreign.mirror import Mirrored, mirrored
from yolox_deploy.runtimes.foreign.onnx import external_files
from yolox_deploy.runtimes.foreign.output import Run, output_kind
from yolox_deploy.spec import ModelSpec, OutputKind, SpecHints

# Rises when the same file would be judged differently.
PROBE_VERSION = 1
# The drawn pictures: those of digits show nothing that other models know.
PICTURES = "drawn_*.jpg"

OUTPUTS = {"raw": "raw boxes", "decoded": "decoded boxes"}
INPUTS = {False: "plain BGR 0..255", True: "legacy (RGB, /255, mean and std)"}


@dataclass(frozen=True)
class Found:
    """What a model without a spec is: how its boxes are stored, and whether its input is legacy.

    ``legacy`` is ``None`` if that could not be told.  ``output_why`` and ``legacy_why`` say what
    was seen.
    """

    output: OutputKind
    output_why: str
    legacy: bool | None
    legacy_why: str

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS or self.legacy not in (None, *INPUTS):
            raise ValueError(f"{self.output!r}, {self.legacy!r}")

    def apply(self, spec: ModelSpec, hints: SpecHints) -> ModelSpec:
        """Return an inferred spec with what was found; what ``hints`` say stays."""
        settled = {"output"}
        if hints.decoded is None:
            spec = replace(spec, output=self.output)
        if hints.legacy is None and self.legacy:
            spec = replace(spec, input=LEGACY_INPUT)
        if hints.legacy is not None or self.legacy is not None:
            settled.add("input")
        if hints.names is not None:
            settled.add("class_names")
        return replace(spec, assumed=tuple(f for f in spec.assumed if f not in settled))

    def note(self, name: str, spec: ModelSpec, hints: SpecHints) -> str:
        """Return what a user should know of what was found and assumed."""
        output, taken = OUTPUTS[self.output], INPUTS[spec.legacy]
        boxes = f"its output is {output}, because {self.output_why}"
        if hints.decoded not in (None, self.output == "decoded"):
            boxes = f"decoded={hints.decoded} was given, but {boxes}"
        if self.legacy is None:
            pixels = f"its input could not be told, because {self.legacy_why}"
        else:
            pixels = f"its input is {INPUTS[self.legacy]}, because {self.legacy_why}"
        if hints.legacy is None and self.legacy is None:
            pixels += (
                f"; assumed is {taken}, for weights of release 0.1.0 add legacy=True or --legacy"
            )
        elif hints.legacy is not None and self.legacy not in (None, hints.legacy):
            pixels = f"legacy={hints.legacy} was given, but {pixels}"
        parts = [f"{name} carries no spec, so it was read and run: {boxes}", pixels]
        if hints.names is None:
            known = spec.num_classes == len(COCO_NAMES)
            names = (
                "the names of COCO's 80 classes"
                if known
                else f"{spec.class_names[0]}, ... as names"
            )
            parts.append(f"assumed are {names}, give others with names= or --names")
        return "; ".join(parts)


def probe(path: Path, spec: ModelSpec, run: Run, read_stem: Callable[[], Stem | None]) -> Found:
    """Return what reading and running an artifact without a spec tells.

    ``spec`` is what its shapes tell; ``run`` takes (N, 3, H, W) float32, ``read_stem`` returns the
    first convolution of the file.  The result is kept in the cache folder by the content of the
    artifact's files.

    Raises :class:`~yolox_deploy.errors.ArtifactError` for an output that no YOLOX detector has.
    """
    entry = cache_folder() / "probes" / f"{_key(path, spec)}.json"
    if (known := _read(entry)) is not None:
        return known
    pictures = [read_image(picture) for picture in sorted(ASSETS.glob(PICTURES))]
    output, output_why = output_kind(str(path), spec, run, pictures)
    stem = None
    with suppress(OSError, ValueError, LookupError, RuntimeError):
        stem = read_stem()
    told: InputFound | Mirrored | None = None if stem is None else find_input(*stem)
    if told is None or told.legacy is None:
        told = mirrored(run, replace(spec, output=output), pictures)
    found = Found(output, output_why, told.legacy, told.why)
    with suppress(OutputError):
        write_atomically(entry, json.dumps(asdict(found)))
    return found


def _key(path: Path, spec: ModelSpec) -> str:
    """Return a name for everything that the result depends on."""
    files = {path, path.with_suffix(".bin"), *external_files(path)}
    content = {file.name: sha256_of(file) for file in sorted(files) if file.is_file()}
    parts = [PROBE_VERSION, spec.height, spec.width, spec.num_classes, content]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(entry: Path) -> Found | None:
    """Return what is in the cache, ``None`` if nothing is, or if it is damaged."""
    try:
        return Found(**json.loads(entry.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
