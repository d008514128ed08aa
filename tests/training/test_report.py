"""The report of a run: its figures are right, and its page shows what the run came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_deploy.data.ap import AveragePrecision, Evaluated
from yolox_deploy.tasks import Detections
from yolox_deploy.training.data.pictures import AnnotatedPicture, CocoPictures
from yolox_deploy.training.report.charts import curves
from yolox_deploy.training.report.judgement import Judgement, judge
from yolox_deploy.training.report.outcome import Outcome
from yolox_deploy.training.report.page import verdict, write_report
from yolox_deploy.training.report.results import EpochResult

HOSTILE = '<script>alert("1")</script>\'$\\frac{'
NAMES = ["cat", HOSTILE]
Figures = Callable[..., Judgement]


def picture(path: Path, number: int, *rows: tuple[int, float]) -> AnnotatedPicture:
    """A picture of 100 x 80 with boxes of 20 x 20 from the x of each row of class and x."""
    if not path.exists():
        cv2.imwrite(str(path), np.full((80, 100, 3), 90, np.uint8))
    boxes = np.array([[x, 10, x + 20, 30] for _, x in rows], np.float32).reshape(-1, 4)
    labels = np.array([label for label, _ in rows], np.int64)
    return AnnotatedPicture(path, number, (80, 100), boxes, labels)


def found(*rows: tuple[int, float, float]) -> Detections:
    """Detections of class, x and score, best first."""
    boxes = np.array([[x, 10, x + 20, 30] for _, x, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for *_, score in rows], np.float32)
    return Detections(boxes, scores, np.array([label for label, *_ in rows], np.int64))


def figures(ap: float) -> AveragePrecision:
    return AveragePrecision(ap, ap, ap, None, ap, None)


@pytest.fixture
def judged(tmp_path: Path) -> Judgement:
    """Two objects found, one taken for another class, one missed; noise, and one in a crowd."""
    data = CocoPictures(NAMES)
    data.pictures = [
        picture(tmp_path / "1.png", 1, (0, 0), (1, 40)),
        picture(tmp_path / "2.png", 2, (0, 0), (1, 60)),
        picture(tmp_path / "3.png", 3),
    ]
    data.truth = [{"image_id": 3, "category_id": 0, "bbox": [0, 0, 100, 40], "iscrowd": 1}]
    results = [
        found((0, 2, 0.9), (1, 41, 0.8), (0, 1, 0.3)),
        found((1, 1, 0.6), (0, 30, 0.05)),
        found((0, 50, 0.95), (1, 50, 0.2)),
    ]
    return judge(data, results, Evaluated(figures(0.5), {0: 0.4, 1: 0.6}, None))


def test_precision_recall_and_confusion_are_those_counted_by_hand(judged: Judgement) -> None:
    assert judged.by_class == [0.4, 0.6]
    assert judged.objects == [2, 2]
    # Above 0.3 three detections count: two are right, one has the wrong class.
    assert judged.precision[39] == pytest.approx(2 / 3)
    assert judged.recall[39] == 0.5
    assert judged.precision[2] == pytest.approx(2 / 6)
    assert judged.precision[98] is None
    # From 0.61 to 0.80 nothing that is found is wrong, and as much is found.
    assert judged.threshold == pytest.approx(0.71)
    assert judged.at_threshold() == (1.0, 0.5)
    assert judged.mistakes == [[0, -1, 1], [0, 0, 1], [1, -1, 1], [1, 1, 1]]
    (worst,) = judged.worst
    assert (Path(worst.path).name, worst.missed, worst.wrong) == ("2.png", 2, 0)
    assert Judgement.from_plain(judged.plain()) == judged


def test_an_object_of_another_class_is_confused(tmp_path: Path) -> None:
    data = CocoPictures(NAMES, [picture(tmp_path / "1.png", 1, (0, 0), (0, 50))])
    result = [found((0, 50, 0.9), (1, 1, 0.9), (1, 80, 0.9))]
    judged = judge(data, result, Evaluated(figures(0.5), {0: 0.5}, None))
    assert judged.mistakes == [[-1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert judged.by_class == [0.5, None]
    nothing = judge(data, [found()], Evaluated(figures(0.0), {0: 0.0}, None))
    assert nothing.threshold is None
    assert nothing.mistakes == [[0, -1, 2]]


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def epoch(number: int, ap: float | None) -> EpochResult:
    return EpochResult(number, 3.0, 1.0, 1.0, 1.0, 0.0, 5.0, 0.01, 9.0, 2.0, ap, ap, ap)


@pytest.fixture
def outcome(judged: Judgement, tmp_path: Path) -> Outcome:
    (tmp_path / "run & co").mkdir()
    return Outcome(
        tmp_path / "run & co",
        {"recipe": {"epochs": 2, "lr": 0.1}, "weights": HOSTILE},
        NAMES,
        [f"training: {HOSTILE}"],
        [epoch(1, None), epoch(2, 0.5)],
        replace(judged, figures=figures(0.3)),
        judged,
        True,
        tmp_path / "1.png",
        ended=True,
    )


def test_a_page_needs_nothing_else_and_shows_names_as_they_are(outcome: Outcome) -> None:
    write_report(outcome)
    page = outcome.report_path.read_text("utf-8")
    read = Read(page)
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "link", "iframe", "object"})
    for _, attributes in read.tags:
        assert not any(name.startswith("on") or name == "href" for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
    pictures = [attributes for tag, attributes in read.tags if tag == "img"]
    assert len(pictures) == 3
    assert all(picture["alt"] for picture in pictures)
    assert "http" not in page
    assert "color-scheme: light dark" in page
    assert read.words.count(HOSTILE) >= 3
    assert next(attributes for tag, attributes in read.tags if tag == "p") == {"class": "good"}
    headings = [attributes for tag, attributes in read.tags if tag == "h2"]
    assert len(headings) == 9
    model = f"'{outcome.best_path.absolute()}'"
    assert any(f"--model {model} --to onnx --verify " in word for word in read.words)
    for name in ("results.png", "scores.png", "worst.jpg"):
        assert cv2.imread(str(outcome.folder / name)) is not None
    # Two pictures of 560 beside each other, with their titles above.
    assert cv2.imread(str(outcome.folder / "worst.jpg")).shape == (482, 1144, 3)


LATER = [epoch(1, None), epoch(2, 0.2)]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({}, "good", "best.pth is of epoch 2: AP 0.5000, before training 0.3000"),
        ({"ended": False}, "going", "When this page was written, 2 of 2 epochs were done"),
        ({"problem": "it was stopped"}, "bad", "ended early, after 2 of 2 epochs: it was stopped"),
        ({"history": [], "problem": "the loss is nan"}, "bad", "0 of 2 epochs: the loss is nan"),
        ({"history": LATER}, "bad", "o epoch was better than the start, so best.pth holds the"),
        (
            {"history": LATER, "full_epochs": 30},
            "bad",
            ". This run has 2 epochs, the recipe for its pictures has 30. Try a lower --lr",
        ),
        ({"history": LATER}, "bad", "The last epoch had AP 0.2000."),
        ({"history": LATER[:1], "validated": False}, "good", "AP was not measured"),
    ],
)
def test_what_a_run_came_to_is_said_first(
    outcome: Outcome, changes: dict[str, Any], kind: str, words: str
) -> None:
    text, found_kind = verdict(replace(outcome, **changes))
    assert found_kind == kind
    assert words in text


def test_ap_of_nothing_looks_like_nothing(outcome: Outcome, judged: Judgement) -> None:
    broken = replace(judged, figures=figures(0.0), threshold=None, worst=[])
    write_report(
        replace(outcome, before=None, trained=broken, history=[epoch(1, 0.0), epoch(2, 0.0)])
    )
    page = outcome.report_path.read_text("utf-8")
    assert '<p class="bad">' in page
    assert "Nothing that the model found on the validation pictures was right." in page
    charts = [curves((epoch(1, ap), epoch(2, 2 * ap))) for ap in (0.0, 0.0005)]
    assert charts[0] != charts[1]
