"""The tool that gives damaged files to the commands."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.fuzz.mutations import damaged, damaged_json

ROOT = Path(__file__).parents[2]
DATA = json.dumps({"images": [{"id": 7, "file_name": "a.jpg"}], "x": [1.5, [2]]}).encode()


@pytest.mark.parametrize("damage", [damaged, damaged_json])
def test_damage_is_repeated_by_its_seed_and_differs_between_seeds(damage) -> None:
    results = [damage(DATA, random.Random(seed)) for seed in range(200)]
    assert results == [damage(DATA, random.Random(seed)) for seed in range(200)]
    assert DATA not in [result for result in results if damage is damaged]
    assert len(set(results)) > 100


def test_damaged_files_go_through_the_commands() -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "tools.fuzz", "--count", "6", "--kind", "picture,coco,report"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\w+) +(\d+)  ([\d:, ]+?) +\d+ +(\d+)$", done.stdout, re.M)
    assert [(name, count, problems) for name, count, _, problems in rows] == [
        (name, "2", "0") for name in ("picture", "coco", "report")
    ]
    assert "0: 2" not in [codes for _, _, codes, _ in rows], "no damage was noticed"
