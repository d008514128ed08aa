"""The survey of networks whose input convention is found from their weights."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tools.checks import legacy_input


def test_legacy_networks_are_found_and_no_others(
    data_file: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = data_file("reference").parent
    for name in ("coco_val/images", "foreign", "onnx", "weights"):
        data_file(name)
    assert legacy_input.main([str(shared), "--no-training"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    counts = re.fullmatch(r"legacy found in (\d+) of (\d+); false alarms: 0 of (\d+)", last)
    assert counts
    found, legacy, others = map(int, counts.groups())
    assert found >= 0.95 * legacy
    assert (legacy, others) >= (50, 80)
