"""What every backend must do, with the real nano weights on the real engine.

Parametrized over the registry: a backend without a row in ``NOT_THERE`` fails, and one whose files
no export target makes without a row in ``MATERIAL`` (``tests/conftest.py``).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy import Detections, Detector
from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.runtimes import BACKENDS, Runtime

# What dog.jpg shows (reference values of the original), at the default thresholds.
DOG = {"dog": 0.855, "bicycle": 0.803, "car": 0.798, "truck": 0.306, "cat": 0.260}
# A device and a precision that the backend does not have.
NOT_THERE = {
    "onnxruntime": ("gpu", "bf16"),
    "openvino": ("cuda", "int4"),
    "ncnn": ("cuda", "fp16"),
    "torch": ("npu", "int8"),
    "tensorrt": ("cpu", "fp32"),
    "tensorrt-rtx": ("cpu", "fp32"),
}
# Where the engine itself takes several pictures at once.
BATCHING = ("onnxruntime", "openvino")
NOT_SQUARE = (256, 416)


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend; one for GPUs that cannot run here is tested in test_tensorrt.py alone."""
    name: str = request.param
    available = BACKENDS[name].availability()
    if BACKENDS[name].gpu and not available.ok:
        pytest.skip(f"backend {name} cannot run here: {available.reason}")
    return name


@pytest.fixture(scope="module")
def detector(backend: str, model_for: Any) -> Iterator[Detector]:
    path, arguments = model_for(backend)
    with Detector(path, **arguments) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(nano_pth: Path) -> Iterator[Runtime]:
    """The unmodified network, to compare raw output with."""
    with BACKENDS["torch"].runtime_class()(nano_pth, threads=1) as opened:
        yield opened


def assert_same(found: Detections, expected: Detections) -> None:
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=0, atol=0.01)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    assert found.image_size == expected.image_size


def test_every_backend_has_its_test_material() -> None:
    assert set(NOT_THERE) == set(BACKENDS), "add a row to NOT_THERE in this file"


def test_the_dog_is_found_with_the_reference_scores(
    detector: Detector, backend: str, dog_path: Path
) -> None:
    assert detector.backend == backend
    found = detector(dog_path)
    assert {d.name: d.score for d in found} == pytest.approx(DOG, abs=0.002)
    assert [d.name for d in found] == list(DOG)
    np.testing.assert_allclose(found[0].xyxy, [132.8, 206.6, 325.7, 543.1], atol=0.2)


def test_the_raw_output_is_that_of_the_network(detector: Detector, reference: Runtime) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 416, 416)).astype(np.float32)
    expected = reference.infer(images).copy()
    found = detector.runtime.infer(images)
    assert found.shape == (2, 3549, 85)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_the_engine_tells_its_precision_and_threads(detector: Detector, backend: str) -> None:
    precision, threads = detector.runtime.facts()
    assert threads == 1
    assert precision == "fp32" or BACKENDS[backend].gpu


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_batch_of_mixed_sizes_equals_one_at_a_time(
    count: int, detector: Detector, mixed_pictures: list[Path]
) -> None:
    pictures = mixed_pictures[:count]
    results = detector.batch(pictures)
    assert len(results) == count
    for picture, found in zip(pictures, results, strict=True):
        assert_same(found, detector(picture))
    assert sum(map(len, results)) >= 5


def test_many_pictures_at_once_equal_one_at_a_time(
    detector: Detector, mixed_pictures: list[Path]
) -> None:
    expected = [detector(picture) for picture in mixed_pictures]
    assert list(detector.map(mixed_pictures, streams=2)) == expected
    found = dict(detector.map(mixed_pictures, streams=1, batch=3, ordered=False))
    for index, wanted in enumerate(expected):
        assert_same(found[index], wanted)


