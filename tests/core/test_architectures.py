"""The table of architectures beside its source, and how names are looked up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from yolox_deploy.architectures import ARCHITECTURES, BY_COST, architecture, published
from yolox_deploy.errors import UsageError


def test_published_figures_are_those_of_the_source(data_file: Any) -> None:
    text = data_file("reference/published.md").read_text()
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if name in ARCHITECTURES:
            rows.setdefault(name, cells)  # the first table is the model zoo
    assert set(rows) == set(ARCHITECTURES)
    for name, row in ARCHITECTURES.items():
        side, ap, _, milliseconds, parameters, gflops = rows[name][:6]
        assert (int(side), float(ap)) == (row.test_size, row.ap)
        assert (None if milliseconds == "-" else float(milliseconds)) == row.v100_ms
        assert float(gflops) == row.gflops
        assert row.params_m is not None
        assert float(parameters) == pytest.approx(row.params_m, abs=0.05)


def test_the_order_of_cost_is_that_of_the_operations() -> None:
    assert BY_COST == ("nano", "tiny", "s", "m", "l", "darknet53", "x")


def test_published_figures_are_for_their_input_size_only() -> None:
    assert published("s", 640, 640) is ARCHITECTURES["s"]
    assert published("s", 416, 416) is None
    assert published("s", 640, 416) is None
    assert published("custom", 640, 640) is None
    assert published(None, 640, 640) is None


def test_no_two_rows_share_a_name_or_a_file() -> None:
    names = [name for row in ARCHITECTURES.values() for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))
    files = [row.release for row in ARCHITECTURES.values()]
    assert len(files) == len(set(files))


def test_the_activation_belongs_to_the_backbone() -> None:
    assert (ARCHITECTURES["darknet53"].act, ARCHITECTURES["l"].act) == ("lrelu", "silu")
    assert replace(ARCHITECTURES["l"], darknet53=True).act == "lrelu"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s", "s"),
        ("yolox_s", "s"),
        ("YOLOX-S", "s"),
        ("yolox-darknet53", "darknet53"),
        ("yolox_darknet", "darknet53"),
        ("yolov3", "darknet53"),
        ("darknet", "darknet53"),
    ],
)
def test_names_are_understood_as_people_write_them(given: str, expected: str) -> None:
    assert architecture(given).name == expected


@pytest.mark.parametrize("given", ["nao", "yolox_nanoo", "", "yolov8"])
def test_an_unknown_name_is_refused_with_the_known_ones(given: str) -> None:
    with pytest.raises(UsageError, match="nano, tiny, s, m, l, x, darknet53") as caught:
        architecture(given)
    assert ("did you mean 'nano'" in str(caught.value)) == ("na" in given)
