"""Pictures in: files and arrays of any common kind become (h, w, 3) uint8 BGR."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ImageError, ModelWarning
from yolox_deploy.files import near_file
from yolox_deploy.pictures.headers import claimed_pixels
from yolox_deploy.terminal import native_lines

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ImageLike: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | PILImage"

# Above the largest cameras (200 million pixels), and far below what fills a memory: a decoded
# picture takes 3 bytes per pixel, and turning it as its EXIF data says takes as much again.
MAX_PIXELS = 1 << 28
# OpenCV takes no more.
LARGEST_FILE = (1 << 31) - 1
# OpenCV's resize ends the process beyond it.
MOST_BYTES = (1 << 31) - 1

# How lines of OpenCV and its libraries begin that say nothing of the pixels.
HARMLESS = ("libpng warning:", "[ WARN", "[ INFO")
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
)


def read_image(
    path: str | os.PathLike[str], max_pixels: int | None = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Return the picture in ``path`` as (h, w, 3) uint8 BGR, turned as its EXIF data says.

    A picture of more than ``max_pixels`` is refused before it is decoded (``None``: no bound).
    Raises :class:`ImageError` where there is no file or no picture in it.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST_FILE:
                raise ImageError(f"{path}: larger than 2 GiB, which OpenCV cannot decode")
            data = file.read()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file{_hint(str(path))}") from error
    except IsADirectoryError as error:
        raise ImageError(
            f"{str(path)[:200]}: cannot be read as a picture, it is a folder; pass its pictures: "
            "detector.batch(sorted(pathlib.Path(folder).glob('*.jpg')))"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{str(path)[:200]}: cannot be read ({reason})") from error
    return decode_image(data, path, max_pixels)


def decode_image(
    data: bytes, path: str | os.PathLike[str], max_pixels: int | None = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Return the picture that the bytes of a file hold; ``path`` names it in errors.

    Raises :class:`ImageError` as :func:`read_image` does.
    """
    if not data:
        raise ImageError(f"{path}: the file is empty")
    pixels = claimed_pixels(data)
    if max_pixels is not None and pixels > max_pixels:
        raise ImageError(
            f"{path}: {pixels:,} pixels, more than the {max_pixels:,} that are allowed: make it "
            "smaller, or raise the limit (--max-pixels; in Python max_pixels)"
        )
    try:
        with native_lines() as said:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{path}: {error.err or 'cannot be decoded'}") from error
    words = "; ".join(dict.fromkeys(line for line in said if not line.startswith(HARMLESS)))
    if image is None:
        reason = f" ({words})" if words else ""
        raise ImageError(f"{path}: not a picture that OpenCV can decode{reason}")
    if words:
        warnings.warn(f"{path} was read, but is damaged: {words}", ModelWarning, stacklevel=3)
    return np.asarray(image, np.uint8)


def as_bgr(image: ImageLike, max_pixels: int | None = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return ``image`` as (h, w, 3) uint8 BGR.

    Takes a path; a uint8 or uint16 array that is grey (h, w) or (h, w, 1), BGR (h, w, 3) or BGRA
    (h, w, 4, alpha ignored); or a PIL image (turned as its EXIF data says).  uint16 is divided by
    256.  ``max_pixels`` bounds a picture that is read, see :func:`read_image`.

    Raises :class:`ImageError` for anything else.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, max_pixels)
    if isinstance(image, np.ndarray):
        return _array_as_bgr(image)
    if type(image).__module__.startswith("PIL."):
        return _pil_as_bgr(image)
    raise ImageError(f"a picture is a path, a NumPy array or a PIL image, {_why_not(image)}")


def is_one_picture(images: object) -> bool:
    """Whether ``images`` is meant as one picture rather than as several.

    That is everything that one picture may be, a tensor or an array of the wrong shape included:
    it has an error of its own in :func:`as_bgr`.  An array of four dimensions, or of paths or
    objects, is a sequence of pictures.
    """
    if isinstance(images, np.ndarray):
        return images.ndim in (0, 2, 3) or (images.ndim == 1 and images.dtype.kind in "biuf")
    return (
        isinstance(images, (str, os.PathLike, bytes, bytearray))
        or not isinstance(images, Iterable)
        or type(images).__module__.startswith("PIL.")
        or _is_tensor(images)
        or hasattr(images, "read")
    )


def _is_tensor(thing: object) -> bool:
    package = type(thing).__module__.split(".")[0]
    return package in ("torch", "tensorflow", "jax", "jaxlib", "cupy") and hasattr(thing, "shape")


def _hint(path: str) -> str:
    """Return what may be meant by the path of a file that is not there."""
    if "://" in path or path.startswith(("http:/", "https:/")):
        return " (an address: download the picture first)"
    if path.startswith("~"):
        return " (write out the home folder: os.path.expanduser)"
    if any(sign in path for sign in "*?"):
        return " (a pattern: pass the files that glob.glob gives to detector.batch)"
    return ""


