"""Reading checkpoint files of any common container without running code that is in them.

Files are read with ``weights_only=True`` and never otherwise.  What a training run leaves beside
the weights and is not a tensor (NumPy scalars, mostly) becomes an inert object.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolox_deploy.errors import CheckpointError
from yolox_deploy.models.claims import ForeignPickleError, check_claims, check_tensors

ANSI_COLOUR = re.compile(r"\x1b\[\d*m")

UNSAFE = (
    "reading it could run code; it was not loaded. Save the weights alone: "
    "torch.save({'model': model.state_dict()}, 'weights.pth')"
)

# safe_globals changes state of the whole process.
_LOADING = threading.Lock()

# Averaged weights come first: they are the ones that were evaluated.
EMA_KEYS = ("ema", "ema_state_dict", "model_ema", "ema_model")
WEIGHT_KEYS = ("model", "state_dict", "model_state_dict", "weights")
# What DistributedDataParallel, torch.compile and others put before every key.
WRAPPERS = ("module.", "_orig_mod.", "model.")
# What AveragedModel counts in, beside the weights.
COUNTER = "n_averaged"


class _Inert:
    """Stands in for the few harmless non-tensor types that training runs store."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _inert(*args: Any) -> _Inert:
    return _Inert()


INERT_GLOBALS: list[Any] = [
    (_Inert, "numpy.dtype"),
    (_Inert, "numpy.ndarray"),
    *(
        (_inert, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
]


def read_tensors_only(path: Path) -> Any:
    """Return what ``path`` holds, tensors and plain containers only.

    Raises :class:`CheckpointError`, also for a file that would run code when unpickled, and for one
    that would take more memory than it holds.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if not path.stat().st_size:
        raise CheckpointError(f"{path}: the file is empty")
    try:
        check_claims(path)
        with _LOADING, torch.serialization.safe_globals(INERT_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
        check_tensors(content, path)
        return content
    except CheckpointError:
        raise
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError, KeyError, ... by kind of damage.
        text = " ".join(ANSI_COLOUR.sub("", str(error) or type(error).__name__).split())
        if refused := re.search(r"GLOBAL ([\w.]+)", text):
            raise CheckpointError(
                f"{path}: it holds more than tensors ({refused[1]}) and {UNSAFE}"
            ) from error
        if isinstance(error, ForeignPickleError):
            raise CheckpointError(f"{path}: {text}, and {UNSAFE}") from error
        reason = text.rpartition("WeightsUnpickler error: ")[2].partition(" Check the doc")[0]
        raise CheckpointError(
            f"{path}: not a PyTorch checkpoint, or a damaged one ({reason[:160]}); compare its "
            "size with the original's and copy it again"
        ) from error


def find_weights(content: Any, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict inside ``content`` with plain keys, and notes about the choice."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: it holds a {type(content).__name__}, not a state dict")
    ema = next((key for key in EMA_KEYS if _state_dict(content.get(key))), None)
    plain = next((key for key in WEIGHT_KEYS if _state_dict(content.get(key))), None)
    key = ema or plain
    weights = _state_dict(content[key] if key else content)
    if not weights:
        raise CheckpointError(
            f"{path}: no weights found; expected a state dict, or one under "
            f"{', '.join(map(repr, (*WEIGHT_KEYS, *EMA_KEYS)))}, got the keys "
            f"{', '.join(map(repr, list(content)[:6]))}"
        )
    notes = []
    if ema and plain:
        notes.append(
            f"{path.name} holds averaged weights ({ema!r}) beside {plain!r}: using {ema!r}"
        )
    return weights, notes


def _state_dict(value: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict under plain keys, nothing if it is none.

    Training wrappers nest the network ("module") or prefix its keys, several times over.
    """
    if isinstance(value, Mapping) and isinstance(value.get("module"), Mapping):
        value = value["module"]
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return {}
    weights = {k: v for k, v in value.items() if isinstance(v, Tensor) and k != COUNTER}
    while weights:
        prefix = next((p for p in WRAPPERS if all(key.startswith(p) for key in weights)), "")
        if not prefix:
            break
        weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return weights
