"""Names what is wrong with an artifact that does not detect what its checkpoint detects.

First what goes into the network is compared with what the checkpoint was given.  If that is right,
inputs of other conventions are tried: if the artifact detects what it should with one of them, its
graph takes its input in that way.  What is left is the precision, the weights, or the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import task_of
from yolox_deploy.verification.compare import Array
from yolox_deploy.verification.evidence import Witness, grid_of

# Of 255 levels: rounding; and what another decoder or another resizing may change.
SAME, SLIGHT = 0.01, 3.0
# Pixels within which a shift in both directions is looked for; in one direction it may be any.
NEAR = 32
# So many points of the grid must be seen of a shifted picture.
GRID_SEEN = 16
# Pictures that other inputs are tried with.
TRIED = 2
Image = NDArray[np.uint8]


class Judged(Protocol):
    """What is asked whether outputs are right; see :class:`~.again.Trial`."""

    precision: str
    witnesses: list[Witness]

    def only(self, pictures: list[int]) -> Judged:
        """Return the same for some of the pictures."""
        ...

    def run(self, inputs: NDArray[Any]) -> list[Array]:
        """Return the artifact's output for each picture."""
        ...

    def problems(self, outputs: list[Array], precision: str = "") -> list[str]:
        """Return what exceeds the tolerance of a precision ("": the promised one)."""
        ...


def conventions(stated: InputConvention, expected: InputConvention) -> list[str]:
    """Return in words how the input that a spec states differs from the checkpoint's."""
    if stated == expected:
        return []
    for convention, name in ((LEGACY_INPUT, "legacy"), (RAW_INPUT, "plain")):
        if stated == convention and expected in (LEGACY_INPUT, RAW_INPUT):
            other = "plain" if name == "legacy" else "legacy"
            return [f"it states {name} input, and the checkpoint was given {other} input"]
    return [
        f"the {name.replace('_', ' ')} that it states is {words_of(getattr(stated, name))}, and "
        f"the checkpoint was given {words_of(getattr(expected, name))}"
        for name in ("colour_order", "scale", "mean", "std", "pad_value")
        if getattr(stated, name) != getattr(expected, name)
    ]


def words_of(value: str | float | Sequence[float]) -> str:
    """Return a value of a convention as a text."""
    if isinstance(value, str):
        return value
    return ", ".join(f"{number:.6g}" for number in np.atleast_1d(np.asarray(value, float)))


def as_inputs(
    spec: ModelSpec, images: Sequence[Image], convention: InputConvention | None = None
) -> NDArray[Any]:
    """Return pictures (h, w, 3) uint8 BGR as an artifact takes them.

    With a ``convention`` they are what the network behind it sees then, (N, 3, H, W) float32.
    """
    stated = spec if convention is None else replace(spec, pixels=False)
    inputs: NDArray[Any] = np.empty((len(images), *stated.input_shape[1:]), stated.input_type)
    letterbox = Letterbox(spec.height, spec.width, convention or spec.input)
    for image, out in zip(images, inputs, strict=True):
        letterbox(image, out)
    return inputs


def sampled(inputs: Array) -> Array:
    """Return the values of inputs (N, 3, H, W) at the points of the grid, (N, points, 3)."""
    ys, xs = grid_of(*inputs.shape[2:])
    return np.ascontiguousarray(inputs[:, :, ys, xs].transpose(0, 2, 1))


