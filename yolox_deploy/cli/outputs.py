"""What the commands share of outputs: which files they read, and leave to replace files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from yolox_deploy.runtimes.registry import files_of
from yolox_deploy.sinks.outputs import check_apart, check_file
from yolox_deploy.weights import find_model

OVERWRITE = (
    "--overwrite: replace files of these names in {folder} (default: if one is there, the command "
    "stops before any work, with exit code 7)"
)


def check_file_option(
    option: str, path: Path | None, inputs: Iterable[str | os.PathLike[str]], *, text: bool = True
) -> None:
    """Refuse a file of results that cannot be written, or that the command reads."""
    if path is not None:
        check_apart({option: [path]}, inputs)
        check_file(path, text=text)


def files_read(
    arguments: argparse.Namespace,
    models: Iterable[str | os.PathLike[str] | None],
    *more: str | os.PathLike[str] | None,
) -> list[str | os.PathLike[str]]:
    """Return what a command reads: every file of its models, the class names, and ``more``.

    A name of published weights is no file here, and is not fetched.
    """
    found: list[str | os.PathLike[str]] = [
        *(arguments.names or ()),
        *(path for path in more if path is not None),
    ]
    for model in models:
        path = find_model(None) if model is None else Path(model).expanduser()
        found += files_of(path)
    return found
