"""The policy of the search, on made-up measurements; it needs no engine and no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.errors import InputFileError
from yolox_deploy.export.quantization.graph import unit_of_weight
from yolox_deploy.export.quantization.plan import Plan, Search, read_plan
from yolox_deploy.export.quantization.search import Trial, find_largest, most_trials
from yolox_deploy.export.quantization.speed import ROUNDS, ratio_of

UNITS = ("stem", "dark2/0", "dark2/1", "dark3/0", "dark3/1", "neck")
# What each unit costs when it is rounded.
COSTS = {"stem": 0.1, "dark2/0": 0.2, "dark2/1": 0.01, "neck": 0.003}


class Measured:
    """AP falls by the costs of the units that are quantized."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], bool]] = []

    def __call__(self, quantized: Sequence[str], timed: bool) -> Trial:
        self.asked.append((tuple(quantized), timed))
        return Trial(quantized, 0.5 - sum(COSTS.get(unit, 0.001) for unit in quantized))


def test_what_costs_little_is_quantized_and_blocks_are_opened_where_one_part_costs_much() -> None:
    found = find_largest(UNITS, 0.02, Measured())
    assert found.floating == ("stem", "dark2/0")
    assert found.float_ap - found.ap == pytest.approx(0.015)
    kept = {row.block: row.kept for row in found.rows}
    assert kept == {"stem": "float", "dark2": "INT8 but 0", "dark3": "INT8", "neck": "INT8"}


@pytest.mark.parametrize(("limit", "floating"), [(1, ()), (0, UNITS)])
def test_a_generous_limit_quantizes_all_and_none_leaves_all(
    limit: float, floating: tuple[str, ...]
) -> None:
    measure = Measured()
    found = find_largest(UNITS, limit, measure)
    assert found.floating == floating
    assert len(measure.asked) <= most_trials(UNITS)


def test_only_the_trials_of_single_blocks_are_timed() -> None:
    measure = Measured()
    find_largest(UNITS, 0.02, measure)
    timed = [quantized for quantized, asks in measure.asked if asks]
    assert timed == [("stem",), ("dark2/0", "dark2/1"), ("dark3/0", "dark3/1"), ("neck",)]


@pytest.mark.parametrize(
    ("weight", "unit"),
    [
        ("network.backbone.backbone.stem.conv.weight", "stem"),
        ("network.backbone.backbone.dark3.1.m.0.conv1.conv.weight", "dark3/dark3.1"),
        ("network.backbone.C3_p4.conv1.conv.weight", "neck/C3_p4"),
        ("network.backbone.lateral_conv0.conv.weight", "neck/lateral_conv0"),
        ("network.head.stems.1.conv.weight", "head of stride 16/stem"),
        ("network.head.reg_convs.2.0.dconv.conv.weight", "head of stride 32/reg"),
        ("network.head.obj_preds.0.weight", "predictions/obj of stride 8"),
    ],
)
def test_a_convolution_belongs_to_a_part_of_the_network(weight: str, unit: str) -> None:
    assert unit_of_weight(weight, (8, 16, 32)) == unit


def test_int8_is_surely_faster_only_if_the_whole_interval_is() -> None:
    other = [10.0] * ROUNDS
    assert ratio_of("fp32", [6.0] * ROUNDS, other).surely_faster
    scattered = ratio_of("bf16", [7.0] * (ROUNDS - 5) + [11.0] * 5, other)
    assert scattered.ratio == pytest.approx(0.7)
    assert not scattered.surely_faster
    assert "0.70 times (0.70 to 1.10) the time of BF16" in str(scattered)
    assert "--precision bf16" in scattered.advice


def plan_in(folder: Path) -> Plan:
    search = Search("key", "how", {"a": (0.0, 1.5)}, [Trial(["stem"], 0.4, 1.25)], ["neck"])
    return Plan(folder / "a.quantization.json", "0" * 64, (416, 416), {"onnxruntime": search})


def test_a_search_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    plan.write()
    found = read_plan(plan.file)
    assert found.difference(plan) == ""
    (search,) = found.searches.values()
    assert search.floating == ("neck",)
    assert search.ranges == {"a": (0.0, 1.5)}
    assert [(t.quantized, t.ap, t.saved_ms) for t in search.trials] == [(("stem",), 0.4, 1.25)]


def damaged(content: Any, *path: Any, value: Any) -> Any:
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "yolox-bench"),
        (("height",), "416"),
        (("searches",), [1]),
        (("searches", "onnxruntime", "ranges", "a"), [0]),
        (("searches", "onnxruntime", "ranges", "a"), [0, "x"]),
        (("searches", "onnxruntime", "ranges", "a"), [0, float("nan")]),
        (("searches", "onnxruntime", "floating"), [3]),
        (("searches", "onnxruntime", "trials"), [{"quantized": ["a"], "ap": "high"}]),
        (("searches", "onnxruntime", "rows"), [{}]),
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, path: Any, value: Any) -> None:
    plan = plan_in(tmp_path)
    plan.write()
    content = json.loads(plan.file.read_text())
    plan.file.write_text(json.dumps(damaged(content, *path, value=value)))
    with pytest.raises(InputFileError, match="not a file of a search") as refused:
        read_plan(plan.file)
    assert "\n" not in str(refused.value)


def test_a_file_of_another_model_is_told_apart(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    assert "another checkpoint" in plan.difference(Plan(plan.file, "1" * 64, (416, 416)))
    assert "416x416, not 320x416" in plan.difference(Plan(plan.file, "0" * 64, (320, 416)))
