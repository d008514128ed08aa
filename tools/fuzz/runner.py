"""One damaged input, given to its command, and how that must end."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.fuzz.kinds import RESULT, Kind
from tools.trials import Main, Trial


@dataclass(kw_only=True)
class Run(Trial):
    """One input: its ``seed`` and ``number`` repeat it.

    ``expected`` is what the sound input gives, for kinds that are proven.
    """

    kind: Kind
    seed: int = 0
    number: int = -1
    expected: Any = None

    @property
    def name(self) -> str:
        """The kind and the number, as ``--kind`` and ``--only`` take them."""
        return f"{self.kind.name}_{self.number}"

    @property
    def main(self) -> Main:
        """The command."""
        return self.kind.main

    def arguments(self) -> list[str]:
        """Return the arguments of the command."""
        return self.kind.arguments(self.place)

    def lay_out(self) -> None:
        """Write the damaged input into the place."""
        self.place.mkdir(parents=True)
        self.kind.lay_out(self.place, random.Random(f"{self.seed} {self.kind.name} {self.number}"))

    def judge(self) -> str:
        """Return what is wrong: more than a line for an error, other detections."""
        lines = [line for line in self.said().splitlines() if line and line[:5] != "note:"]
        if self.code and len(lines) != 1:
            return f"exit code {self.code} and {len(lines)} lines: " + "\n".join(lines[:4])
        if not self.code and self.kind.proven and found(self.place) != self.expected:
            return "other detections than the sound file gives"
        return ""


def found(place: Path) -> Any:
    """Return the detections that a command wrote, ``None`` if it wrote none."""
    try:
        content = json.loads((place / RESULT).read_text())
        return [picture["detections"] for picture in content["pictures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