@pytest.mark.parametrize(
    ("size", "options"),
    [((416, 416), {"batch": 3}), (NOT_SQUARE, {"dynamic": True})],
    ids=["fixed", "dynamic"],
)
@pytest.mark.parametrize("name", BATCHING)
def test_artifacts_with_a_batch_of_their_own_equal_one_at_a_time(
    name: str,
    size: tuple[int, int],
    options: dict[str, Any],
    model_for: Any,
    nano_pth: Path,
    mixed_pictures: list[Path],
) -> None:
    path, arguments = model_for(name, size, **options)
    with (
        Detector(path, **arguments) as batching,
        Detector(nano_pth, "torch", imgsz=size, threads=1) as one_by_one,
    ):
        assert batching.spec.batch == options.get("batch")
        expected = [one_by_one(picture) for picture in mixed_pictures]
        for count in (1, 3, 8):
            results = batching.batch(mixed_pictures[:count])
            assert len(results) == count
            for found, wanted in zip(results, expected, strict=False):
                assert_same(found, wanted)


def test_non_square_input_does_not_swap_height_and_width(
    backend: str, model_for: Any, nano_pth: Path, mixed_pictures: list[Path]
) -> None:
    options = {} if backend == "torch" else {"dynamic": True}
    path, arguments = model_for(backend, NOT_SQUARE, **options)
    with (
        Detector(path, **arguments) as opened,
        Detector(nano_pth, "torch", imgsz=NOT_SQUARE, threads=1) as reference,
    ):
        assert (opened.spec.height, opened.spec.width) == NOT_SQUARE
        for picture in mixed_pictures[:3]:
            found = opened(picture)
            assert_same(found, reference(picture))
            height, width = found.image_size or (0, 0)
            assert found.xyxy[:, 2].max() <= width
            assert found.xyxy[:, 3].max() <= height
        # The dog stands upright left of the middle: swapped sides would put it elsewhere.
        best = {d.name: d.xyxy for d in opened(mixed_pictures[0])}
        np.testing.assert_allclose(best["dog"], [132, 210, 322, 542], atol=30)
    turned = NOT_SQUARE[::-1]
    if backend == "torch":
        with Detector(path, backend, imgsz=turned) as opened:
            assert (opened.spec.height, opened.spec.width) == turned
    else:
        with pytest.raises(UsageError, match="256x416"):
            Detector(path, backend, imgsz=turned)


def test_a_size_that_does_not_divide_is_refused_with_the_nearest(
    backend: str, model_for: Any
) -> None:
    path, arguments = model_for(backend)
    with pytest.raises(UsageError) as caught:
        Detector(path, **{**arguments, "imgsz": (400, 416)})
    # An artifact has one size; a checkpoint takes any that divides.
    expected = "use 384 or 416" if backend == "torch" else "416x416"
    assert expected in str(caught.value)


def test_threads_that_share_a_detector_get_what_one_gets(
    detector: Detector, mixed_pictures: list[Path]
) -> None:
    pictures = mixed_pictures[:3]
    expected = [detector(picture) for picture in pictures]
    found: dict[int, list[Detections]] = {}

    def work(number: int) -> None:
        found[number] = [detector(picture) for picture in pictures]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for results in found.values():
        for result, wanted in zip(results, expected, strict=True):
            assert_same(result, wanted)


@pytest.mark.parametrize("count", [1, 2])
def test_the_layout_of_the_input_in_memory_does_not_matter(count: int, detector: Detector) -> None:
    images = np.random.default_rng(1).uniform(0, 255, (count, 3, 416, 416)).astype(np.float32)
    expected = detector.runtime.infer(images).copy()
    frozen = images.copy()
    frozen.flags.writeable = False
    views = (
        np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        np.ascontiguousarray(images[..., ::-1])[..., ::-1],
        np.concatenate((images, images), 3)[..., :416],
        np.asfortranarray(images),
        frozen,
    )
    for view in views:
        np.testing.assert_array_equal(view, images)
        np.testing.assert_allclose(detector.runtime.infer(view), expected, rtol=1e-5, atol=1e-4)


def test_the_input_is_left_as_it_was(detector: Detector) -> None:
    images = np.random.default_rng(2).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    before = images.copy()
    detector.runtime.infer(images)
    np.testing.assert_array_equal(images, before)


