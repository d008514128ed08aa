"""MLPerf LoadGen's logs, and how many queries it needs before it is sure of a percentile."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.errors import InputFileError

# LoadGen's confidence that the percentile it reports is not exceeded.
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Log:
    """What ``mlperf_log_detail.txt`` says: the last value of every key, and all its errors."""

    values: dict[str, Any]
    errors: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """LoadGen's verdict."""
        return bool(self.values["result_validity"] == "VALID")

    @property
    def why_not(self) -> str:
        """The reasons of an invalid result, in LoadGen's words."""
        if self.valid:
            return ""
        early = not self.values.get("early_stopping_met", True)
        texts = [self.values.get("result_invalid_reason", "")]
        texts += [self.values.get("early_stopping_result", "")] if early else []
        return " ".join(" ".join([*texts, *self.errors]).replace(" * ", " ").split()).rstrip(".")

    def seconds(self, key: str) -> float | None:
        """Return a time that the log states in nanoseconds, ``None`` if it states none or 0."""
        value = self.values.get(key)
        return value / 1e9 if value else None

    def percentile(self, percent: float, kind: str = "latency") -> float | None:
        """Return a percentile of latency in seconds, ``query_latency`` that of whole queries."""
        kind = "per_query_latency" if kind == "query_latency" else kind
        return self.seconds(f"result_{percent:.2f}_percentile_{kind}_ns")


def read_log(folder: Path) -> Log:
    """Return what LoadGen logged; raises :class:`InputFileError` if it is incomplete."""
    path = folder / "mlperf_log_detail.txt"
    values: dict[str, Any] = {}
    errors = []
    try:
        for line in path.read_text("utf-8").splitlines():
            if line.startswith(":::MLLOG "):
                entry = json.loads(line.removeprefix(":::MLLOG "))
                values[entry["key"]] = entry["value"]
                if entry["metadata"]["is_error"]:
                    errors.append(str(entry["value"]))
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputFileError(f"{path}: no log of LoadGen ({error!r:.120})") from error
    return Log(values, tuple(errors))


def read_accuracy(folder: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each picture's number and what the system answered, every picture once."""
    path = folder / "mlperf_log_accuracy.json"
    try:
        entries = json.loads(path.read_text("utf-8"))
        answers = {int(e["qsl_idx"]): bytes.fromhex(e["data"]) for e in entries}
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputFileError(f"{path}: no accuracy log of LoadGen ({error!r:.120})") from error
    yield from sorted(answers.items())


def queries_needed(percent: float, over: int = 1) -> int:
    """Return how many queries LoadGen's early stopping needs: 64 for p90, 662 for p99.

    If the percentile does not hold, at most ``over`` of them lie beyond it with a chance under 1 %.
    """
    share = 1 - percent / 100
    count = over + 1
    while _chance_of_at_most(over, count, share) >= 1 - CONFIDENCE:
        count += 1
    return count


def _chance_of_at_most(over: int, count: int, share: float) -> float:
    return math.fsum(
        math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(over + 1)
    )
