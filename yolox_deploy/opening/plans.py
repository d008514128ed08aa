"""The ``plan.json`` of ``yolox-plan``, as far as opening its artifact needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from yolox_deploy.errors import ArtifactError
from yolox_deploy.files import read_input, sha256_of

# What the file says of itself.
PLAN, PLAN_VERSION = "yolox-plan", 1
LARGEST_PLAN_BYTES = 16 << 20


def read_plan(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the artifact that a plan names, and ``backend``, ``device``, ``threads``, ....

    The artifact lies beside the plan, and each of its files must have the SHA-256 that the plan
    states.  Raises :class:`ArtifactError`.
    """
    try:
        content = json.loads(read_input(path, LARGEST_PLAN_BYTES, "plan of yolox-plan"))
        if (content["format"], content["version"]) != (PLAN, PLAN_VERSION):
            raise ValueError(f"its format is {content['format']!r:.60}")
        chosen = content["artifact"]
        if chosen is None:
            raise ValueError("no artifact was written with it: run yolox-plan with --output DIR")
        hashes = dict(chosen["sha256"])
        texts = [*hashes, chosen["path"], chosen["backend"], chosen["device"], chosen["precision"]]
        if not all(isinstance(text, str) for text in (*texts, *hashes.values())):
            raise TypeError("a name is no text")
        if not isinstance(chosen["threads"], int | None):
            raise TypeError("the number of threads is no whole number")
        beside = all(name and name != ".." and Path(name).name == name for name in hashes)
        if not beside or chosen["path"] not in hashes:
            raise ValueError("it names files that do not lie beside it")
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise ArtifactError(
            f"{path}: not a plan that can be opened ({reason:.150}); expected the plan.json of "
            "yolox-plan --output DIR, or a model"
        ) from error
    for name, expected in hashes.items():
        file = path.with_name(name)
        if not file.is_file():
            raise ArtifactError(f"{file}: no such file; copy the whole folder of {path}")
        if sha256_of(file) != expected:
            raise ArtifactError(
                f"{file} is not the file that {path} was written for (by its SHA-256): copy the "
                "whole folder again, or run yolox-plan again"
            )
    return path.with_name(chosen["path"]), chosen
