"""Whole runs on drawn digits: they learn, survive being killed, and never lose a checkpoint."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.cli.train import main
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.detector import Detector
from yolox_deploy.errors import OutputError, UsageError
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.postprocess import SCORE_THRESHOLD
from yolox_deploy.training import (
    CocoSource,
    DivergedError,
    Recipe,
    Reporter,
    Settings,
    Trainer,
    recipe,
)
from yolox_deploy.training.data.pictures import CocoPictures
from yolox_deploy.training.evaluation import evaluate_network

DataFile = Callable[[str], Path]
Draw = Callable[..., CocoSource]

# Upright digits of one size, and few of them: no mirror, no mosaic, a short memory.
DIGITS = recipe("nano").but(flip_prob=0.0, mosaic_prob=0.0, multiscale=0, ema_decay=0.98, lr=0.08)
COMMAND = [sys.executable, "-m", "yolox_deploy.cli.train"]


class Notes(Reporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def quick(draw_digits: Draw, epochs: int = 1) -> Settings:
    """A run of a second or two an epoch, with every augmentation."""
    data = draw_digits(24, 64)
    every = Recipe(epochs=epochs, warmup_epochs=0, plain_epochs=min(epochs - 1, 1), lr=0.02)
    return Settings("nano", [data], recipe=every, imgsz=(64, 64), batch=8, workers=0, threads=1)


class Fitted(NamedTuple):
    """A run of one epoch: its settings, its folder, and its loss."""

    settings: Settings
    folder: Path
    total: float

    def copied(self, folder: Path) -> Path:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return folder


@pytest.fixture(scope="module")
def fitted(draw_digits: Draw, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    settings = replace(quick(draw_digits), precision="fp32")
    folder = tmp_path_factory.mktemp("fitted")
    return Fitted(settings, folder, Trainer(settings, folder).fit()[0].total)


def weights(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, weights_only=True)
    return {f"{part}.{k}": v for part in ("model", "raw_model") for k, v in content[part].items()}


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_a_short_run_finds_digits(draw_digits: Draw, tmp_path: Path) -> None:
    settings = Settings(
        "nano",
        train=[draw_digits(128, seed=0)],
        val=[draw_digits(24, seed=1)],
        recipe=DIGITS.but(epochs=12, warmup_epochs=1, plain_epochs=2, eval_every=12),
        imgsz=(96, 96),
        batch=8,
        workers=1,
    )
    history = Trainer(settings, tmp_path).fit()
    assert history[-1].total - history[-1].l1 < 0.4 * history[0].total
    assert history[-1].ap50 is not None
    assert history[-1].ap50 > 0.8

    best = load_checkpoint(tmp_path / "best.pth")
    assert best.names == ("digit 0", "digit 1", "digit 2")
    assert (best.arch.name, best.imgsz, best.legacy) == ("nano", (96, 96), False)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 13
    assert json.loads((tmp_path / "results.json").read_text())["epochs"][-1]["ap50"] > 0.8
    for name in ("results.png", "scores.png", "mosaic.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert '<p class="good">Finished after 12 of 12 epochs; best.pth is of epoch 12: AP 0.' in page
    suggested = json.loads((tmp_path / "results.json").read_text())["score_threshold"]
    assert suggested == best.spec().suggested_score_threshold
    with Detector(tmp_path / "best.pth", "torch", threads=1) as detector:
        assert detector.thresholds.score == suggested != SCORE_THRESHOLD
    with Detector(tmp_path / "best.pth", "torch", SCORE_THRESHOLD, threads=1) as detector:
        assert detector.thresholds.score == SCORE_THRESHOLD


KILLED_RUN = ["--arch", "nano", "--imgsz", "64", "--batch", "8", "--epochs", "4", "--seed", "3"]
KILLED_RUN += ["--threads", "1", "--workers", "1", "--data"]


@pytest.fixture(scope="module")
def unbroken(draw_digits: Draw, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The data and the folder of a run that nothing interrupted."""
    data = str(draw_digits(24, 64).annotations)
    output = tmp_path_factory.mktemp("unbroken")
    assert main([*KILLED_RUN, data, "--output", str(output)]) == 0
    return data, output


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_killed_run_resumes_to_the_weights_of_an_unbroken_one(
    unbroken: tuple[str, Path], tmp_path: Path, kind: signal.Signals, code: int
) -> None:
    data, whole = unbroken
    broken = tmp_path / "broken"

    def allow() -> None:
        # A suite that runs in the background hands down an ignored signal.
        if kind != signal.SIGKILL:
            signal.signal(kind, signal.SIG_DFL)

    process = subprocess.Popen(
        [*COMMAND, *KILLED_RUN, data, "--output", str(broken)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=allow,
        start_new_session=True,
    )
    while not (broken / "last.pth").exists() and process.poll() is None:
        time.sleep(0.01)
    # To the worker as well, as a terminal and a job scheduler do it.
    os.killpg(process.pid, kind)
    _, told = process.communicate(timeout=300)
    assert process.returncode == code
    if kind != signal.SIGKILL:
        assert f"yolox-train --resume --output {broken}" in told
        assert "Traceback" not in told
        page = (broken / "report.html").read_text("utf-8")
        stopped = (
            "This run ended early, after [1-4] of [45] epochs: it was stopped, and goes on with"
        )
        assert re.search(f'<p class="bad">{stopped} yolox-train --resume', page)
    done = torch.load(broken / "last.pth", weights_only=True)["start_epoch"]
    assert 1 <= done < 4

    assert main(["--resume", "--output", str(broken), "--workers", "0"]) == 0
    assert_same_weights(whole / "last.pth", broken / "last.pth")


def test_the_same_seed_gives_the_same_losses(fitted: Fitted, tmp_path: Path) -> None:
    assert Trainer(fitted.settings, tmp_path).fit()[0].total == fitted.total


def test_bf16_learns_nearly_like_fp32(fitted: Fitted, tmp_path: Path) -> None:
    rough = Trainer(replace(fitted.settings, precision="bf16"), tmp_path).fit()[0].total
    assert rough != fitted.total
    assert rough == pytest.approx(fitted.total, rel=0.05)


def test_a_diverged_loss_stops_the_run_and_leaves_the_checkpoint(
    fitted: Fitted, tmp_path: Path
) -> None:
    fitted.copied(tmp_path)
    before = (tmp_path / "last.pth").read_bytes()
    mad = Recipe(epochs=3, warmup_epochs=0, plain_epochs=1, lr=1e30)
    trainer = Trainer.resume(tmp_path, recipe=mad)
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) in epoch 2, step \d"):
        trainer.fit()
    assert (tmp_path / "last.pth").read_bytes() == before
    page = (tmp_path / "report.html").read_text("utf-8")
    assert '<p class="bad">This run ended early, after 1 of 3 epochs: the loss is ' in page


