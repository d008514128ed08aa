"""Deterministic batches of augmented pictures.

Everything random about a sample is a function of (seed, epoch, position in the epoch), carried by
a small request.  So the number of worker processes changes nothing, and any epoch can be repeated
without a stored generator.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from yolox_deploy.errors import ImageError
from yolox_deploy.training.data.augment import Sample, augment
from yolox_deploy.training.data.pictures import CocoPictures, Size
from yolox_deploy.training.recipes import Recipe

Batch = tuple[Tensor, Tensor]


def sizes(size: Size, multiscale: int) -> list[Size]:
    """Return the sizes that the input takes in a run, from the smallest; see :class:`Recipe`."""
    reach = round(multiscale * size[0] / 640)
    heights = [max(size[0] + 32 * step, 32) for step in range(-reach, reach + 1)]
    return [(h, max(round(h * size[1] / size[0] / 32), 1) * 32) for h in heights]


class SampleRequest(NamedTuple):
    """One sample to make: the index of its picture, the seed, the size, and whether to mix."""

    picture: int
    seed: tuple[int, ...]
    size: Size
    mixed: bool


class TrainingPictures(Dataset[Sample]):
    """Makes augmented samples on request."""

    def __init__(self, data: CocoPictures, recipe: Recipe) -> None:
        self.data = data
        self.recipe = recipe

    def __getitem__(self, request: SampleRequest) -> Sample:
        """Return a sample of the requested size."""

        def draw(rng: np.random.Generator) -> Sample:
            return self.load(int(rng.integers(len(self.data.pictures))))

        rng, own = np.random.default_rng(request.seed), self.load(request.picture)
        return augment(own, draw, request.size, self.recipe, rng, mixed=request.mixed)

    def load(self, index: int) -> Sample:
        """Return a picture as it lies on disk."""
        picture = self.data.pictures[index]
        return Sample(picture.read(), picture.boxes, picture.labels)


@dataclass
class EpochRequests(Sampler[list[SampleRequest]]):
    """The batches of one epoch for one of ``world`` processes; set ``epoch`` before iterating.

    ``batch`` is the number of pictures over all processes.
    """

    pictures: int
    batch: int
    size: Size
    recipe: Recipe
    seed: int
    rank: int = 0
    world: int = 1
    epoch: int = 0

    def __len__(self) -> int:
        return max(self.pictures // self.batch, 1)

    @property
    def mixed(self) -> bool:
        """Whether this epoch mixes pictures; the last ones of the recipe do not."""
        return self.epoch < self.recipe.epochs - self.recipe.plain_epochs

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = np.resize(rng.permutation(self.pictures), len(self) * self.batch)
        mixed, some = self.mixed, sizes(self.size, self.recipe.multiscale)
        for step in range(len(self)):
            if step % 10 == 0:  # memory that was allocated for a size is used again
                size = some[int(rng.integers(len(some)))] if mixed else self.size
            mine = range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)
            yield [
                SampleRequest(int(order[i]), (self.seed, self.epoch, i), size, mixed) for i in mine
            ]


def collate(samples: Sequence[Sample]) -> Batch:
    """Return images (N, H, W, 3) uint8 and targets (K, 6) float32.

    A target is: picture, class, centre x, centre y, width, height (pixels).
    """
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    rows = []
    for i, sample in enumerate(samples):
        corners, count = sample.boxes, len(sample.boxes)
        centre, side = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        rows.append(np.column_stack((np.full(count, i), sample.labels, centre, side)))
    return images, torch.from_numpy(np.concatenate(rows).astype(np.float32))


def batch_loader(
    data: CocoPictures, requests: EpochRequests, workers: int, *, pin_memory: bool
) -> DataLoader[Sample]:
    """Return a loader whose workers live as long as it does; iterate with :func:`batches`."""
    return DataLoader(
        TrainingPictures(data, requests.recipe),
        batch_sampler=cast("Any", requests),  # PyTorch's types know only integer indices
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
    )


def batches(loader: DataLoader[Sample]) -> Iterator[Batch]:
    """Yield the batches of :func:`collate`; an error from a worker comes without its traceback.

    Raises :class:`ImageError` for a picture that cannot be read.
    """
    try:
        yield from loader
        return
    except ImageError as error:
        text = str(error).strip().splitlines()[-1].split(f"{ImageError.__name__}: ")[-1]
        # PyTorch's frames hold the error, which holds them, and with them the workers, for which
        # the process would wait for ever when it ends.
        traceback.clear_frames(error.__traceback__)
    raise ImageError(text)


def _start_worker(_: int) -> None:
    """Leave signals to the main process, which ends the workers, and the cores to the network.

    Ctrl-C, a job scheduler and a terminal that closes signal the whole group of processes.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