def _why_not(image: Any) -> str:
    """Return what was given instead of a picture, and what to do instead."""
    kind = f"got {type(image).__name__}"
    if image is None:
        return (
            "got None (NoneType): cv2.imread returns None for a file that it cannot read; "
            "pass the path itself, and the error names the reason"
        )
    if _is_tensor(image):
        return (
            f"{kind} of shape {tuple(image.shape)}: convert it to a NumPy array (h, w, 3) of uint8 "
            "in the order blue, green, red; for a PyTorch tensor (3, h, w) of RGB in 0..1: "
            "(tensor * 255).byte().permute(1, 2, 0).flip(2).cpu().numpy()"
        )
    if isinstance(image, (bytes, bytearray, memoryview)):
        return f"{kind}: decode it with cv2.imdecode(numpy.frombuffer(data, 'uint8'), 1)"
    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], (bool, np.bool_)):
        return (
            f"{kind}: cv2.VideoCapture.read returns (success, picture); pass only the picture, "
            "and only where success is true"
        )
    if hasattr(image, "read"):
        return f"{kind}: pass the path, or open it with PIL.Image.open"
    if isinstance(image, Iterable):
        return f"{kind}: for several pictures use detector.batch"
    return kind


def _pil_as_bgr(image: PILImage) -> NDArray[np.uint8]:
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            # 16 bits a pixel, which convert("RGB") would clip at 255.
            return _array_as_bgr(np.asarray(upright).clip(0, 65535).astype(np.uint16))
        if upright.mode == "F":
            raise ImageError("a PIL image of floating-point pixels has no defined range")
        return _array_as_bgr(np.asarray(upright.convert("RGB"))[:, :, ::-1])
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"the PIL image cannot be decoded ({error})") from error


def _array_as_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"an array of {image.dtype} is no picture: expected uint8 (0..255) or uint16"
            f"{_how_to_convert(image)}"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        several = "for several pictures use detector.batch"
        if image.ndim == 3:
            several = "for a stack of grey pictures use detector.batch(list(array))"
            if image.shape[0] in (1, 3, 4):
                several = "if the channels come first, use array.transpose(1, 2, 0)"
        raise ImageError(
            f"an array of shape {image.shape} is no picture: expected (h, w), (h, w, 1), "
            f"(h, w, 3) or (h, w, 4); {several}"
        )
    if 3 * image.shape[0] * image.shape[1] > MOST_BYTES:
        raise ImageError(
            f"a picture of shape {image.shape} is larger than OpenCV can resize, which is "
            f"{MOST_BYTES} bytes as BGR: shrink it, or cut it into tiles"
        )
    if 0 in image.shape:
        raise ImageError(f"a picture of shape {image.shape} has no pixels")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    if image.shape[2] == 4:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), np.uint8)
    return image


def _how_to_convert(image: NDArray[Any]) -> str:
    """Return how pixels of another type become a picture, if their values tell."""
    if image.dtype == bool:
        return "; convert it with image.astype('uint8') * 255"
    if image.dtype.kind not in "iuf" or not image.size:
        return ""
    low, high = image.min(), image.max()
    if image.dtype.kind == "f" and low >= 0 and high <= 1:
        return "; its values lie in 0..1: convert it with (image * 255).round().astype('uint8')"
    if low >= 0 and high <= 255:
        return "; its values lie in 0..255: convert it with image.astype('uint8')"
    return f"; its values lie in {low:g}..{high:g}"


def find_images(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the pictures that files, folders and globs name, see :func:`find_files`."""
    return find_files(sources, IMAGE_SUFFIXES)


def find_files(sources: Iterable[str | os.PathLike[str]], suffixes: Collection[str]) -> list[Path]:
    """Return the files that files, folders (searched through) and globs name, in order.

    A file that is named is taken whatever its suffix; folders and globs give only files with one of
    ``suffixes``.  Links to files are followed, links to folders inside a folder are not.  A file
    that is reached by several paths is there once, under the first of them.  Raises
    :class:`ImageError` for a source that gives nothing.
    """
    found: dict[str, Path] = {}
    kinds = ["picture"] if suffixes == IMAGE_SUFFIXES else ["picture", "video"]
    looked = f" (looked for {', '.join(sorted(suffixes))})"
    for source in sources:
        path = Path(source)
        if os.path.isdir(path):
            matches = [p for p in sorted(_below(path)) if _is_named_so(p, suffixes)]
            problem = "a folder without " + " or ".join(f"{kind}s" for kind in kinds) + looked
        elif os.path.isfile(path):
            matches, problem = [path], ""
        else:
            names = map(Path, sorted(_matching(str(source))))
            matches = [p for p in names if _is_named_so(p, suffixes)]
            problem = f"no such file{near_file(path)}"
            if glob.has_magic(str(source)):
                problem = f"no {' or '.join(kinds)} matches it{looked}"
        if not matches:
            raise ImageError(f"{source}: {problem}")
        for match in matches:
            found.setdefault(os.path.realpath(match), match)
    return list(found.values())


def _below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder; links to folders are not followed, so that it ends."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _matching(pattern: str) -> Iterator[str]:
    """Yield the paths that match a pattern, in which ``**`` stands for folders in folders.

    Unlike :func:`glob.glob` it follows no links to folders instead of ``**``: several of them
    that lead back would give more paths than can be counted.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    place = parts.index("**")
    rest = parts[place + 1 :] or ("*",)
    for start in glob.iglob(os.path.join(*parts[:place])) if place else ["."]:
        for folder, inside, _ in os.walk(start):
            inside[:] = [name for name in inside if not name.startswith(".")]
            yield from _matching(os.path.join(glob.escape(folder), *rest))


def _is_named_so(path: Path, suffixes: Collection[str]) -> bool:
    """Whether ``path`` is a file with one of the suffixes (hidden files are not)."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
