"""The head of another task: recognised in a checkpoint, built, and named in the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolox_deploy.architectures import Architecture
from yolox_deploy.errors import CheckpointError, UsageError
from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.models.heads import DETECT, HEADS, TaskHead, YOLOXHead, head_of
from yolox_deploy.registry import Registry
from yolox_deploy.training.settings import Settings


class ScalesHead(YOLOXHead):
    """Predicts some numbers more per row."""

    def __init__(self, arch: Architecture, num_classes: int, channels: Sequence[int], more: int):
        super().__init__(num_classes, arch.width, channels, depthwise=arch.depthwise, act=arch.act)
        hidden = int(256 * arch.width)
        self.scale_preds = nn.ModuleList(nn.Conv2d(hidden, more, 1) for _ in channels)

    def maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        parts = zip(self.stems, self.reg_convs, self.scale_preds, features, strict=True)
        more = [last(convs(stem(feature))).flatten(2) for stem, convs, last, feature in parts]
        return [torch.cat(pair, 1) for pair in zip(super().maps(features), more, strict=True)]


class Scales(TaskHead):
    """A task with one prediction more per row, or as many as the tensors tell."""

    name = "scales"
    key = "head.scale_preds.0.weight"

    def settings(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        if not shapes[self.key] or shapes[self.key][0] > 5:
            raise ValueError(f"{self.key!r} has the shape {shapes[self.key]}")
        return {"scales": shapes[self.key][0]}

    def build(
        self,
        arch: Architecture,
        num_classes: int,
        channels: Sequence[int],
        settings: Mapping[str, Any],
    ) -> YOLOXHead:
        return ScalesHead(arch, num_classes, channels, settings["scales"])


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> TaskHead:
    head = Scales()
    rows: Registry[TaskHead] = Registry("head", "no.such.group", [DETECT, head])
    monkeypatch.setattr("yolox_deploy.models.heads.HEADS", rows)
    return head


def saved(network: YOLOX, path: Path) -> Path:
    torch.save({"model": network.state_dict()}, path)
    return path


def test_detection_is_the_first_head() -> None:
    assert next(iter(HEADS)) == "detect"
    network = build_network("nano", 3)
    assert (network.task, network.task_settings) == ("detect", {})


def test_a_checkpoint_with_another_head_is_recognised(scales: TaskHead, tmp_path: Path) -> None:
    network = build_network("nano", 3, scales, {"scales": 2}).eval()
    found = load_checkpoint(saved(network, tmp_path / "x.pth"))
    assert isinstance(found.network.head, ScalesHead)
    spec = found.spec()
    assert (spec.task, spec.task_settings, spec.num_classes) == ("scales", {"scales": 2}, 3)
    images = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        output = found.network(images)
        assert output.shape == (1, 64 + 16 + 4, 5 + 3 + 2)
        assert torch.equal(output, network(images))


def test_a_checkpoint_without_it_is_still_one_of_detection(
    scales: TaskHead, tmp_path: Path
) -> None:
    found = load_checkpoint(saved(build_network("nano", 3), tmp_path / "x.pth"))
    assert (found.network.task, found.spec().task) == ("detect", "detect")


def test_a_head_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = saved(build_network("nano", 3, Scales(), {"scales": 1}), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"do not belong to it \(head\.scale_preds\.0"):
        load_checkpoint(path)
    assert head_of({"fc.weight": (1,)}) is None


def test_a_head_may_refuse_what_the_tensors_tell(scales: TaskHead, tmp_path: Path) -> None:
    path = saved(build_network("nano", 3, scales, {"scales": 6}), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: 'head\.scale_preds\.0\.weight' has the"):
        load_checkpoint(path)


def test_training_starts_only_from_weights_of_detection(scales: TaskHead, tmp_path: Path) -> None:
    path = saved(build_network("nano", 3, scales, {"scales": 1}), tmp_path / "x.pth")
    settings = Settings("nano", [None], weights=path)  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"x\.pth is for the task scales: only detect is trained"):
        settings.resolved(torch.device("cpu"))
