"""What is given to a detector: one picture, several, and common mistakes."""

from __future__ import annotations

import io
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from yolox_deploy import Detector
from yolox_deploy.errors import ImageError, UsageError
from yolox_deploy.pictures.images import as_bgr, is_one_picture
from yolox_deploy.postprocess import Thresholds

PICTURE = np.zeros((20, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def detector(nano_onnx: Path) -> Iterator[Detector]:
    with Detector(nano_onnx, threads=1) as opened:
        yield opened


def test_one_picture_is_a_batch_of_one(
    detector: Detector, dog_path: Path, dog: NDArray[np.uint8]
) -> None:
    expected = [detector(dog)]
    pil = Image.fromarray(dog[:, :, ::-1].copy())
    for one in (dog_path, str(dog_path), dog, pil):
        assert detector.batch(one) == expected
    assert detector.batch(dog[:, :, 0]) == [detector(dog[:, :, 0])]
    few = Thresholds(score=0.8)
    assert detector.batch(dog, few) == [detector(dog, few)]


def test_an_array_of_pictures_is_several(detector: Detector, dog: NDArray[np.uint8]) -> None:
    both = np.stack((dog, dog[:, ::-1]))
    assert detector.batch(both) == [detector(dog), detector(dog[:, ::-1])]
    assert detector.batch(both[:0]) == []
    assert detector.batch(np.array(["a.jpg"])[:0]) == []


def test_a_single_class_may_be_given(nano_onnx: Path, dog: NDArray[np.uint8]) -> None:
    for classes in ("dog", 16, np.int64(16), (name for name in ("dog",))):
        with Detector(nano_onnx, classes=classes, threads=1) as opened:
            assert [d.name for d in opened(dog)] == ["dog"]
            # The classes hold for other thresholds, too.
            assert {d.name for d in opened(dog, Thresholds(0.01))} == {"dog"}


@pytest.mark.parametrize(
    ("images", "one"),
    [
        ("dog.jpg", True),
        (Path("dog.jpg"), True),
        (PICTURE, True),
        (PICTURE[:, :, 0], True),
        (np.zeros((3, 20, 30), np.uint8), True),
        (np.zeros(30, np.uint8), True),
        (PICTURE[None], False),
        (np.array(["a.jpg", "b.jpg"]), False),
        (Image.new("RGB", (3, 4)), True),
        (None, True),
        (7, True),
        (b"GIF", True),
        (io.BytesIO(), True),
        ([], False),
        ((PICTURE,), False),
        ({"a.jpg"}, False),
        (iter([PICTURE]), False),
    ],
)
def test_one_picture_is_told_from_several(images: Any, one: bool) -> None:
    assert is_one_picture(images) is one


class Tensor(list[int]):
    """What matters of a PyTorch tensor: its package, its shape, and that it can be iterated."""

    __module__ = "torch"
    shape = (3, 20, 30)


MISTAKES: dict[str, tuple[Any, str]] = {
    "cv2.imread of no file": (None, "imread returns None for a file that it cannot read.*path"),
    "list": ([PICTURE, PICTURE], "got list: for several pictures use detector.batch"),
    "generator": ((p for p in [PICTURE]), "got generator: for several pictures use detector.batch"),
    "tensor": (Tensor(), r"got Tensor of shape \(3, 20, 30\).*permute\(1, 2, 0\)"),
    "bytes": (b"\xff\xd8", "cv2.imdecode"),
    "file": (io.BytesIO(b"x"), "PIL.Image.open"),
    "video frame": ((True, PICTURE), r"VideoCapture.read returns \(success, picture\)"),
    "end of video": ((False, None), "where success is true"),
    "0..1": (np.full((4, 4, 3), 0.5, np.float32), r"lie in 0..1.*image \* 255"),
    "0..255": (np.full((4, 4, 3), 200.0), r"lie in 0..255.*astype\('uint8'\)"),
    "int64": (np.full((4, 4, 3), 200), r"int64.*astype\('uint8'\)"),
    "normalised": (np.array([[-2.1, 2.6]]), r"-2\.1\.\.2\.6"),
    "not finite": (np.array([[np.nan, 0]]), "nan"),
    "mask": (np.zeros((4, 4), bool), r"astype\('uint8'\) \* 255"),
    "complex": (np.zeros((4, 4), complex), "complex128"),
    "channels first": (np.zeros((3, 20, 30), np.uint8), r"channels come first.*transpose"),
    "stack of grey": (np.zeros((7, 20, 30), np.uint8), r"batch\(list\(array\)\)"),
    "address": ("https://example.org/dog.jpg", "download"),
    "pattern": ("pictures/*.jpg", "glob"),
    "home": ("~/no such dog.jpg", "expanduser"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_common_mistakes_are_explained(kind: str, detector: Detector) -> None:
    given, message = MISTAKES[kind]
    with pytest.raises(ImageError, match=message) as caught:
        detector(given)
    assert "\n" not in str(caught.value)


SINGLE = ("cv2.imread of no file", "tensor", "bytes", "file", "0..1", "channels first", "address")


@pytest.mark.parametrize("kind", SINGLE)
def test_what_is_no_picture_is_no_batch_either(kind: str, detector: Detector) -> None:
    given, message = MISTAKES[kind]
    with pytest.raises(ImageError, match=message):
        detector.batch(given)
    with pytest.raises(ImageError, match=f"^picture 1 .*{message}"):
        detector.batch([PICTURE, given])


def test_a_real_tensor_is_refused(detector: Detector) -> None:
    torch = pytest.importorskip("torch")
    for call in (detector, detector.batch):
        with pytest.raises(ImageError, match=r"got Tensor of shape \(1, 3, 20, 30\)"):
            call(torch.zeros(1, 3, 20, 30))


def test_the_advice_for_tensors_and_fractions_gives_the_picture() -> None:
    torch = pytest.importorskip("torch")
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    rgb = torch.from_numpy(picture[:, :, ::-1].copy()).permute(2, 0, 1)
    tensor = (rgb.double() / 255).float()
    advised = (tensor * 255).byte().permute(1, 2, 0).flip(2).cpu().numpy()
    # byte() cuts off, so a value may lose one.
    assert np.abs(as_bgr(advised).astype(int) - picture).max() <= 1
    image = picture / np.float32(255)
    np.testing.assert_array_equal(as_bgr((image * 255).round().astype("uint8")), picture)


def test_a_folder_is_named_with_what_to_do(detector: Detector, tmp_path: Path) -> None:
    for call in (detector, detector.batch):
        with pytest.raises(ImageError, match="it is a folder") as caught:
            call(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert "detector.batch(sorted(" in str(caught.value)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (0.5, r"Thresholds\(score=0\.5\), got 0\.5"),
        ({"score": 0.5}, "Thresholds"),
        ("other.jpg", "for several use detector.batch"),
        (PICTURE, "for several use detector.batch"),
    ],
)
def test_thresholds_that_are_none_are_refused(
    thresholds: Any, message: str, detector: Detector
) -> None:
    for call in (lambda: detector(PICTURE, thresholds), lambda: detector.batch([], thresholds)):
        with pytest.raises(UsageError, match=message):
            call()


def test_a_batch_reads_no_further_than_it_must(detector: Detector) -> None:
    """An endless generator ends with the first thing that is no picture."""

    def pictures() -> Iterator[Any]:
        yield PICTURE
        yield None
        raise AssertionError("read on")

    assert isinstance(pictures(), types.GeneratorType)
    with pytest.raises(ImageError, match="picture 1"):
        detector.batch(pictures())
