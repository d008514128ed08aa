"""The input convention that a network was trained with, read from its first convolution.

Training sets the scale of the first convolution by the pixels it sees: the batch normalisation
behind it keeps the variance of its outputs, and where that is folded into the weights, the outputs
themselves have a spread of about 1.  How much a convolution's output varies per unit of pixel
variance follows from its weights and from how neighbouring pixels of photographs go together.  The
two numbers give the spread of the pixels that the network was trained on: about 57 for plain
0..255 input, about 1 for legacy input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Spread (standard deviation) of the pixels that a network of either convention was trained on.
# Measured on trained networks: plain 41 to 79, legacy 1.07 to 1.24 (tools/checks/legacy_input.py).
# Pictures of low contrast have less, so the limits leave room.  Pictures divided by 255 and nothing
# else (0.22), or brought to -1..1 (0.43), lie in neither range.
PLAIN_SPREAD = (12.0, 250.0)
LEGACY_SPREAD = (0.5, 3.0)
# Legacy pixels lie in -2.2 to 2.7, so no convolution can have learned a mean beyond.
LARGEST_LEGACY = 2.7
# Before training the first layer looks like a legacy one.  Normalisation forgets 3 % per step.
ENOUGH_STEPS = 100

# How pixels of photographs go together, on 206 pictures of COCO in a letterbox of 416: neighbours
# correlate by 0.95, pixels at a distance of five by 0.84, neighbouring colours of a pixel by 0.9.
CORRELATION_LENGTH = 25.0
COLOURS = np.array([[1.0, 0.9, 0.8], [0.9, 1.0, 0.9], [0.8, 0.9, 1.0]])

# Where each of Focus' four channel groups takes its pixels in a 2x2 patch: (row, column).
FOCUS_OFFSETS = ((0, 0), (1, 0), (0, 1), (1, 1))
LARGEST_KERNEL = 16

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InputFound:
    """What a first convolution tells of the input it was trained on.

    ``legacy`` is ``None`` where it cannot be told.  ``spread`` (standard deviation) and ``level``
    (mean) are of the pixels as the network got them, NaN where nothing is known.  ``why`` has the
    numbers in words, for a sentence such as "... because " + why.
    """

    legacy: bool | None
    spread: float
    level: float
    why: str


def find_input(
    weight: NDArray[Any],
    bias: NDArray[Any] | None = None,
    mean: NDArray[Any] | None = None,
    variance: NDArray[Any] | None = None,
    steps: int = 0,
) -> InputFound:
    """Return which input the first convolution of a YOLOX network was trained on.

    ``weight`` is (O, 3, k, k), or (O, 12, k, k) behind a Focus layer, ``bias`` (O,) what is added
    to its output.  ``mean`` and ``variance`` (O,) are the running statistics of the batch
    normalisation behind it; without them the normalisation counts as folded into the weights.
    ``steps`` is the number of training steps that made these statistics, 0 if it is not known.
    Arrays may have any floating-point type.  The order of the colours plays no part.

    Raises nothing: arrays of no such convolution give "cannot tell" with the reason.
    """
    taps = _taps(weight)
    if taps is None:
        return _unknown(f"a first convolution of shape {np.shape(weight)} is not YOLOX's")
    count = len(taps)
    folded = mean is None or variance is None
    zeros = np.zeros(count)
    given = (zeros if bias is None else bias, zeros if mean is None else mean)
    added, seen = (np.asarray(values, np.float64) for values in given)
    power = np.ones(count) if variance is None else np.asarray(variance, np.float64)
    if not all(a.shape == (count,) for a in (added, seen, power)):
        return _unknown("the bias or the statistics do not fit its first convolution")
    if not all(np.isfinite(a).all() for a in (taps, added, seen, power)):
        return _unknown("its first layer holds NaN or infinity")
    if folded and not added.any():
        return _unknown("its first layer was not trained, or has no bias")
    with np.errstate(all="ignore"):
        # Variance of each output per unit of pixel variance.
        gain = (taps @ _correlation(taps.shape[1]) * taps).sum(1)
        alive = (gain > 0) & np.isfinite(gain) & (power > 0)
        if not alive.any():
            return _unknown("its first convolution is zero")
        spread = float(np.median(np.sqrt(power[alive] / gain[alive])))
        level = _level(taps[alive].sum(1), gain[alive], (seen - added)[alive])
    why = (
        f"its first convolution suits pixels that vary by about {spread:.2g} (legacy pixels vary "
        "by about 1, plain ones by about 57)"
    )
    legacy = None
    if PLAIN_SPREAD[0] <= spread <= PLAIN_SPREAD[1]:
        legacy = False
    elif LEGACY_SPREAD[0] <= spread <= LEGACY_SPREAD[1]:
        if 0 < steps < ENOUGH_STEPS:
            why += f", but so does an untrained one, and this has seen few training steps: {steps}"
        elif folded or abs(level) <= LARGEST_LEGACY:
            legacy = True
    return InputFound(legacy, spread, level, why)


def _level(sums: Array, gain: Array, means: Array) -> float:
    """Return the mean of the pixels, from the convolutions that see brightness.

    A convolution's mean output is the sum of its weights times the mean pixel; the median counts
    each by how much of what it sees is brightness.
    """
    share = sums**2 / gain
    if not share.any():
        return float("nan")
    sees = share > 0
    levels = means[sees] / sums[sees]
    order = np.argsort(levels)
    shares = np.cumsum(share[sees][order])
    return float(levels[order][np.searchsorted(shares, shares[-1] / 2)])


def _taps(weight: NDArray[Any]) -> Array | None:
    """Return the weights as (O, 3 * k * k), as if the convolution saw the picture itself."""
    values = np.asarray(weight)
    if values.ndim != 4 or values.dtype.kind != "f" or not len(values):
        return None
    outputs, channels, height, width = values.shape
    if channels not in (3, 12) or height != width or not 1 <= height <= LARGEST_KERNEL:
        return None
    taps = values.astype(np.float64)
    if channels == 12:
        patches, side = taps, 2 * height
        taps = np.zeros((outputs, 3, side, side))
        for group, (dy, dx) in enumerate(FOCUS_OFFSETS):
            taps[:, :, dy::2, dx::2] = patches[:, 3 * group : 3 * group + 3]
    return taps.reshape(outputs, -1)


def _correlation(size: int) -> Array:
    """Return how the pixels under a convolution correlate, (3 * k * k, 3 * k * k)."""
    side = round((size / 3) ** 0.5)
    rows, columns = (places.ravel() for places in np.mgrid[:side, :side])
    distances = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    return np.kron(COLOURS, np.exp(-distances / CORRELATION_LENGTH))


def _unknown(why: str) -> InputFound:
    return InputFound(None, float("nan"), float("nan"), why)