def test_a_run_that_fails_at_once_is_shown_and_in_nobodys_way(
    fitted: Fitted, tmp_path: Path
) -> None:
    mad = Recipe(epochs=1, warmup_epochs=0, plain_epochs=0, lr=1e30)
    for _ in range(2):
        with pytest.raises(DivergedError):
            Trainer(replace(fitted.settings, recipe=mad), tmp_path).fit()
        page = (tmp_path / "report.html").read_text("utf-8")
        assert "This run ended early, after 0 of 1 epoch: the loss is " in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mosaic.png", "report.html"]
    (tmp_path / "report.html").write_text("a page of somebody else")
    with pytest.raises(OutputError, match=r"report\.html \(and 1 more\): it is there already"):
        Trainer(fitted.settings, tmp_path)


def test_a_damaged_run_is_not_resumed(
    fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = fitted.copied(tmp_path) / "last.pth"
    whole = torch.load(last, weights_only=True)
    optimizer = whole["optimizer"]
    buffer = {0: {"momentum_buffer": torch.zeros(3)}}
    changes: list[dict[str, Any]] = [
        {"settings": {}},
        {"settings": 5},
        {"settings": whole["settings"] | {"recipe": {"epochs": "many"}}},
        {"raw_model": {}},
        {"model": whole["model"] | {"head.obj_preds.0.bias": torch.zeros(7)}},
        {"optimizer": {}},
        {"optimizer": optimizer | {"state": optimizer["state"] | buffer}},
        {"history": [{"no": "epoch"}]},
        {"average_updates": None},
    ]
    for change in changes:
        torch.save(whole | change, last)
        assert main(["--resume", "--output", str(tmp_path), "--device", "cpu"]) == 3, change
        told = capsys.readouterr().err.splitlines()[-1]
        assert "last.pth: damaged, or of another version of this package (" in told
        assert "best.pth" in told
    data = last.read_bytes()
    last.write_bytes(data[: len(data) // 2])
    assert main(["--resume", "--output", str(tmp_path), "--device", "cpu"]) == 3
    assert "damaged" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_is_never_overwritten(fitted: Fitted, tmp_path: Path) -> None:
    fitted.copied(tmp_path)
    with pytest.raises(OutputError, match=f"{tmp_path} holds a run already: continue it"):
        Trainer(fitted.settings, tmp_path).fit()


@pytest.mark.usefixtures("every_processor")
def test_two_processes_train_together(draw_digits: Draw, tmp_path: Path) -> None:
    data = draw_digits(64, 64)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    run = ["-m", "yolox_deploy.cli.train", "--arch", "nano", "--data", str(data.annotations)]
    run += ["--val", str(data.annotations), "--imgsz", "64", "--batch", "8", "--epochs", "4"]
    run += ["--set", "lr=0.04", "flip_prob=0", "mosaic_prob=0", "plain_epochs=1"]
    run += ["--workers", "0", "--device", "cpu", "--output", str(tmp_path)]
    done = subprocess.run([*launch, *run], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("^ +4 ", done.stderr, re.M)) == 1
    rows = json.loads((tmp_path / "results.json").read_text())["epochs"]
    # The third epoch has the L1 loss as well.
    assert rows[1]["total"] < 0.98 * rows[0]["total"]
    load_checkpoint(tmp_path / "best.pth")


def test_fine_tuning_keeps_what_fits_and_says_what_does_not(
    draw_digits: Draw, tmp_path: Path, data_file: DataFile, dog: NDArray[np.uint8]
) -> None:
    path = data_file("weights/yolox_nano_legacy.pth")
    notes = Notes()
    settings = Settings("nano", [draw_digits(8)], weights=path, imgsz=(128, 128))
    trainer = Trainer(settings, tmp_path, reporter=notes)
    given, own = load_checkpoint(path).network.state_dict(), trainer.network.state_dict()
    fresh = {key for key in own if own[key].shape != given[key].shape}
    assert fresh == {f"head.cls_preds.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")}
    assert all(torch.equal(own[key], given[key]) for key in own.keys() - fresh)
    told = "knows 0 of your 3 classes; new: digit 0, digit 1, digit 2"
    assert any(told in text for text in notes.texts)
    assert any("legacy input (release 0.1.0) is used" in text for text in notes.texts)

    # What training feeds the network is what deployment will feed it.
    expected, raw = np.empty((2, 3, 128, 128), np.float32)
    Letterbox(128, 128, LEGACY_INPUT)(dog, expected)
    Letterbox(128, 128, RAW_INPUT)(dog, raw)
    found = trainer._prepared(torch.from_numpy(raw.transpose(1, 2, 0).astype(np.uint8))[None])
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-6)


def test_weights_of_another_network_are_refused(
    draw_digits: Draw, tmp_path: Path, nano_pth: Path
) -> None:
    with pytest.raises(UsageError, match="holds a YOLOX nano, the run asks for tiny"):
        Trainer(Settings("tiny", [draw_digits(8)], weights=nano_pth), tmp_path)


def test_average_precision_is_that_of_the_detector(data_file: DataFile, tmp_path: Path) -> None:
    """On each eighth picture; that the detector has the original's, test_average_precision says."""
    annotations = data_file("coco_val/instances_val2017_subset206.json")
    document = json.loads(annotations.read_text())
    document["images"] = document["images"][::8]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in kept]
    few, images = tmp_path / "few.json", annotations.parent / "images"
    few.write_text(json.dumps(document))

    path = data_file("weights/yolox_nano_legacy.pth")
    data = CocoPictures.read([CocoSource(few, images)])
    network = load_checkpoint(path).network
    found = evaluate_network(network, data, (416, 416), LEGACY_INPUT, torch.device("cpu"))
    with evaluation_detector(path, "torch", legacy=True, threads=1) as detector:
        dataset = CocoDataset(few, images)
        expected = dataset.evaluate(detect_dataset(detector, dataset))
    assert expected.ap > 0.25
    assert found.figures.as_dict() == pytest.approx(expected.as_dict(), abs=5e-4)
