import json

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib brings the fonts that digits are drawn in")
pytest.importorskip("PIL", reason="Pillow rasterises the fonts that digits are drawn in")

from video import moving_digits, write_video

from yolox_deploy.errors import UsageError

COUNT, SPEED = 40, 7.0


@pytest.fixture(scope="module", params=[3, 4])
def frames(request):
    return list(moving_digits(request.param, COUNT, digits=4, speed=SPEED))


def test_the_same_seed_gives_the_same_frames_and_another_does_not(frames):
    again, other = (list(moving_digits(s, COUNT, digits=4, speed=SPEED)) for s in (3, 99))
    same = [np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True)]
    assert all(same) or not any(same)  # the second parameter is another seed
    assert not np.array_equal(frames[0].image, other[0].image)


def test_boxes_are_the_pixels_that_differ_from_the_ground(frames):
    for frame in frames:
        ground = frame.image[0, 0]
        painted = (frame.image.astype(int) != ground).any(2)
        assert frame.image.shape == (360, 640, 3)
        for x0, y0, x1, y1 in frame.boxes.astype(int):
            inside = painted[y0:y1, x0:x1]
            # The box is tight: each of its borders has paint, within a pixel of thin coverage.
            assert inside.any(0)[[0, -1]].all()
            assert inside.any(1)[[0, -1]].all()
            painted[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = False
        assert not painted.any()


def test_digits_keep_their_size_and_move_smoothly_without_covering_each_other(frames):
    boxes = np.stack([frame.boxes for frame in frames])
    sizes = boxes[..., 2:] - boxes[..., :2]
    assert (sizes == sizes[0]).all()
    steps = np.abs(np.diff(boxes[..., :2], axis=0))
    assert steps.max() <= 1.5 * SPEED + 1
    assert (steps[..., 0].mean(0) > 0.4 * SPEED).all()
    bottoms, tops = boxes[:, :-1, 3], boxes[:, 1:, 1]
    assert (bottoms <= tops).all()
    assert len({tuple(frame.labels) for frame in frames}) == 1


def test_what_is_written_is_what_was_drawn(tmp_path):
    path = write_video(tmp_path / "new", 5, 3, digits=2)
    content = json.loads(path.read_text())
    frames = list(moving_digits(5, 3, digits=2))
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    assert len(content["annotations"]) == 6
    for image, frame in zip(content["images"], frames, strict=True):
        stored = cv2.imread(str(tmp_path / "new" / "frames" / image["file_name"]))
        assert np.array_equal(stored, frame.image)
        entries = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        for entry, box, label in zip(entries, frame.boxes, frame.labels, strict=True):
            x, y, width, height = entry["bbox"]
            assert [x, y, x + width, y + height] == box.tolist()
            assert entry["category_id"] == label + 1


@pytest.mark.parametrize("options", [{"digits": 9}, {"digits": 0}, {"size": (60, 400)}], ids=str)
def test_what_cannot_be_read_is_not_drawn(options):
    with pytest.raises(UsageError, match="cannot be drawn"):
        next(moving_digits(1, 5, **options))
