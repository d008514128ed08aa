"""Training checkpoints: Megvii's container, written atomically, read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from yolox_deploy.errors import CheckpointError, InputFileError, OutputError
from yolox_deploy.files import reported_as_output_error, workplace
from yolox_deploy.models.reading import read_tensors_only


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) so that ``path`` is never half a file.

    Raises :class:`OutputError`; whatever stood at ``path`` before is then untouched.
    """
    with workplace(path.parent) as place, reported_as_output_error(path):
        draft = place / path.name
        with draft.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # what PyTorch makes of a full disk
                raise OutputError(f"cannot write {path}: {error}") from error
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def load_run(path: Path) -> dict[str, Any]:
    """Return the content of a ``last.pth`` that this package wrote.

    Raises :class:`InputFileError` where there is none, :class:`CheckpointError` for another file.
    """
    if not path.is_file():
        raise InputFileError(f"{path}: no such file, so there is no run to resume")
    content = read_tensors_only(path)
    if not isinstance(content, dict) or not {"settings", "history", "raw_model"} <= content.keys():
        raise CheckpointError(
            f"{path}: not the last.pth of a training run; to start from its weights, give it as"
            " the weights of a new run"
        )
    return content