def test_detections_do_not_depend_on_what_the_engine_saw_before(
    detector: Detector, dog: NDArray[np.uint8]
) -> None:
    expected = detector(dog)
    tall = np.ascontiguousarray(dog[:, :300])
    noise = np.random.default_rng(4).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    for between in (lambda: detector.runtime.infer(noise), lambda: detector(tall)):
        between()
        assert detector(dog) == expected


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 3, 416, 416)),
        np.zeros((1, 3, 416, 416), np.uint8),
        np.zeros((3, 416, 416), np.float32),
        np.zeros((1, 416, 416, 3), np.float32),
        np.zeros((1, 3, 416, 384), np.float32),
        np.zeros((0, 3, 416, 416), np.float32),
    ],
    ids=["float64", "uint8", "no batch", "channels last", "another size", "nothing"],
)
def test_an_input_of_another_kind_is_refused(images: NDArray[Any], detector: Detector) -> None:
    with pytest.raises(UsageError):
        detector.runtime.infer(images)


def test_output_outlives_the_runtime_and_a_closed_one_says_so(backend: str, model_for: Any) -> None:
    path, arguments = model_for(backend)
    images = np.random.default_rng(3).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    with Detector(path, **arguments) as opened:
        output = opened.runtime.infer(images)
        expected = output.copy()
    opened.close()
    np.testing.assert_array_equal(output, expected)
    with pytest.raises(UsageError, match="closed"):
        opened.runtime.infer(images)
    with pytest.raises(UsageError, match="closed"):
        opened(np.zeros((9, 9, 3), np.uint8))


def test_devices_precisions_and_threads_it_does_not_have_are_refused(
    backend: str, model_for: Any
) -> None:
    path, _ = model_for(backend)
    device, precision = NOT_THERE[backend]
    runtime = BACKENDS[backend].runtime_class()
    for arguments, message in (
        ({"device": device}, device),
        ({"device": "cpu:9"}, "cpu"),
        ({"device": ""}, f"expected {runtime.devices[0]}"),
        ({"precision": precision}, f"expected {runtime.precisions[0]}"),
        ({"settings": {"no_such_setting": "x"}}, f"{backend} has no setting 'no_such_setting'"),
        ({"threads": 0}, "threads"),
        ({"threads": 5000}, "threads"),
    ):
        with pytest.raises(UsageError, match=message):
            runtime(path, **arguments)


def test_every_other_precision_of_the_backend_still_finds_the_dog(
    backend: str, model_for: Any, dog_path: Path
) -> None:
    path, arguments = model_for(backend)
    for precision in BACKENDS[backend].runtime_class().precisions[1:]:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            detector = Detector(path, **arguments, precision=precision)
        with detector as opened:
            best = opened(dog_path)[0]
            used = opened.runtime.facts().precision
        said = f"was to run in {precision}; on this machine {backend} computes it in {used}"
        assert any(said in str(note.message) for note in notes) is (used != precision)
        assert best.class_id == 16
        assert best.score == pytest.approx(DOG["dog"], abs=0.05)


def test_a_file_that_is_not_there_or_not_its_own_is_refused(
    backend: str, model_for: Any, tmp_path: Path
) -> None:
    runtime = BACKENDS[backend].runtime_class()
    suffix = BACKENDS[backend].suffixes[0]
    wrong = {
        "missing": None,
        "empty": b"",
        "text": b"this is no model\n" * 100,
        "noise": np.random.default_rng(0).bytes(5000),
        "half": model_for(backend).path.read_bytes()[:20_000],
    }
    for name, content in wrong.items():
        path = tmp_path / f"{name}{suffix}"
        if content is not None:
            path.write_bytes(content)
            path.with_suffix(".bin").write_bytes(b"\0" * 1000)
        with pytest.raises((ArtifactError, UsageError, Exception)) as caught:
            runtime(path)
        assert type(caught.value).__module__ == "yolox_deploy.errors", name
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
