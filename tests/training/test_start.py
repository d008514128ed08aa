"""Where a run starts: what trained weights know is kept, and training never makes it worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from yolox_deploy.cli.train import main
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.models.heads import PRIOR
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.training import (
    CocoSource,
    EpochResult,
    Recipe,
    Reporter,
    Settings,
    Trainer,
    train,
)
from yolox_deploy.training.choice import choose_recipe
from yolox_deploy.training.report.results import best_epoch, epochs_without_gain
from yolox_deploy.training.unfold import folded_blocks
from yolox_deploy.training.weights import ClassRows
from yolox_deploy.weights import BUNDLED

Draw = Callable[..., CocoSource]


class Notes(Reporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def renamed(source: CocoSource, names: list[str]) -> CocoSource:
    """Give the classes of a drawn data set other names."""
    document = json.loads(source.annotations.read_text())
    for row, name in zip(document["categories"], names, strict=True):
        row["name"] = name
    source.annotations.write_text(json.dumps(document))
    return source


def test_folded_statistics_are_measured_and_known_classes_kept(
    draw_digits: Draw, tmp_path: Path, nano_pth: Path, dog: NDArray[np.uint8]
) -> None:
    notes = Notes()
    data = renamed(draw_digits(32), ["Car", "fish", "person"])
    settings = Settings("nano", [data], weights=nano_pth, imgsz=(128, 128), threads=1)
    trainer = Trainer(settings, tmp_path, reporter=notes)
    assert any("its statistics were measured on your pictures" in t for t in notes.texts)
    assert any("knows 2 of your 3 classes" in t and "new: fish" in t for t in notes.texts)
    assert folded_blocks(trainer.network) == []

    network, given = trainer.network, load_checkpoint(nano_pth).network
    images = torch.empty(1, 3, 128, 128)
    Letterbox(128, 128, RAW_INPUT)(dog, images[0].numpy())
    with torch.no_grad():
        expected = given(images)
        found = network.eval()(images)
    kept = [0, 1, 2, 3, 4, 5 + 2, 5 + 0]
    assert (found[..., [0, 1, 2, 3, 4, 5, 7]] - expected[..., kept]).abs().max() < 2e-3
    assert float(found[..., 6].median()) == pytest.approx(PRIOR, rel=0.5)
    # Normalised by a batch, the network says nearly the same: training does not begin anew.
    drawn = np.stack([picture.read() for picture in trainer.data.pictures])
    batch = trainer._prepared(torch.from_numpy(drawn))
    with torch.no_grad():
        still, learning = network(batch), network.train()(batch)
    assert np.corrcoef(still[..., 3].flatten(), learning[..., 3].flatten())[0, 1] > 0.8


@pytest.mark.parametrize(
    ("names", "kept", "words"),
    [
        (["chair", "PERSON"], {0: 56, 1: 0}, "knows 2 of your 2 classes, and training starts from"),
        (["plaice"], {}, "knows 0 of your 1 class; new: plaice"),
    ],
)
def test_classes_are_matched_by_name(
    names: list[str], kept: dict[int, int], words: str, nano_pth: Path
) -> None:
    rows = ClassRows.matched(names, load_checkpoint(nano_pth))
    assert rows.kept == kept
    assert words in rows.note


def test_the_recipe_fits_the_data_and_the_start() -> None:
    known, fresh = ClassRows({0: 0}, (), ""), ClassRows({}, ("fish",), "")
    scratch, large = (choose_recipe("nano", n, 16, r)[0] for n, r in ((80, None), (10**5, known)))
    assert scratch == large == choose_recipe("nano", 10**5, 16, None)[0]
    assert scratch == Recipe(mosaic_prob=0.5, mixup_prob=0.0, scale=(0.5, 1.5))
    few, more = (choose_recipe("nano", n, 16, known)[0] for n in (80, 5000))
    assert few.epochs > more.epochs
    assert few.lr < scratch.lr < choose_recipe("nano", 80, 16, fresh)[0].lr
    assert few.freeze > 0
    for epochs in (1, 2, 500):
        assert choose_recipe("nano", 3, 16, known, epochs)[0].epochs == epochs


def test_what_was_not_better_than_the_start_is_not_kept(
    draw_digits: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(renamed(draw_digits(16), ["0", "1", "2"]).annotations)
    run = ["--data", data, "--val", data, "--weights", str(BUNDLED), "--imgsz", "96"]
    run += ["--device", "cpu", "--workers", "0", "--threads", "1", "--batch", "8"]
    run += ["--epochs", "8", "--lr", "3", "--set", "warmup_epochs=0", "--patience", "2"]
    output = tmp_path / "spoiled"
    assert main([*run, "--output", str(output)]) == 13
    told = capsys.readouterr().err
    assert "no epoch was better than the start" in told
    assert f"yolox-export --model {output / 'best.pth'}" in told
    found = json.loads((output / "results.json").read_text())
    assert len(found["epochs"]) == 2, "it was not better for two epochs, so it ends"
    best = torch.load(output / "best.pth", weights_only=True)
    assert best["start_epoch"] == 0
    assert best["ap"] == found["start"]["ap"] > 0.3
    assert best["ap"] > found["epochs"][-1]["ap"]
    kept = load_checkpoint(output / "best.pth")
    key = "head.reg_preds.0.weight"
    given = load_checkpoint(BUNDLED).network.state_dict()
    assert torch.equal(kept.network.state_dict()[key], given[key])
    assert kept.spec().name == "spoiled"
    assert load_checkpoint(output / "last.pth").spec().name == "spoiled_last"
    assert main(["--resume", "--output", str(output), "--device", "cpu"]) == 13


def test_frozen_stages_do_not_change_and_a_run_that_ends_early_resumes_with_them(
    draw_digits: Draw, tmp_path: Path
) -> None:
    class Stopping(Reporter):
        def epoch(self, result: EpochResult) -> None:
            raise KeyboardInterrupt

    data = draw_digits(24, 64)
    every = Recipe(
        epochs=5, warmup_epochs=0, plain_epochs=4, lr=0.02, eval_every=1, patience=1, freeze=3
    )
    settings = Settings(
        "nano", [data], [data], every, imgsz=(64, 64), batch=8, workers=0, threads=1
    )
    whole = Trainer(settings, tmp_path / "whole")
    before = {key: value.clone() for key, value in whole.network.state_dict().items()}
    whole.fit()
    frozen = tuple(f"backbone.backbone.{name}." for name in ("stem", "dark2", "dark3"))
    after = whole.network.state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key in before if key.startswith(frozen)} <= same
    assert not any(key.endswith("conv.weight") for key in same if not key.startswith(frozen))

    broken = Trainer(settings, tmp_path / "broken", reporter=Stopping())
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    resumed = Trainer.resume(tmp_path / "broken")
    assert len(resumed.history) == 1
    resumed.fit()
    assert all(torch.equal(a, after[key]) for key, a in resumed.network.state_dict().items())
    assert [row.ap for row in resumed.history] == [row.ap for row in whole.history]
    assert 1 < len(resumed.history) < 5, "AP was no better, so it ends"
    assert resumed.outcome.trained == whole.outcome.trained
    contents = [torch.load(run.outcome.best_path, weights_only=True) for run in (whole, resumed)]
    assert contents[0]["ap"] == contents[1]["ap"]
    assert contents[0]["start_epoch"] == contents[1]["start_epoch"]


def test_a_schedule_is_fitted_into_the_time(draw_digits: Draw, tmp_path: Path) -> None:
    data = draw_digits(24, 64).annotations
    asked: dict[str, Any] = {"arch": "nano", "imgsz": 64, "epochs": 9999, "time": "1s"}
    outcome = train(data, **asked, device="cpu", workers=0, output=tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["settings"]["recipe"]["epochs"] == len(found["epochs"]) < 9999
    assert len(outcome.history) == len(found["epochs"])
    assert outcome.best_path.is_file()
    assert outcome.gained
    assert (outcome.ap, outcome.ap_before, outcome.by_class) == (None, None, {})


def test_the_best_epoch_is_one_that_beats_the_start() -> None:
    from yolox_deploy.data.ap import AveragePrecision

    def history(*values: float | None) -> list[EpochResult]:
        return [
            EpochResult(i, *[0.0] * 9, ap=value)  # type: ignore[misc]
            for i, value in enumerate(values, 1)
        ]

    start = AveragePrecision(0.3, *[0.0] * 5)
    rows = history(None, 0.2, None, 0.4, 0.4, 0.1)
    best = best_epoch(rows, start)
    assert best
    assert best.epoch == 5
    assert best_epoch(rows[:3], start) is None
    assert best_epoch([], None) is None
    assert (epochs_without_gain(rows, start), epochs_without_gain(rows[:3], start)) == (2, 2)
