"""Writes checkpoints, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from yolox_deploy.errors import OutputError
from yolox_deploy.files import check_space, draft_of, reported_as_output_error


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) in Megvii's container, whole or not at all.

    Raises :class:`OutputError`; whatever stood at ``path`` before is then untouched.
    """
    with draft_of(path) as draft, reported_as_output_error(path), draft.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what PyTorch makes of a full disk
            check_space(path.parent, 1)
            raise OutputError(f"cannot write {path}: {error}") from error
        file.flush()
        os.fsync(file.fileno())
