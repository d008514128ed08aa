"""Detector: arguments, thresholds, pictures of every kind, threads."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from yolox_deploy import Detections, Detector
from yolox_deploy.errors import (
    ArtifactError,
    ImageError,
    InputFileError,
    ModelWarning,
    UsageError,
)


@pytest.fixture(scope="module")
def detector(nano_onnx: Path) -> Iterator[Detector]:
    with Detector(nano_onnx, threads=1) as opened:
        yield opened


def close_to(found: Detections, expected: Detections) -> bool:
    return (
        len(found) == len(expected)
        and bool((found.class_ids == expected.class_ids).all())
        and bool(np.allclose(found.xyxy, expected.xyxy, rtol=0, atol=0.01))
        and bool(np.allclose(found.scores, expected.scores, rtol=0, atol=1e-4))
    )


def test_every_kind_of_picture_gives_the_same(
    detector: Detector, dog_path: Path, dog: NDArray[np.uint8]
) -> None:
    expected = detector(dog)
    assert [d.name for d in expected] == ["dog", "bicycle", "car", "truck", "cat"]
    same = [
        dog_path,
        str(dog_path),
        np.asfortranarray(dog),
        np.ascontiguousarray(dog[:, ::-1])[:, ::-1],
        np.concatenate((dog, np.full((*dog.shape[:2], 1), 3, np.uint8)), 2),
        dog.astype(np.uint16) << 8,
        Image.fromarray(dog[:, :, ::-1].copy()),
    ]
    for image in same:
        assert detector(image) == expected
    grey = cv2.cvtColor(dog, cv2.COLOR_BGR2GRAY)
    assert detector(grey) == detector(np.repeat(grey[:, :, None], 3, 2))
    assert "dog" in {d.name for d in detector(grey)}


@pytest.mark.parametrize("shape", [(1, 1, 3), (5000, 3, 3), (3, 5000, 3), (1, 1), (2, 3000)])
def test_extreme_pictures_give_boxes_inside_them(shape: tuple[int, ...], nano_onnx: Path) -> None:
    with Detector(nano_onnx, score_threshold=0, threads=1) as sensitive:
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        found = sensitive(image)
    assert found.image_size == shape[:2]
    assert len(found) > 0
    height, width = shape[:2]
    assert found.xyxy.min() >= 0
    assert found.xyxy[:, 0::2].max() <= width
    assert found.xyxy[:, 1::2].max() <= height


def test_boxes_are_clipped_unless_told_otherwise(nano_onnx: Path, dog: NDArray[np.uint8]) -> None:
    cut = np.ascontiguousarray(dog[200:420, 100:340])
    with (
        Detector(nano_onnx, score_threshold=0.01, threads=1) as clipping,
        Detector(nano_onnx, score_threshold=0.01, clip=False, threads=1) as free,
    ):
        inside, beyond = clipping(cut), free(cut)
    assert beyond.xyxy.min() < 0
    assert inside.xyxy.min() == 0
    height, width = cut.shape[:2]
    expected = np.clip(beyond.xyxy, 0, np.array([width, height, width, height], np.float32))
    np.testing.assert_array_equal(inside.xyxy, expected)


def test_thresholds_classes_and_bounds_select(nano_onnx: Path, dog_path: Path) -> None:
    def found(**arguments: Any) -> Detections:
        with Detector(nano_onnx, threads=1, **arguments) as opened:
            return opened(dog_path)

    everything = found(score_threshold=0.05)
    assert everything.scores.min() >= 0.05
    assert (np.diff(everything.scores) <= 0).all()
    assert found() == everything[everything.scores >= 0.25]
    assert found(max_detections=2) == found()[:2]
    # Exactly at a score: the box with that score stays.
    assert len(found(score_threshold=float(found().scores[2]))) == 3
    by_name, by_id = found(classes=["dog", "car"]), found(classes=[16, 2])
    assert [d.name for d in by_name] == ["dog", "car"]
    assert by_name == by_id
    assert len(found(classes=[])) == 0
    # The car and the truck are one vehicle, the dog and the cat one animal.
    agnostic = found(class_agnostic=True)
    assert [d.name for d in agnostic] == ["dog", "bicycle", "car"]
    assert len(found(iou_threshold=1.0, max_detections=None)) > len(found())
    assert len(found(score_threshold=1.0)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "onnxruntim"}, "did you mean 'onnxruntime'"),
        ({"backend": "ncnn"}, "use backend onnxruntime"),
        ({"backend": "torch"}, r"\.pth"),
        ({"score_threshold": 1.1}, "score_threshold"),
        ({"score_threshold": float("nan")}, "score_threshold"),
        ({"iou_threshold": -0.1}, "iou_threshold"),
        ({"max_detections": 0}, "max_detections"),
        ({"classes": ["dgo"]}, "did you mean 'dog'"),
        ({"classes": [80]}, "80"),
        ({"classes": [-1]}, "-1"),
        ({"classes": [1.5]}, "1.5"),
        ({"device": "cdua"}, "did you mean 'cuda'"),
        ({"precision": "fp64"}, "fp32"),
        ({"threads": 0}, "threads"),
        ({"imgsz": 640}, "416x416"),
        ({"imgsz": (416, 416, 3)}, "height and width"),
        ({"imgsz": "large"}, "large"),
        ({"max_detections": 2.5}, "2.5"),
        ({"names": ["a", "b"]}, "80"),
    ],
)
def test_arguments_that_cannot_be_served_are_refused(
    arguments: dict[str, Any], message: str, nano_onnx: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Detector(nano_onnx, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("imgsz", [np.int64(416), 416, (416, 416), [416, 416]])
def test_the_size_may_be_any_kind_of_number_or_pair(imgsz: Any, nano_onnx: Path) -> None:
    with Detector(nano_onnx, imgsz=imgsz) as opened:
        assert (opened.spec.height, opened.spec.width) == (416, 416)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("missing.onnx", None, InputFileError),
        ("empty.onnx", b"", ArtifactError),
        ("text.onnx", b"no model at all\n" * 50, ArtifactError),
        ("x.jpg", b"x", UsageError),
        ("nosuffix", b"x", UsageError),
    ],
)
def test_files_that_are_no_model_are_refused(
    name: str, content: bytes | None, error: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=name) as caught:
        Detector(path)
    assert "\n" not in str(caught.value)


def test_a_bad_picture_does_not_break_the_detector(
    detector: Detector, dog_path: Path, tmp_path: Path
) -> None:
    expected = detector(dog_path)
    (tmp_path / "text.jpg").write_text("no picture")
    for bad in (tmp_path / "text.jpg", np.zeros((3, 3)), None):
        with pytest.raises(ImageError):
            detector(bad)
        with pytest.raises(ImageError):
            detector.batch([dog_path, bad])
    assert detector(dog_path) == expected


def test_a_batch_takes_any_iterable_and_keeps_the_order(
    detector: Detector, dog_path: Path, dog: NDArray[np.uint8]
) -> None:
    blank = np.zeros((20, 30, 3), np.uint8)
    results = detector.batch(image for image in (blank, dog, dog_path, blank))
    assert [len(r) for r in results] == [0, 5, 5, 0]
    assert [r.image_size for r in results] == [(20, 30), (576, 768), (576, 768), (20, 30)]
    assert detector.batch([]) == []


def test_a_result_is_not_changed_by_later_calls(detector: Detector, dog: NDArray[np.uint8]) -> None:
    before = dog.copy()
    found = detector(dog)
    copies = found.xyxy.copy(), found.scores.copy(), found.class_ids.copy()
    detector(np.ascontiguousarray(dog[::-1]))
    for array, copy in zip((found.xyxy, found.scores, found.class_ids), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(dog, before)


def test_threads_that_share_a_detector_get_what_one_gets(
    detector: Detector, mixed_pictures: list[Path]
) -> None:
    expected = [detector(path) for path in mixed_pictures]
    found: dict[int, list[Detections]] = {}

    def work(number: int) -> None:
        order = mixed_pictures[::-1] if number % 2 else mixed_pictures
        results = [detector(path) for path in order] + detector.batch(order)
        found[number] = results if not number % 2 else results[7::-1] + results[:7:-1]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for results in found.values():
        assert results == expected + expected


def test_a_closed_detector_says_so(nano_onnx: Path, dog: NDArray[np.uint8]) -> None:
    with Detector(nano_onnx) as opened:
        opened(dog)
    opened.close()
    for call in (lambda: opened(dog), lambda: opened.batch([dog, dog])):
        with pytest.raises(UsageError, match="closed"):
            call()
    assert opened.spec.num_classes == 80


def test_it_describes_itself(detector: Detector, nano_onnx: Path, dog: NDArray[np.uint8]) -> None:
    assert detector.backend == "onnxruntime"
    assert detector.names[16] == "dog"
    for part in (str(nano_onnx), "onnxruntime", "416x416", "80 classes"):
        assert part in repr(detector)
    seconds = detector(dog).seconds
    assert seconds is not None
    assert all(stage > 0 for stage in seconds[:4])
    assert seconds.total == sum(seconds[:4])


def test_the_official_export_of_non_square_input_does_not_swap_height_and_width(
    data_file: Any, dog: NDArray[np.uint8]
) -> None:
    path = data_file("onnx/yolox_nano_384x640_official.onnx")
    with Detector(path, threads=1) as opened:
        assert (opened.spec.height, opened.spec.width) == (384, 640)
        found = opened(dog)
    best = {d.name: d.xyxy for d in found}
    # Where they are at 416x416, within a few pixels of another resolution.
    np.testing.assert_allclose(best["dog"], [132, 210, 322, 542], atol=30)
    np.testing.assert_allclose(best["car"], [466, 78, 692, 171], atol=30)
    with pytest.raises(UsageError, match="384x640"):
        Detector(path, imgsz=(640, 384))


def test_legacy_weights_get_their_own_input(data_file: Any, dog: NDArray[np.uint8]) -> None:
    path = data_file("weights/yolox_nano_legacy.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        asked = Detector(path, "torch", legacy=True, threads=1)
    for backend in ("torch", "onnxruntime"):
        with pytest.warns(ModelWarning, match="legacy input .* is used, as its weights tell"):
            found = Detector(path, backend, threads=1)
        with found:
            assert found.spec.legacy
            assert [d.name for d in found(dog)[:2]] == ["dog", "bicycle"]
            np.testing.assert_allclose(found(dog).xyxy, asked(dog).xyxy, atol=0.05)
    with pytest.warns(ModelWarning, match="is used as asked for, but its weights look like legacy"):
        wrong = Detector(path, "torch", legacy=False, threads=1)
    with wrong, asked:
        assert not wrong.spec.legacy
        assert "dog" not in {d.name for d in wrong(dog)}


def test_boxes_decoded_in_the_graph_are_not_decoded_again_when_said_so(
    nano_onnx: Path, dog: NDArray[np.uint8], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    from yolox_deploy.tasks.grid import grid_and_strides

    # The decoding appended by hand, as users of the original export do it.
    model = onnx.load(nano_onnx)
    graph, (output,) = model.graph, model.graph.output
    grid, stride = grid_and_strides(416, 416, (8, 16, 32))
    starts = {"s0": 0, "s2": 2, "s4": 4, "s85": 85, "ax": 2}
    for name, value in starts.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    for name, array in (("grid", grid[None]), ("stride", stride[None])):
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    node = onnx.helper.make_node
    graph.node.extend(
        [
            node("Slice", [output.name, "s0", "s2", "ax"], ["xy"]),
            node("Slice", [output.name, "s2", "s4", "ax"], ["wh"]),
            node("Slice", [output.name, "s4", "s85", "ax"], ["scores"]),
            node("Add", ["xy", "grid"], ["xy1"]),
            node("Mul", ["xy1", "stride"], ["xy2"]),
            node("Exp", ["wh"], ["wh1"]),
            node("Mul", ["wh1", "stride"], ["wh2"]),
            node("Concat", ["xy2", "wh2", "scores"], ["decoded"], axis=2),
        ]
    )
    shape = [d.dim_value for d in output.type.tensor_type.shape.dim]
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info("decoded", onnx.TensorProto.FLOAT, shape)
    )
    path = tmp_path / "decoded.onnx"
    onnx.save(model, path)
    with pytest.warns(ModelWarning, match="decoded.onnx carries no spec"):
        opened = Detector(path, decoded=True)
    with opened, Detector(nano_onnx) as plain:
        assert opened.spec.output == "decoded"
        assert close_to(opened(dog), plain(dog))


def test_a_checkpoint_is_exported_once_into_the_cache(
    nano_pth: Path, dog: NDArray[np.uint8], tmp_path: Path
) -> None:
    with Detector(nano_pth, "onnxruntime", threads=1) as first:
        artifact = first.runtime.path
        found = first(dog)
    assert tmp_path / "cache" in artifact.parents
    stamp = artifact.stat().st_mtime_ns
    with Detector(nano_pth, "onnxruntime", threads=1) as second:
        assert second.runtime.path == artifact
        assert second(dog) == found
    assert artifact.stat().st_mtime_ns == stamp
    assert first.spec.verification is not None
    assert first.spec.verification["status"] == "passed"
    with Detector(nano_pth, "torch", threads=1) as direct:
        assert close_to(found, direct(dog))