def input_fault(
    inputs: Array,
    expected: Array,
    convention: InputConvention,
    sizes: Sequence[tuple[int, int]],
) -> tuple[str, float]:
    """Return how inputs differ from the expected ones: a fault in words, and a slight change.

    ``inputs`` are (N, 3, H, W) float32, of ``expected`` only the :func:`sampled` values are known;
    ``sizes`` are the pictures' (height, width).  A change that decoders and resizing explain is no
    fault; it is returned in levels of 255, 0 if there is none.
    """
    height, width = inputs.shape[2:]
    ys, xs = grid_of(height, width)
    unit = np.abs(convention.scale / np.asarray(convention.std))
    found = sampled(inputs)
    levels = np.abs(found - expected) / unit
    if levels.max() <= SAME:
        return "", 0.0
    letterbox = Letterbox(height, width, convention)
    ratios = [letterbox.ratio(*size) for size in sizes]
    inside = np.stack(
        [
            (ys < int(h * ratio)) & (xs < int(w * ratio))
            for (h, w), ratio in zip(sizes, ratios, strict=True)
        ]
    )
    padded = levels[~inside].max(initial=0)
    if padded <= SAME and levels.max() <= SLIGHT:
        return "", float(levels.max())
    if np.abs(found[..., ::-1] - expected).max() / unit.max() <= SLIGHT:
        return "the colours of the input are in the other order", 0.0
    factor = float((found * expected).sum() / max((found * found).sum(), 1e-12))
    if (np.abs(found * factor - expected) / unit).max() <= SLIGHT:
        return f"the values of the input are {1 / factor:.4g} times as large as they should be", 0.0
    if levels[inside].max(initial=0) <= SLIGHT:
        grey, wanted = (
            (values[~inside].mean(0) * convention.std + convention.mean) / convention.scale
            for values in (found, expected)
        )
        return f"the pad value is {grey.mean():.0f}, and should be {wanted.mean():.0f}", 0.0
    for index, size in enumerate(sizes):
        if shift := _shift(inputs[index], expected[index], inside[index], unit):
            rest = height - int(size[0] * ratios[index]), width - int(size[1] * ratios[index])
            if shift == (rest[0] // 2, rest[1] // 2):
                return "the pictures lie in the middle of the input, not at its top left", 0.0
            down, right = shift
            words = f"{abs(down)} pixels {'lower' if down >= 0 else 'higher'} and {abs(right)} "
            words += f"further {'right' if right >= 0 else 'left'}"
            return f"the pictures lie {words} in the input than they should", 0.0
    return f"the pixels of the input differ by up to {levels.max():.0f} of 255 levels", 0.0


def _shift(
    found: Array, expected: Array, inside: NDArray[np.bool_], unit: NDArray[np.float64]
) -> tuple[int, int] | None:
    """Return by how many pixels down and right a picture is shifted, ``None`` if it is not.

    ``found`` (3, H, W) is its input here; of ``expected`` (points, 3) those ``inside`` count.
    """
    height, width = found.shape[1:]
    ys, xs = grid_of(height, width)
    near = range(-NEAR, NEAR + 1)
    candidates = {
        *((dy, 0) for dy in range(-height // 2, height // 2)),
        *((0, dx) for dx in range(-width // 2, width // 2)),
        *((dy, dx) for dy in near for dx in near),
    }
    best, least = (0, 0), np.inf
    for dy, dx in sorted(candidates, key=lambda shift: (abs(shift[0]) + abs(shift[1]), shift)):
        y, x = ys + dy, xs + dx
        seen = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        if seen.sum() < GRID_SEEN:
            continue
        change = float((np.abs(found[:, y[seen], x[seen]].T - expected[seen]) / unit).mean())
        if change < least:
            best, least = (dy, dx), change
    return best if least <= SLIGHT and best != (0, 0) else None


def other_inputs(spec: ModelSpec, images: Sequence[Image]) -> Iterator[tuple[str, Array]]:
    """Yield the pictures as inputs of other conventions, each with its name.

    An artifact that takes pixels prepares them itself, so there are none for it.
    """
    if spec.pixels:
        return
    given: Array = as_inputs(spec, images, spec.input)
    for order in ((2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)):
        colours = "".join(spec.input.colour_order[channel] for channel in order)
        yield f"its colours in the order {colours}", np.ascontiguousarray(given[:, list(order)])
    yield "values divided by 255", given / np.float32(255)
    yield "values multiplied by 255", given * np.float32(255)
    for convention, name in ((RAW_INPUT, "plain input"), (LEGACY_INPUT, "legacy input")):
        if convention != spec.input:
            yield name, as_inputs(spec, images, convention)
    for pad in (0, 127, 128, 255):
        if pad != spec.input.pad_value:
            yield f"pad value {pad}", as_inputs(spec, images, replace(spec.input, pad_value=pad))
    yield "the pictures in the middle of the input", _centred(spec, images, given)


def _centred(spec: ModelSpec, images: Sequence[Image], given: Array) -> Array:
    letterbox = Letterbox(spec.height, spec.width, spec.input)
    moved = []
    for image, one in zip(images, given, strict=True):
        ratio = letterbox.ratio(*image.shape[:2])
        sides = (int(image.shape[0] * ratio), int(image.shape[1] * ratio))
        rest = (spec.height - sides[0], spec.width - sides[1])
        moved.append(np.roll(one, (rest[0] // 2, rest[1] // 2), (1, 2)))
    return np.stack(moved)


def name_fault(
    trial: Judged, spec: ModelSpec, images: Sequence[Image], outputs: list[Array]
) -> str:
    """Return in words what is wrong where the input is right and the outputs are not."""
    every = range(len(images))
    failing = [i for i in every if trial.only([i]).problems([outputs[i]])][:TRIED]
    few = trial.only(failing)
    for name, inputs in other_inputs(spec, [images[i] for i in failing]) if failing else ():
        if not few.problems(few.run(inputs)):
            return f"its graph takes another input: with {name} it detects what it should"
    order = list(task_of(spec).tolerances)
    rows, values = [w.rows for w in trial.witnesses], [w.values for w in trial.witnesses]
    place = where(rows, values, [o[r] for o, r in zip(outputs, rows, strict=True)], spec)
    place = place and f"; {place}"
    for coarser in order[order.index(trial.precision) + 1 :]:
        if not trial.problems(outputs, coarser):
            return (
                f"it differs as little as {coarser} would: the engine computes in a lower precision"
                f" than {trial.precision}, or weights were rounded or damaged{place}"
            )
    return f"the input is right, and the weights or the graph are not{place}"


def where(
    rows: Sequence[NDArray[np.int64]],
    values: Sequence[Array],
    found: Sequence[Array],
    spec: ModelSpec,
) -> str:
    """Return in words in which rows and columns raw outputs differ, "" if in all or not known.

    Of each picture there are the indices of some rows, the expected values, and those found.
    """
    if spec.output != "raw":
        return ""
    task = task_of(spec)
    bounds = np.cumsum([(spec.height // s) * (spec.width // s) for s in spec.strides])
    level = np.concatenate([np.searchsorted(bounds, one, side="right") for one in rows])
    change = np.abs(np.concatenate(found) - np.concatenate(values))
    # What is a hundredth of the largest change is noise beside it.
    differs = ~(change <= 0.01 * np.nanmax(change, initial=0))
    strides = [s for i, s in enumerate(spec.strides) if differs[level == i].any()]
    parts = {name: part for name, part in task.columns(spec).items() if differs[:, part].any()}
    words = []
    if len(strides) < len(spec.strides):
        words.append(f"rows of stride {' and '.join(map(str, strides))}")
    if "classes" in parts and len(parts) == 1:
        ids = np.flatnonzero(differs[:, parts["classes"]].any(0))
        if len(ids) <= 3 < spec.num_classes:
            words.append(f"the scores of {', '.join(spec.class_names[i] for i in ids)}")
            parts = {}
    if 0 < len(parts) < len(task.columns(spec)):
        words.append(f"the columns of {' and '.join(parts)}")
    return f"only {' and '.join(words)} differ" if words else ""
