"""The training loop.

A run is a pure function of its settings: batches depend on (seed, epoch, position) alone, and
``last.pth`` holds everything else (weights, their average, momentum, loss scale, results so far).
So a run that was stopped and resumed ends with the weights of an unbroken one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import DataLoader

from yolox_deploy.data.ap import require_pycocotools
from yolox_deploy.datasets.sources import CocoSource
from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.training.choice import choose_recipe
from yolox_deploy.training.clock import Clock
from yolox_deploy.training.computing import HeadLevels, compute_threads
from yolox_deploy.training.data.augment import Sample
from yolox_deploy.training.data.batches import EpochRequests, batch_loader, batches
from yolox_deploy.training.data.pictures import CocoPictures, same_pictures
from yolox_deploy.training.distributed import Processes
from yolox_deploy.training.evaluation import evaluate_network
from yolox_deploy.training.losses import Losses, yolox_losses
from yolox_deploy.training.recipes import Recipe
from yolox_deploy.training.report.judgement import Judgement
from yolox_deploy.training.report.outcome import Outcome
from yolox_deploy.training.report.page import write_report
from yolox_deploy.training.report.record import Record
from yolox_deploy.training.report.results import (
    EpochResult,
    Reporter,
    StepResult,
    epochs_without_gain,
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
        self.processes = processes
        self.device = processes.device
        self.output = output
        self.reporter = reporter if reporter and processes.first else Reporter()
        self.record = Record(output, self.reporter, resumed=resumed)
        self.run = run = settings.resolved(self.device)
        self.convention = LEGACY_INPUT if run.legacy else RAW_INPUT
        run.check_batch(processes.world)

        self.data = self._open_data("training", settings.train, settings.names)
        self.val = None
        self.reporter.measures_ap = bool(settings.val)
        if not settings.val:
            self.record.note(
                "no --val was given: AP is not measured, and best.pth will be the last epoch"
            )
        else:
            require_pycocotools()
            self.val = self._open_data("validation", settings.val, self.data.names)
            if same := same_pictures(self.data, self.val):
                self.record.note(
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
            trainer.record.load(content)
        trainer.run = replace(trainer.run, settings=settings)
        return trainer

    def _open_data(
        self, what: str, sources: Sequence[CocoSource], names: Sequence[str] | None
    ) -> CocoPictures:
        data = CocoPictures.read(sources, names)
        for sentence in data.sentences():
            self.record.note(f"{what}: {sentence}")
        return data

    def _build(self, run: TrainingRun) -> None:
        asked, processes = run.settings, self.processes
        network, rows = initial_network(asked.arch, self.data.names, asked.seed, run.weights)
        if run.weights and rows:
            for note in filter(None, (*run.weights.notes, run.note, rows.note)):
                self.record.note(note)
        if not asked.recipe:
            given = (asked.arch, len(self.data.pictures), asked.batch, rows)
            chosen, why = choose_recipe(*given, asked.changes.get("epochs"))
            self.record.full_epochs = choose_recipe(*given)[0].epochs
            self.run = run = replace(run, recipe=chosen.changed(asked.changes))
            self.record.note(f"recipe {why}: {run.recipe.described()}")
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
        with compute_threads(run.threads):
            first = islice(batches(loader), BATCHES_TO_UNFOLD)
            unfold_normalisation(self.network, (self._prepared(images) for images, _ in first))
        self.record.note(
            f"{run.settings.weights}: its batch normalisation was folded into the convolutions, so"
            " its statistics were measured on your pictures"
        )

    def fit(self) -> list[EpochResult]:
        """Train to the last epoch and return the results of all epochs.

        Raises :class:`DivergedError`, :class:`ImageError` and :class:`OutputError`.  After an
        error, and after Ctrl-C, ``last.pth`` is that of the last complete epoch, and the report
        says why the run ended.
        """
        try:
            with compute_threads(self.run.threads):
                self._fit(Clock(self.run, self.history))
        except BaseException as error:
            if self.processes.first:
                self.record.end(self.outcome, error)
            raise
        if self.processes.first:
            self.record.end(self.outcome)
        return self.history

    def _fit(self, clock: Clock) -> None:
        cuda = self.device.type == "cuda"
        loader = batch_loader(self.data, self.requests, self.run.settings.workers, pin_memory=cuda)
        if self.processes.first:
            self.record.begin(self.outcome, self.data)
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

    @property
    def history(self) -> list[EpochResult]:
        """The results of the epochs so far."""
        return self.record.history

    @property
    def outcome(self) -> Outcome:
        """What the run has come to so far."""
        return self.record.outcome(self.run, self.data, self.val)

    def _measure_start(self, clock: Clock) -> None:
        """Measure AP before training, and keep the weights, in case that they remain the best."""
        if self.val is None:
            return
        if self.processes.first:
            self.record.start_weights = copy.deepcopy(self.average.network.state_dict())
        self.record.start = found = self._measured(clock)
        if found:
            figures = found.figures
            self.record.note(f"before training: AP {figures.ap:.4f}, AP50 {figures.ap50:.4f}")
            if self.processes.first:
                write_report(self.outcome)

    def _out_of_patience(self) -> bool:
        patience, start = self.run.recipe.patience, self.record.start
        return 0 < patience <= epochs_without_gain(self.history, start and start.figures)

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

    def _measured(self, clock: Clock) -> Judgement | None:
        """Return the judgement on the averaged weights, in every process; ``None`` without val."""
        found = None
        if self.val is not None and self.processes.first:
            network, size = self.average.network, self.run.size
            with clock.evaluating():
                found = evaluate_network(network, self.val, size, self.convention, self.device)
        return self.processes.shared(found)

    def _evaluated(self, result: EpochResult, clock: Clock) -> EpochResult:
        """Return the result with AP, if it can be measured."""
        self.record.judged = found = self._measured(clock)
        if not found:
            return result
        figures = found.figures
        return replace(result, ap=figures.ap, ap50=figures.ap50, ap75=figures.ap75)

    def _save(self, result: EpochResult) -> None:
        model = {
            "model": self.average.network.state_dict(),
            "start_epoch": result.epoch,
            "name": self.output.resolve().name,
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
        }
        self.record.save(self.outcome, model, rest)
