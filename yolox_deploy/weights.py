"""Finds a model by path or by name; published weights are fetched once into the cache folder."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.errors import (
    CheckpointError,
    DownloadError,
    InputFileError,
    ModelWarning,
    OutputError,
    suggest,
)
from yolox_deploy.files import (
    ASSETS,
    cache_folder,
    is_whole,
    make_folder,
    near_file,
    reported_as_output_error,
    seal,
)
from yolox_deploy.packages import install_line, is_installed, require

RELEASE = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
# File name of published weights (without .pth) to the architecture's name.
PUBLISHED = {row.release: row.name for row in ARCHITECTURES.values() if row.release}
# Other names of the same files: yolox_darknet53 and yolov3 for yolox_darknet.
OTHER_NAMES = {
    name: row.release
    for row in ARCHITECTURES.values()
    for name in (f"yolox_{row.name}", *row.aliases)
    if row.release
}
# A small model of drawn digits that was trained for this package, see examples/digits: the
# checkpoint, and its export of dynamic batch for machines without PyTorch.
BUNDLED = ASSETS / "digits_nano.pth"
BUNDLED_ONNX = ASSETS / "digits_nano.onnx"
NAME_PATTERN = re.compile(r"[a-z0-9_-]+(\.pth)?")
CHUNK = 1 << 18
TIMEOUT_S = 30

Progress = Callable[[int, int | None], None]


def needs_torch() -> str:
    """Return what to do where PyTorch is missing."""
    return f"{install_line('export')}; or run yolox-export elsewhere and bring the artifact"


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """Return the file that ``model`` names: a path, or published weights such as ``yolox_s``.

    ``None`` is the small model that ships with the package: its checkpoint, or without PyTorch its
    ONNX file.  Weights are looked for in the cache folder and fetched if they are not there.

    Raises :class:`InputFileError` if it is neither a file nor a name, :class:`DownloadError` if the
    weights cannot be fetched.
    """
    if model is None:
        return BUNDLED if is_installed("torch") else BUNDLED_ONNX
    path = Path(os.path.expanduser(model))
    # os.path, because pathlib raises for names that no file can have.
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        raise InputFileError(
            f"{path}: a folder; a model is a file, for example model.onnx or model.pth"
        )
    word = str(model).lower().replace("-", "_").removesuffix(".pth")
    word = OTHER_NAMES.get(word, word)
    if word in PUBLISHED and path.name == str(model):
        from yolox_deploy.progress import download_progress

        with download_progress(word) as progress:
            return fetch_weights(word, progress)
    hint = near_file(path)
    if not hint and NAME_PATTERN.fullmatch(str(model).lower()):
        hint = suggest(word, PUBLISHED)
    raise InputFileError(
        f"{str(model)[:200]}: no such file, and not the name of published weights "
        f"({', '.join(PUBLISHED)}){hint}"
    )


def fetch_weights(name: str, progress: Progress | None = None, source: str = RELEASE) -> Path:
    """Return the cached file of published weights, fetching it first if it is missing.

    An interrupted transfer is resumed.  The file is kept only if it is a checkpoint of the
    architecture in its name.  ``progress`` is called with the number of bytes so far and of all
    bytes (``None`` if unknown).

    Raises :class:`DownloadError` if it cannot be fetched or is another file.
    """
    folder = make_folder(cache_folder() / "weights")
    target = folder / f"{name}.pth"
    if target.is_file() and _is_usable(target):
        return target
    purpose = f"{name} would be a checkpoint, and reading one needs PyTorch"
    require("torch", purpose, needs_torch())
    part = folder / f"{name}.pth.part"
    url = f"{source}/{name}.pth"
    by_hand = f"fetch {url} on another machine and copy it to {target}"
    try:
        _transfer(url, part, progress)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"{name} is not in the cache, or damaged there, and cannot be fetched ({reason}): is "
            f"there a network? Or {by_hand}"
        ) from error
    _check_weights(part, name, by_hand)
    with reported_as_output_error(target):
        part.replace(target)
    seal(target, [target])
    return target


def _is_usable(target: Path) -> bool:
    """Whether weights in the cache are as they were fetched, or a checkpoint copied by hand."""
    if is_whole(target) or not is_installed("torch"):
        return True
    from yolox_deploy.models.checkpoint import load_checkpoint

    try:
        load_checkpoint(target)
    except CheckpointError as error:
        warnings.warn(f"{error}; it is fetched again", ModelWarning, stacklevel=3)
        return False
    # A cache that cannot be written only costs the time to look at the file again.
    with suppress(OutputError):
        seal(target, [target])
    return True


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # 416: the part is complete already, or longer than the file (then the check refuses it).
        if error.code == 416 and done:
            return
        raise
    with answer:
        if answer.status != 206:
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        with reported_as_output_error(part):
            file = part.open("ab" if done else "wb")
        with file:
            while block := answer.read(CHUNK):
                with reported_as_output_error(part):
                    file.write(block)
                done += len(block)
                if progress:
                    progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the transfer ended after {done} of {total} bytes")


def _check_weights(part: Path, name: str, by_hand: str) -> None:
    """Refuse a fetched file that is not the checkpoint it is named after, and remove it."""
    from yolox_deploy.models.checkpoint import load_checkpoint

    try:
        found = load_checkpoint(part).arch.name
    except CheckpointError as error:
        part.unlink(missing_ok=True)
        raise DownloadError(f"what was fetched as {name} is no checkpoint; {by_hand}") from error
    if found != PUBLISHED[name]:
        part.unlink(missing_ok=True)
        raise DownloadError(f"what was fetched as {name} is a YOLOX {found}; {by_hand}")
