"""How the output of a model without a spec is judged: real outputs, stored in other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy.errors import ArtifactError
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image
from yolox_deploy.runtimes import Runtime
from yolox_deploy.runtimes.foreign.output import output_kind
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.tasks.grid import grid_and_strides

Array = NDArray[np.float32]
Change = Callable[[Array], Array]

PICTURES = [read_image(path) for path in sorted(ASSETS.glob("drawn_*.jpg"))]
FILES = {
    "plain": "onnx/yolox_nano_official.onnx",
    "not square": "onnx/yolox_nano_384x640_official.onnx",
    "legacy": "foreign/yolox_nano_legacy_416.onnx",
    "one class": "foreign/yolox_nano_fish_416.onnx",
}


@pytest.fixture(scope="module", params=FILES)
def runtime(request: pytest.FixtureRequest, data_file: Any) -> Iterator[Runtime]:
    path = data_file(FILES[request.param])
    with BACKENDS["onnxruntime"].runtime_class()(path, threads=1) as opened:
        yield opened


def judged(runtime: Runtime, change: Change = lambda rows: rows) -> tuple[str, str]:
    # Every way is tried on the same few outputs.
    known: dict[bytes, Array] = runtime.__dict__.setdefault("outputs", {})

    def run(images: Array) -> Array:
        key = images.tobytes()
        if key not in known:
            known[key] = runtime.infer(images)[0].copy()
        return change(known[key].copy())[None]

    return output_kind("x.onnx", runtime.spec, run, PICTURES)


def levels(runtime: Runtime) -> list[NDArray[np.int64]]:
    """Return the indices of the rows of each stride, as they lie in the picture."""
    spec, start, found = runtime.spec, 0, []
    for stride in spec.strides:
        shape = spec.height // stride, spec.width // stride
        found.append(np.arange(start, start + shape[0] * shape[1]).reshape(shape))
        start += found[-1].size
    return found


def decoder(runtime: Runtime) -> Change:
    spec = runtime.spec
    grid, stride = grid_and_strides(spec.height, spec.width, spec.strides)

    def decode(rows: Array) -> Array:
        rows[:, :2] = (rows[:, :2] + grid) * stride
        rows[:, 2:4] = np.exp(rows[:, 2:4]) * stride
        return rows

    return decode


def test_raw_and_decoded_boxes_are_told_apart(runtime: Runtime) -> None:
    kind, seen = judged(runtime)
    assert kind == "raw"
    assert "do not follow the grid" in seen
    assert judged(runtime, decoder(runtime))[0] == "decoded"


def corners(rows: Array) -> Array:
    half = rows[:, 2:4] / 2
    return np.concatenate((rows[:, :2] - half, rows[:, :2] + half, rows[:, 4:]), 1)


def logits(rows: Array) -> Array:
    with np.errstate(divide="ignore"):
        rows[:, 4:] = np.log(rows[:, 4:] / (1 - rows[:, 4:])).clip(-50, 50)
    return rows


def columns(start: int, stop: int, how: Callable[[Array], Any]) -> Change:
    def change(rows: Array) -> Array:
        rows[:, start:stop] = how(rows[:, start:stop])
        return rows

    return change


# Name to what is done to decoded rows, and what the refusal says.
DECODED: dict[str, tuple[Change, str]] = {
    "corners": (corners, "two corners"),
    "shares of the input": (
        columns(0, 4, lambda boxes: boxes / 416),
        r"in units of 4\d\d.* pixels",
    ),
    "in eighths": (columns(0, 4, lambda boxes: boxes / 8), r"in units of 8\.\d+ pixels"),
    "rows and columns of pixels": (columns(0, 2, lambda xy: xy[:, ::-1]), "another order"),
}
# The same for raw rows.
RAW: dict[str, tuple[Change, str]] = {
    "logits": (logits, "50 .* 0 to 1: these are logits"),
    "sizes without logarithm": (columns(2, 4, np.exp), "neither decoded nor raw"),
    "percent": (columns(4, 6, lambda p: 100 * p), "0 to 1"),
    "one objectness": (columns(4, 5, np.ones_like), "objectness 1 everywhere"),
    "not a number": (columns(5, 6, lambda p: p * np.nan), "not finite"),
    "read as columns": (lambda rows: rows.T.copy().reshape(rows.shape), "."),
}


@pytest.mark.parametrize("way", DECODED)
def test_boxes_in_other_units_are_refused(way: str, runtime: Runtime) -> None:
    change, message = DECODED[way]
    decode = decoder(runtime)
    with pytest.raises(ArtifactError, match=rf"x\.onnx returns .*{message}.*yolox-export"):
        judged(runtime, lambda rows: change(decode(rows)))


@pytest.mark.parametrize("way", RAW)
def test_columns_of_another_kind_are_refused(way: str, runtime: Runtime) -> None:
    change, message = RAW[way]
    with pytest.raises(ArtifactError, match=rf"x\.onnx returns .*{message}.*yolox-export"):
        judged(runtime, change)


ORDERS: dict[str, Callable[[list[NDArray[np.int64]]], list[NDArray[np.int64]]]] = {
    "largest stride first": lambda found: found[::-1],
    "column by column": lambda found: [level.T for level in found],
    "from below": lambda found: [level[::-1] for level in found],
    "from the right": lambda found: [level[:, ::-1] for level in found],
    "at random": lambda found: [
        np.random.default_rng(0).permutation(np.concatenate([level.ravel() for level in found]))
    ],
}


@pytest.mark.parametrize("order", ORDERS)
def test_raw_rows_in_another_order_are_refused(order: str, runtime: Runtime) -> None:
    index = np.concatenate([level.ravel() for level in ORDERS[order](levels(runtime))])
    with pytest.raises(ArtifactError, match=r"rows in another order .* does not move with it"):
        judged(runtime, lambda rows: rows[index])


@pytest.mark.parametrize("side", [32, 64, 96, 160, 320])
def test_small_inputs_raise_no_alarm(side: int, model_for: Any) -> None:
    path, arguments = model_for("torch", (side, side))
    del arguments["backend"], arguments["imgsz"]
    from yolox_deploy.spec import SpecHints

    hints = SpecHints(imgsz=(side, side))
    with BACKENDS["torch"].runtime_class()(Path(path), hints=hints, **arguments) as runtime:
        assert judged(runtime)[0] == "raw"
        assert judged(runtime, decoder(runtime))[0] == "decoded"
