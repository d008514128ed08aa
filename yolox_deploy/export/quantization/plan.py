"""The file of a search: what was found for each engine, to repeat it or to go on with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolox_deploy.errors import InputFileError
from yolox_deploy.export.quantization.search import Row, Trial
from yolox_deploy.files import read_input, write_document
from yolox_deploy.records import Record

FORMAT = "yolox-export --int8"
SUFFIX = ".quantization.json"
LARGEST_FILE = 1 << 26
# On pictures that the search did not see, the drop may be larger by chance, by this factor.
MARGIN = 2


@dataclass
class Search(Record):
    """What is known of one engine's layout.

    ``key`` is the hash of everything that the trials depend on, ``how`` says in one sentence which
    pictures were used for what.  ``floating`` is ``None`` until the search is over; the drops of AP
    (0..1) are those on the pictures of the search, and on others that it did not see.
    """

    key: str
    how: str
    ranges: Mapping[str, Sequence[float]]
    trials: Sequence[Trial] = ()
    floating: Sequence[str] | None = None
    rows: Sequence[Row] = ()
    float_ap: float = 0.0
    drop: float = 0.0
    judged_drop: float = 0.0
    limit: float = 0.0

    def problem(self) -> str:
        """Return one sentence if other pictures show a far larger drop than the search, else ""."""
        if self.judged_drop <= MARGIN * self.limit:
            return ""
        return (
            f"on pictures that the search did not see AP drops by {100 * self.judged_drop:.2f} "
            f"points, more than {MARGIN} times the {100 * self.limit:g} that are allowed: give "
            "more pictures"
        )

    def summary(self) -> dict[str, Any]:
        """Return what the artifact's spec keeps; the drops are points of AP."""
        return {
            "floating": list(self.floating or ()),
            "how": self.how,
            "ap_drop": round(100 * self.drop, 3),
            "judged_ap_drop": round(100 * self.judged_drop, 3),
            "allowed_ap_drop": round(100 * self.limit, 3),
        }


@dataclass
class Plan:
    """The searches by layout; ``file`` is where they are kept."""

    file: Path
    checkpoint_sha256: str
    size: tuple[int, int]
    searches: dict[str, Search] = field(default_factory=dict)

    def difference(self, other: Plan) -> str:
        """Return in one sentence why this is not the plan of ``other``'s model, "" if it is."""
        if self.checkpoint_sha256 != other.checkpoint_sha256:
            mine, theirs = self.checkpoint_sha256[:12], other.checkpoint_sha256[:12]
            return f"it is of another checkpoint (sha256 {mine}..., not {theirs}...)"
        if self.size != other.size:
            mine, theirs = ("x".join(map(str, plan.size)) for plan in (self, other))
            return f"it is of an input of {mine}, not {theirs}"
        return ""

    def write(self) -> None:
        """Write the file, replacing an earlier state; raises :class:`OutputError`."""
        height, width = self.size
        searches = {name: search.to_json() for name, search in self.searches.items()}
        content = {"checkpoint_sha256": self.checkpoint_sha256, "height": height, "width": width}
        write_document(self.file, FORMAT, {**content, "searches": searches})


def read_plan(file: Path) -> Plan:
    """Return what :meth:`Plan.write` wrote; raises :class:`InputFileError` for anything else."""
    try:
        content = json.loads(read_input(file, LARGEST_FILE, "file of a search"))
        if content["format"] != FORMAT or content["version"] != 1:
            raise ValueError(f"its format is {content['format']!r:.60}")
        size = content["height"], content["width"]
        if not all(type(side) is int for side in size):
            raise TypeError("height and width are no whole numbers")
        searches = {str(k): _search(v) for k, v in content["searches"].items()}
        return Plan(file, str(content["checkpoint_sha256"]), size, searches)
    except OSError as error:
        raise InputFileError(f"--quantization {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputFileError(
            f"--quantization {file}: not a file of a search ({type(error).__name__}: "
            f"{error!s:.100}): give the {SUFFIX} file that yolox-export --int8 wrote"
        ) from error


def _search(content: Mapping[str, Any]) -> Search:
    """Return a search whose every value has the type that it is used as."""
    found = Search.from_json(content)
    for low, high in found.ranges.values():
        _finite(low, high)
    for trial in found.trials:
        _finite(trial.ap, trial.saved_ms or 0)
        _texts(trial.quantized)
    for row in found.rows:
        _finite(row.ap_drop, row.saved_ms or 0, row.parts)
        _texts((row.block, *row.floating))
    _texts((found.key, found.how, *(found.floating or ())))
    _finite(found.float_ap, found.drop, found.judged_drop, found.limit)
    return found


def _finite(*values: Any) -> None:
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise TypeError(f"{values!r:.60} are no numbers")


def _texts(values: Sequence[Any]) -> None:
    if not all(type(value) is str for value in values):
        raise TypeError(f"{values!r:.60} are no texts")
