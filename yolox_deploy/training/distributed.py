"""Training in one process, or in several that ``torchrun`` has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed

from yolox_deploy.errors import DeviceError
from yolox_deploy.runtimes.devices import parse_device

# Long enough for the first process to measure AP on a large set while the others wait.
PATIENCE = timedelta(hours=1)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The rank of this process, the number of all processes (``world``), and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process evaluates, saves and reports; only one does."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.world > 1:
            torch.distributed.barrier()

    def shared(self, value: Value) -> Value:
        """Return the first process's value in every process."""
        if self.world == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values)
        return values[0]


def is_first() -> bool:
    """Whether this process is alone, or the first of those that ``torchrun`` has started."""
    return int(os.environ.get("RANK", "0")) == 0


def _placed(device: str) -> torch.device:
    """Return the device that is meant, checked."""
    asked = parse_device(device, ("auto", "cpu", "cuda"), "training")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked.kind == "auto":
        return torch.device("cuda" if count else "cpu")
    if asked.kind == "cuda" and asked.index >= count:
        raise DeviceError(
            f"device {asked} was asked for, and PyTorch sees {count} GPUs of NVIDIA here: use cpu"
        )
    return torch.device(str(asked))


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the process group that ``torchrun`` describes, or be alone.

    ``device`` is ``auto``, ``cpu`` or ``cuda`` (``cuda:1``).  Raises :class:`UsageError` for
    another device, :class:`DeviceError` if there is no such GPU.
    """
    place = _placed(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(0, 1, place)
        return
    if place.type == "cuda":
        if str(place) == "cuda":
            place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    backend = "nccl" if place.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(torch.distributed.get_rank(), world, place)
    finally:
        torch.distributed.destroy_process_group()
