"""The training loop.

A run is a pure function of its settings: batches depend on (seed, epoch, position) alone, and
``last.pth`` holds everything else (weights, their average, momentum, loss scale, results so far).
So a run that was stopped and resumed ends with the weights of an unbroken one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import DataLoader

from yolox_deploy.data.ap import AveragePrecision, require_pycocotools
from yolox_deploy.datasets.sources import CocoSource
from yolox_deploy.errors import UsageError, YoloxDeployError
from yolox_deploy.models import YOLOX
from yolox_deploy.models.saving import save_checkpoint
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.sinks.outputs import check_folder, check_new
from yolox_deploy.training.choice import choose_recipe
from yolox_deploy.training.clock import Clock
from yolox_deploy.training.data.augment import Sample
from yolox_deploy.training.data.batches import EpochRequests, batch_loader, batches
from yolox_deploy.training.data.pictures import CocoPictures, same_pictures
from yolox_deploy.training.distributed import Processes
from yolox_deploy.training.evaluation import evaluate_network
from yolox_deploy.training.losses import Losses, yolox_losses
from yolox_deploy.training.recipes import Recipe
from yolox_deploy.training.report import (
    EpochResult,
    Reporter,
    StepResult,
    best_epoch,
    epochs_without_gain,
    write_results,
)
from yolox_deploy.training.settings import PRECISIONS, Settings, TrainingRun, settings_from_plain
from yolox_deploy.training.unfold import folded_blocks, unfold_normalisation
from yolox_deploy.training.weights import (
    WeightAverage,
    frozen_stages,
    initial_network,
    load_optimizer,
    load_run,
    reported_as_damaged,
    sgd,
)

# What a run writes into its folder, and what to do where an earlier run has left such files.
FILES = ("last.pth", "best.pth", "results.csv", "results.json", "results.png")
ANOTHER_FOLDER = "continue that run with --resume, or choose another --output"
ALONE = Processes(0, 1, torch.device("cpu"))
# Of 16 pictures: enough for statistics that are those of all pictures, but for a percent.
BATCHES_TO_UNFOLD = 4
LOSS_NAMES = [field.name for field in fields(Losses)]


class DivergedError(YoloxDeployError):
    """A loss that is no longer a number; the checkpoints of earlier epochs are untouched."""


class Trainer:
    """A training run and its folder: ``last.pth``, ``best.pth`` and the files of results.

    ``Trainer(settings, output).fit()`` trains; ``Trainer.resume(output).fit()`` continues after the
    last complete epoch.  The constructor opens data and weights, and raises
    :class:`InputFileError`, :class:`CheckpointError`, :class:`UsageError`, and :class:`OutputError`
    for a folder that holds the files of another run (unless it is ``resumed``).
    """

    def __init__(
        self,
        settings: Settings,
        output: Path,
        processes: Processes = ALONE,
        reporter: Reporter | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        if not resumed:
            check_new([output / name for name in FILES], ANOTHER_FOLDER)
        check_folder(output)
        self.processes = processes
        self.device = processes.device
        self.output = output
        self.reporter = reporter if reporter and processes.first else Reporter()
        self.run = run = settings.resolved(self.device)
        self.convention = LEGACY_INPUT if run.legacy else RAW_INPUT
        self.history: list[EpochResult] = []
        self.start: AveragePrecision | None = None
        self.start_weights: dict[str, Tensor] | None = None
        if settings.batch % processes.world:
            raise UsageError(f"a batch of {settings.batch} does not divide by {processes.world}")

        self.data = self._open_data("training", settings.train, settings.names)
        self.val = None
        if settings.val:
            require_pycocotools()
            self.val = self._open_data("validation", settings.val, self.data.names)
            if same := same_pictures(self.data, self.val):
                self.reporter.message(
                    f"validation: {len(same)} of its {len(self.val.pictures)} pictures are training"
                    f" pictures, too, the first is {same[0]}: AP will look better than it is"
                )
        self._build(run)

    @classmethod
    def resume(
        cls,
        output: Path,
        processes: Processes = ALONE,
        reporter: Reporter | None = None,
        **changes: Any,
    ) -> Trainer:
        """Return the run in the folder ``output``, to continue after its last complete epoch.

        ``changes`` replace :class:`Settings` that cannot change the result, such as ``workers``,
        or ``train`` and ``val`` when the data moved.
        """
        last = output / "last.pth"
        content = load_run(last)
        with reported_as_damaged(last):
            settings = replace(settings_from_plain(content["settings"]), **changes)
        start = replace(settings, weights=None)
        trainer = cls(start, output, processes, reporter, resumed=True)
        with reported_as_damaged(last):
            trainer.network.load_state_dict(content["raw_model"])
            trainer.average.network.load_state_dict(content["model"])
            trainer.average.updates = int(content["average_updates"])
            load_optimizer(trainer.optimizer, content["optimizer"])
            trainer.scaler.load_state_dict(content["scaler"])
            trainer.history = [EpochResult(**row) for row in content["history"]]
            if before := content.get("start"):
                trainer.start = AveragePrecision(**before)
        trainer.run = replace(trainer.run, settings=settings)
        return trainer

    def _open_data(
        self, what: str, sources: Sequence[CocoSource], names: Sequence[str] | None
    ) -> CocoPictures:
        data = CocoPictures.read(sources, names)
        boxes = sum(len(picture.boxes) for picture in data.pictures)
        self.reporter.message(
            f"{what}: {len(data.pictures)} pictures, {boxes} boxes, {len(data.names)} classes"
        )
        for problem, count in (+data.problems).items():
            self.reporter.message(f"{what}: {count} {problem}")
        return data

    def _build(self, run: TrainingRun) -> None:
        asked, processes = run.settings, self.processes
        network, rows = initial_network(asked.arch, self.data.names, asked.seed, run.weights)
        if run.weights and rows:
            for note in filter(None, (*run.weights.notes, run.note, rows.note)):
                self.reporter.message(note)
        if not asked.recipe:
            chosen, why = choose_recipe(
                asked.arch,
                len(self.data.pictures),
                asked.batch,
                rows,
                asked.changes.get("epochs"),
            )
            self.run = run = replace(run, recipe=chosen.changed(asked.changes))
            self.reporter.message(f"recipe {why}: {run.recipe.described()}")
        # NHWC made a step of nano 1.6 times as fast on a CPU with AVX-512, and suits tensor cores.
        self.network = network.to(self.device)
        convert_conv2d_weight_memory_format(self.network, torch.channels_last)
        if run.weights and folded_blocks(self.network):
            self._unfold()
        self.frozen = frozen_stages(self.network, run.recipe.freeze)
        for stage in self.frozen:
            stage.requires_grad_(False)
        self.model: nn.Module = HeadLevels(self.network)
        if processes.world > 1:
            self.model = DistributedDataParallel(self.model)
        self.average = WeightAverage(self.network, run.recipe.ema_decay, run.recipe.ema_ramp)
        self.optimizer = sgd(self.network, run.recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=run.precision == "fp16")
        work = (len(self.data.pictures), asked.batch, run.size, run.recipe, asked.seed)
        self.requests = EpochRequests(*work, processes.rank, processes.world)

    def _unfold(self) -> None:
        """Measure the statistics that were folded away, on pictures as in the first epoch."""
        run = self.run
        requests = EpochRequests(
            len(self.data.pictures), 16, run.size, run.recipe, run.settings.seed
        )
        loader = batch_loader(self.data, requests, 0, pin_memory=False)
        with _compute_threads(run.threads):
            first = islice(batches(loader), BATCHES_TO_UNFOLD)
            unfold_normalisation(self.network, (self._prepared(images) for images, _ in first))
        self.reporter.message(
            f"{run.settings.weights}: its batch normalisation was folded into the convolutions, so"
            " its statistics were measured on your pictures"
        )

    def fit(self) -> list[EpochResult]:
        """Train to the last epoch and return the results of all epochs.

        Raises :class:`DivergedError`, :class:`ImageError` and :class:`OutputError`.  After an
        error, and after Ctrl-C, ``last.pth`` is that of the last complete epoch.
        """
        cuda = self.device.type == "cuda"
        workers = self.run.settings.workers
        loader = batch_loader(self.data, self.requests, workers, pin_memory=cuda)
        clock = Clock(self.run, self.history)
        with _compute_threads(self.run.threads):
            if not self.history and self.run.settings.weights:
                self._measure_start(clock)
            while len(self.history) < self.run.recipe.epochs and not self._out_of_patience():
                result = self._epoch(len(self.history), loader)
                if clock.limit:
                    self._use(self.processes.shared(clock.fitted(result)))
                due = result.epoch % self.run.recipe.eval_every == 0
                if due or result.epoch == self.run.recipe.epochs:
                    result = self._evaluated(result, clock)
                self.history.append(result)
                if self.processes.first:
                    self._save(result)
                self.processes.wait()
                self.reporter.epoch(result)
        return self.history

    @property
    def best(self) -> EpochResult | None:
        """The epoch that ``best.pth`` is of; ``None``: the start, because no epoch was better."""
        if self.val is None:
            return self.history[-1] if self.history else None
        return best_epoch(self.history, self.start)

    def _measure_start(self, clock: Clock) -> None:
        """Measure AP before training, and keep the weights, in case that they remain the best."""
        if self.val is None:
            return
        if self.processes.first:
            self.start_weights = copy.deepcopy(self.average.network.state_dict())
        self.start = self._measured(clock)
        if self.start:
            self.reporter.message(
                f"before training: AP {self.start.ap:.4f}, AP50 {self.start.ap50:.4f}"
            )

    def _out_of_patience(self) -> bool:
        patience = self.run.recipe.patience
        return 0 < patience <= epochs_without_gain(self.history, self.start)

    def _use(self, recipe: Recipe) -> None:
        """Go on with a shorter or a longer schedule."""
        self.run = replace(self.run, recipe=recipe)
        self.requests.recipe = recipe

    def _epoch(self, epoch: int, loader: DataLoader[Sample]) -> EpochResult:
        self.requests.epoch = epoch
        self.model.train()
        for stage in self.frozen:
            stage.eval()
        steps, epochs = len(self.requests), self.run.recipe.epochs
        batch = self.run.settings.batch
        with_l1 = not self.requests.mixed
        sums = torch.zeros(len(LOSS_NAMES), dtype=torch.float64)
        started = time.perf_counter()
        for step, (images, targets) in enumerate(batches(loader), 1):
            rate = self.run.recipe.learning_rate(epoch * steps + step - 1, batch, steps)
            values = self._learn(images, targets, rate, with_l1=with_l1)
            if not math.isfinite(values[0]):
                raise DivergedError(
                    f"the loss is {values[0]:.3g} in epoch {epoch + 1}, step {step}, at a learning"
                    f" rate of {rate:.3g}: training stopped, the checkpoints in {self.output} are"
                    f" those of epoch {epoch}; a lower learning rate or fp32 may help"
                )
            sums += values
            means = dict(zip(LOSS_NAMES, (sums / step).tolist(), strict=True))
            seconds = time.perf_counter() - started
            speed = step * batch / seconds
            left = ((epochs - epoch) * steps - step) * seconds / step
            self.reporter.step(StepResult(epoch + 1, epochs, step, steps, means, rate, speed, left))
        return EpochResult(
            epoch + 1, **means, learning_rate=rate, images_per_second=speed, seconds=seconds
        )

    def _learn(self, images: Tensor, targets: Tensor, rate: float, *, with_l1: bool) -> Tensor:
        """Take one step and return the losses, float64; no step where they are not finite."""
        inputs = self._prepared(images)
        dtype = PRECISIONS[self.run.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            levels = self.model(inputs)
        losses = yolox_losses(levels, targets.to(self.device), with_l1=with_l1)
        values = losses.stacked().double().cpu()
        if math.isfinite(values[0]):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad()
            torch.autograd.backward(self.scaler.scale(losses.total))
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average.update(self.network)
        return values

    def _prepared(self, images: Tensor) -> Tensor:
        """Return (N, H, W, 3) uint8 BGR as the network's input, (N, 3, H, W) in NHWC memory."""
        inputs = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        if not self.run.legacy:
            return inputs
        mean, std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self.convention.mean, self.convention.std)
        )
        scaled = (inputs.flip(1) * self.convention.scale - mean) / std
        return scaled.contiguous(memory_format=torch.channels_last)

    def _measured(self, clock: Clock) -> AveragePrecision | None:
        """Return the AP of the averaged weights, in every process; ``None`` without ``val``."""
        found = None
        if self.val is not None and self.processes.first:
            network, size = self.average.network, self.run.size
            with clock.evaluating():
                found = evaluate_network(network, self.val, size, self.convention, self.device)
        return self.processes.shared(found)

    def _evaluated(self, result: EpochResult, clock: Clock) -> EpochResult:
        """Return the result with AP, if it can be measured."""
        found = self._measured(clock)
        return replace(result, ap=found.ap, ap50=found.ap50, ap75=found.ap75) if found else result

    def _save(self, result: EpochResult) -> None:
        name = self.output.resolve().name
        model = {
            "model": self.average.network.state_dict(),
            "start_epoch": result.epoch,
            "name": name,
            "names": list(self.data.names),
            "arch": self.run.settings.arch,
            "imgsz": list(self.run.size),
            "legacy": self.run.legacy,
        }
        rest = {
            "raw_model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average_updates": self.average.updates,
            "settings": self.run.plain(),
            "history": [asdict(row) for row in self.history],
            "start": self.start and self.start.as_dict(),
        }
        # The best goes first: a run that is stopped in between repeats this epoch, and so both.
        best = self.output / "best.pth"
        if self.best is result:
            save_checkpoint(best, model | {"ap": result.ap})
        elif self.start and self.start_weights:
            start = {"model": self.start_weights, "start_epoch": 0, "ap": self.start.ap}
            save_checkpoint(best, model | start)
        self.start_weights = None
        save_checkpoint(
            self.output / "last.pth", {**model, "name": f"{model['name']}_last", **rest}
        )
        write_results(self.output, self.run.plain(), self.history, self.start)


class HeadLevels(nn.Module):
    """The network for training: from pictures to the logits of each stride."""

    def __init__(self, network: YOLOX) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return :meth:`YOLOXHead.levels` for prepared images (N, 3, H, W)."""
        return self.network.head.levels(self.network.backbone(images))


@contextmanager
def _compute_threads(count: int) -> Iterator[None]:
    """Compute with ``count`` threads within the context.

    OpenMP threads that wait for a core spin: with 2 threads and 2 workers on 2 cores a step of
    nano took 20 times as long as with 1 thread.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
