import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib brings the fonts that digits are drawn in")
pytest.importorskip("PIL", reason="Pillow rasterises the fonts that digits are drawn in")
pytest.importorskip("rich", reason="rich shows how far the drawing is")

import dataset
import digits as drawing

SEED = 77
COUNT = 40


@pytest.fixture(scope="module")
def drawings():
    return [drawing.draw(SEED, index) for index in range(COUNT)]


def same(first, second):
    return (
        first.jpeg == second.jpeg
        and np.array_equal(first.boxes, second.boxes)
        and np.array_equal(first.labels, second.labels)
    )


def test_a_picture_depends_on_seed_and_index_alone(drawings):
    backwards = [drawing.draw(SEED, index) for index in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(drawings, backwards, strict=False))
    with ProcessPoolExecutor(2) as pool:
        elsewhere = list(pool.map(partial(drawing.draw, SEED), range(12)))
    assert all(same(a, b) for a, b in zip(drawings, elsewhere, strict=False))
    assert not same(drawing.draw(SEED + 1, 1), drawings[1])


@pytest.mark.parametrize("index", range(15))
def test_boxes_are_where_the_picture_changes_when_the_digit_is_left_out(index):
    scene = drawing.compose(SEED, index)
    whole = scene.render().astype(int)
    for number, glyph in enumerate(scene.digits):
        # Every pixel that the digit covers by a quarter or more, found by painting alone:
        # black ground and white paint make the picture itself the coverage.
        height, width = whole.shape[:2]
        alone = np.zeros((height, width, 3), np.uint8)
        white = np.full_like(glyph.paint, 255)
        drawing.Glyph(glyph.label, glyph.x, glyph.y, glyph.coverage, white).paint_on(alone)
        rows, columns = np.nonzero(alone[..., 0] >= drawing.COVERED)
        bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert glyph.box == bounds
        # And in the real scene, nothing changes more than a pixel of antialiasing outside it.
        difference = np.abs(whole - scene.render(without=number)).max(2)
        rows, columns = np.nonzero(difference > 0)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(seen - np.array(glyph.box)).max() <= 2
        assert difference.max() >= 40, "a digit nobody can see"


def test_boxes_lie_inside_and_hardly_overlap(drawings):
    for picture in drawings:
        height, width = picture.image.shape[:2]
        assert min(height, width) >= drawing.MIN_SIDE
        assert max(height, width) <= drawing.MAX_SIDE
        boxes = picture.boxes
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert len(boxes) == len(picture.labels) <= drawing.MAX_DIGITS
        for i, box in enumerate(boxes):
            others = np.delete(boxes, i, 0)
            sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
            shared = np.clip(sides, 0, None).prod(1)
            smaller = np.minimum(
                (others[:, 2:] - others[:, :2]).prod(1), (box[2:] - box[:2]).prod()
            )
            # Neighbours in one slanted line share more than strangers do.
            assert (shared <= 0.45 * smaller).all()


def test_digits_never_cover_each_other():
    for index in range(COUNT):
        scene = drawing.compose(SEED, index)
        count = np.zeros(scene.background.shape[:2], int)
        for glyph in scene.digits:
            height, width = glyph.coverage.shape
            region = count[glyph.y : glyph.y + height, glyph.x : glyph.x + width]
            region += glyph.coverage >= drawing.COVERED
        assert count.max() <= 1, f"picture {index}"


def test_sizes_classes_and_counts_cover_their_range(drawings):
    labels = np.concatenate([d.labels for d in drawings])
    assert set(labels.tolist()) == set(range(10))
    shares = np.concatenate(
        [(d.boxes[:, 3] - d.boxes[:, 1]) / max(d.image.shape[:2]) for d in drawings]
    )
    assert shares.min() < 0.1
    assert shares.max() > 0.4
    counts = [len(d.labels) for d in drawings]
    assert min(counts) == 0
    assert max(counts) >= 9
    ratios = [d.image.shape[1] / d.image.shape[0] for d in drawings]
    assert min(ratios) < 0.7
    assert max(ratios) > 1.7


@pytest.mark.parametrize("family", range(8))
def test_every_font_draws_ten_different_digits(family):
    for font in drawing.font_families()[family]:
        masks = [font.render(name, 64) for name in drawing.CLASS_NAMES]
        assert all(mask.any() for mask in masks), font.name
        assert all(not mask[0].any() and not mask[:, 0].any() for mask in masks), font.name
        tight = [cv2.resize(m[np.ix_(m.any(1), m.any(0))], (24, 32)).astype(int) for m in masks]
        for i in range(10):
            for j in range(i):
                assert np.abs(tight[i] - tight[j]).mean() > 8, f"{font.name}: {i} and {j}"


def test_the_written_set_is_valid_coco(tmp_path):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools judges the COCO file")
    split = dataset.Split("few", SEED, 6)
    path = dataset.ensure_split(tmp_path, split, workers=0)
    document = json.loads(path.read_text())
    assert [c["name"] for c in document["categories"]] == list("0123456789")
    assert min(a["id"] for a in document["annotations"]) == 1
    index = coco.COCO(str(path))
    assert len(index.getImgIds()) == 6
    for number, record in enumerate(document["images"]):
        expected = drawing.draw(SEED, number)
        stored = Path(tmp_path, "few", record["file_name"])
        assert stored.read_bytes() == expected.jpeg
        assert expected.image.shape[:2] == (record["height"], record["width"])
        found = index.loadAnns(index.getAnnIds(record["id"]))
        assert [a["category_id"] - 1 for a in found] == expected.labels.tolist()
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in found)]
        assert np.array_equal(np.array(corners).reshape(-1, 4), expected.boxes)


def test_a_finished_set_is_kept_and_another_one_is_refused(tmp_path):
    from yolox_deploy.errors import UsageError

    split = dataset.Split("few", SEED, 3)
    path = dataset.ensure_split(tmp_path, split, workers=0)
    before = path.stat().st_mtime_ns
    assert dataset.ensure_split(tmp_path, split, workers=0) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="3 pictures of seed 77, expected 4"):
        dataset.ensure_split(tmp_path, dataset.Split("few", SEED, 4), workers=0)


def test_training_never_sees_the_held_out_seed():
    seeds = [split.seed for split in dataset.SPLITS]
    assert len(set(seeds)) == len(seeds)
    assert dataset.HELD_OUT.count == 500
