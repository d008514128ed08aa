"""The size of a picture is read from its header, for every format that OpenCV reads."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from yolox_deploy import Detector
from yolox_deploy.errors import ImageError, UsageError
from yolox_deploy.pictures.headers import claimed_pixels
from yolox_deploy.pictures.images import IMAGE_SUFFIXES, read_image

HEIGHT, WIDTH = 37, 53
SUFFIXES = sorted(
    IMAGE_SUFFIXES | {".gif", ".avif", ".hdr", ".pbm", ".pnm", ".pam", ".pfm", ".sr", ".jpe"}
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_header_tells_what_opencv_decodes(suffix: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    drawn = image[:, :, 0] if suffix in (".pbm", ".pgm") else image
    if suffix in (".hdr", ".pfm"):
        drawn = drawn.astype(np.float32)
    good, data = cv2.imencode(suffix, drawn)
    assert good
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2] == (HEIGHT, WIDTH)
    assert claimed_pixels(data.tobytes()) == HEIGHT * WIDTH


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"progressive": True, "comment": b"x" * 5000}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 50}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"big_tiff": True}),
        ("JPEG2000", {"no_jp2": True}),
        ("BMP", {}),
        ("GIF", {}),
    ],
    ids=str,
)
def test_files_of_another_writer_are_understood(
    kind: str, options: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(path, kind, **options)
    assert claimed_pixels(path.read_bytes()) == HEIGHT * WIDTH


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"BM", b"P6 "])
def test_a_cut_off_header_names_no_size(data: bytes) -> None:
    assert claimed_pixels(data) == 0


def huge_png(path: Path, width: int, height: int) -> None:
    """Write a whole PNG of zeros, a thousandth of its size."""
    packer = zlib.compressobj(1)
    rows = packer.compress(bytes((width // 8 + 1) * height)) + packer.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))]
    parts += [(b"IDAT", rows), (b"IEND", b"")]
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in parts:
            end = struct.pack(">I", zlib.crc32(name + content))
            file.write(struct.pack(">I", len(content)) + name + content + end)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    huge_png(path, 24_000, 24_000)
    assert path.stat().st_size < 1_000_000
    code = (
        "import sys\n"
        "from yolox_deploy.errors import ImageError\n"
        "from yolox_deploy.pictures.images import read_image\n"
        "try: read_image(sys.argv[1])\n"
        "except ImageError as error: print(error)\n"
        # Unlike ru_maxrss, not that of the process that started this one.
        "print(next(line for line in open('/proc/self/status') if 'VmHWM' in line).split()[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    error, peak = done.stdout.splitlines()
    assert "576,000,000 pixels, more than the 268,435,456" in error
    assert "--max-pixels" in error
    assert int(peak) < 400_000


def test_the_limit_can_be_chosen(nano_onnx: Path, dog_path: Path) -> None:
    pixels = 768 * 576
    assert read_image(dog_path, pixels).size == 3 * pixels
    assert read_image(dog_path, None).size == 3 * pixels
    with pytest.raises(ImageError, match=f"more than the {pixels - 1:,}"):
        read_image(dog_path, pixels - 1)
    with Detector(nano_onnx, max_pixels=pixels - 1, threads=1) as detector:
        for call in (detector, detector.batch):
            with pytest.raises(ImageError, match="max_pixels"):
                call(dog_path)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="max_pixels must be"):
            Detector(nano_onnx, max_pixels=wrong)  # type: ignore[arg-type]
