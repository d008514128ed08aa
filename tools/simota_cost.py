"""Measure which part of a training step the label assignment takes.

``python -m tools.simota_cost`` trains on random pictures and boxes, and prints the median time of a
step, that of its SimOTA, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from yolox_deploy.models import build_network
from yolox_deploy.training import recipe
from yolox_deploy.training.assignment import simota
from yolox_deploy.training.computing import HeadLevels
from yolox_deploy.training.losses import decode, joined, yolox_losses
from yolox_deploy.training.weights import sgd


def random_targets(batch: int, boxes: int, size: int, classes: int) -> Tensor:
    """Return (batch * boxes, 6) float32 targets with boxes of 8 pixels to half the picture."""
    image = torch.arange(batch).repeat_interleave(boxes)[:, None]
    label = torch.randint(classes, image.shape)
    centre = torch.rand(len(image), 2) * size
    side = 8 + torch.rand(len(image), 2) * (size / 2 - 8)
    return torch.cat((image, label, centre, side), 1)


def measure(
    arch: str, size: int, batch: int, boxes: int, classes: int, steps: int
) -> tuple[float, float]:
    """Return the median seconds of a step and of the assignment that is part of it."""
    torch.manual_seed(0)
    network = build_network(arch, classes).train()
    model, optimizer = HeadLevels(network), sgd(network, recipe(arch))
    images = torch.rand(batch, 3, size, size).mul(255).to(memory_format=torch.channels_last)
    targets = random_targets(batch, boxes, size, classes)
    whole, assigning = [], []
    for _ in range(steps + 2):  # the first two warm up
        started = time.perf_counter()
        optimizer.zero_grad()
        levels = model(images)
        torch.autograd.backward(yolox_losses(levels, targets, with_l1=False).total)
        optimizer.step()
        whole.append(time.perf_counter() - started)

        raw, objectness, logits, points = joined(levels)
        decoded = decode(raw, points)
        started = time.perf_counter()
        simota(decoded, objectness, logits, points, targets)
        assigning.append(time.perf_counter() - started)
    return statistics.median(whole[2:]), statistics.median(assigning[2:])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arch", default="nano")
    parser.add_argument("--imgsz", type=int, default=416)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--boxes", type=int, default=8, help="boxes per picture")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    step, assignment = measure(
        options.arch, options.imgsz, options.batch, options.boxes, options.classes, options.steps
    )
    print(
        f"{options.arch} at {options.imgsz}, {options.batch} pictures of {options.boxes} boxes,"
        f" {options.classes} classes: step {step * 1e3:.1f} ms, SimOTA {assignment * 1e3:.1f} ms"
        f" ({assignment / step:.1%})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
