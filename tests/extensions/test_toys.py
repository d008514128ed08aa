"""A package that adds a backend, a target and a task, installed and sent through every command.

Each of the three is one file (``toys/``), and nothing in yolox_deploy knows of them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_cases import Ran
from forking import ForkingInterpreter

from yolox_deploy.files import ASSETS

TOYS = Path(__file__).parent / "toys"
TARGETS = ("onnx", "openvino", "ncnn", "toy")
SUFFIXES = (".onnx", ".xml", ".ncnn.param", ".toy")
PICTURE = ASSETS / "digits_1.jpg"
MODULES = {"eval": "evaluate"}


Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toys, installed by pip into a folder of their own."""
    folder = tmp_path_factory.mktemp("toys")
    shutil.copytree(TOYS, folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", folder / "site", folder / "source"],
        check=True,
    )  # fmt: skip
    return folder / "site"


@pytest.fixture(scope="module")
def interpreters(
    installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[bool, ForkingInterpreter]]:
    """Interpreters to run commands in: where the toys are installed, and where they are not."""
    cache = tmp_path_factory.mktemp("cache")
    packages = ("torch", "torch.onnx", "onnx", "sympy", "cv2", "rich.console")
    with ExitStack() as stack:
        made = {}
        for toys in (True, False):
            paths = [str(installed)] if toys else []
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [*paths, *filter(None, [os.environ.get("PYTHONPATH")])]
                ),
                "YOLOX_DEPLOY_CACHE": str(cache),
                "OMP_WAIT_POLICY": "PASSIVE",
            }
            folder = tmp_path_factory.mktemp("printed")
            made[toys] = stack.enter_context(
                ForkingInterpreter(packages if toys else (), environment, folder)
            )
        yield made


@pytest.fixture(scope="module")
def command(interpreters: dict[bool, ForkingInterpreter]) -> Command:
    """Run a command where the toys are installed: ``command("export", "--model", ...)``."""

    def run(name: str, *arguments: object, toys: bool = True) -> Ran:
        module = MODULES.get(name, name)
        code = f"import sys; from yolox_deploy.cli.{module} import main; sys.exit(main())"
        return interpreters[toys].run(code, arguments)

    return run


def oriented(path: Path, seed: int) -> Path:
    """The bundled model of digits with a head that also finds angles."""
    content = torch.load(ASSETS / "digits_nano.pth", weights_only=True)
    made = torch.Generator().manual_seed(seed)
    for level in range(3):
        like = content["model"][f"head.reg_preds.{level}.weight"]
        weight = torch.randn((1, *like.shape[1:]), generator=made) * 0.1
        content["model"][f"head.angle_preds.{level}.weight"] = weight
        content["model"][f"head.angle_preds.{level}.bias"] = torch.zeros(1)
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oriented(tmp_path_factory.mktemp("checkpoint") / "oriented.pth", 1)


@pytest.fixture(scope="module")
def exported(command: Command, checkpoint: Path) -> dict[str, Path]:
    """The checkpoint exported to every target that runs here, the toy one among them."""
    folder = checkpoint.parent / "artifacts"
    ran = command(
        *("export", "--model", checkpoint, "--to", ",".join(TARGETS), "--producer", "somebody"),
        *("--output", folder),
    )
    assert ran.code == 0, ran.err
    assert ran.out.count("passed: ") == len(TARGETS)
    return {
        target: folder / f"oriented{suffix}"
        for target, suffix in zip(TARGETS, SUFFIXES, strict=True)
    }


def angles(command: Command, model: Path, folder: Path, *options: object) -> list[list[float]]:
    """Name, score and angle of everything that a model finds."""
    file = folder / "found.json"
    ran = command(
        *("detect", PICTURE, "--model", model, "--no-draw", "--json", file, "--threads", 1),
        *options,
    )
    assert ran.code == 0, ran.err
    (picture,) = json.loads(file.read_text())["pictures"]
    return [[d["class_id"], d["score"], d["angle"], *d["xyxy"]] for d in picture["detections"]]


def test_help_and_doctor_name_them(command: Command) -> None:
    ran = command("export", "--help")
    assert "toy" in ran.out
    assert "--producer NAME" in ran.out
    assert "toy" in command("detect", "--help").out
    rows = json.loads(command("doctor", "--json").out)["backends"]
    assert {"name": "toy", "opens": [".toy"], "ok": True}.items() <= {
        k: v for row in rows if row["name"] == "toy" for k, v in row.items()
    }.items()


@pytest.fixture(scope="module")
def checkpoints_angles(
    command: Command, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[list[float]]:
    """What the network itself finds."""
    found = angles(command, checkpoint, tmp_path_factory.mktemp("found"), "--backend", "torch")
    assert len(found) > 2
    assert np.abs([row[2] for row in found]).max() > 1
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_every_artifact_finds_the_checkpoints_angles(
    target: str,
    command: Command,
    exported: dict[str, Path],
    checkpoints_angles: list[list[float]],
    tmp_path: Path,
) -> None:
    found = angles(command, exported[target], tmp_path)
    np.testing.assert_allclose(found, checkpoints_angles, atol=0.02)


def test_a_checkpoint_is_exported_for_the_toy_backend(
    command: Command, exported: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    found = angles(command, checkpoint, tmp_path, "--backend", "toy")
    assert found == angles(command, exported["toy"], tmp_path)


@pytest.mark.parametrize("option", ["--decode", "--nms"])
def test_decoding_and_suppression_in_the_graph_carry_the_angle(
    option: str,
    command: Command,
    checkpoint: Path,
    checkpoints_angles: list[list[float]],
    tmp_path: Path,
) -> None:
    ran = command(
        *("export", "--model", checkpoint, "--to", "onnx,toy", option, "--output", tmp_path)
    )
    assert ran.code == 0, ran.err
    for name in ("oriented.onnx", "oriented.toy"):
        found = angles(command, tmp_path / name, tmp_path)
        np.testing.assert_allclose(found, checkpoints_angles, atol=0.02)


def test_half_precision_keeps_its_tolerance(
    command: Command, checkpoint: Path, tmp_path: Path
) -> None:
    ran = command(
        *("export", "--model", checkpoint, "--to", "onnx,ncnn", "--fp16", "--output", tmp_path)
    )
    assert ran.code == 0, ran.err


def test_the_setting_reaches_the_target(exported: dict[str, Path]) -> None:
    assert b"somebody" in exported["toy"].read_bytes()


def test_a_setting_is_refused_for_other_targets(
    command: Command, checkpoint: Path, tmp_path: Path
) -> None:
    ran = command(
        *("export", "--model", checkpoint, "--to", "onnx", "--producer", "x", "--output", tmp_path)
    )
    assert ran.code == 2
    assert "--producer NAME is for --to toy" in ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_describes_itself(
    target: str, command: Command, exported: dict[str, Path]
) -> None:
    ran = command("export", "--describe", exported[target])
    assert ran.code == 0, ran.err
    rows = dict(line.split(None, 1) for line in ran.out.splitlines())
    assert rows["task"] == "oriented"
    assert rows["verification"].startswith("passed")


def test_one_bit_in_a_file_of_another_package_is_noticed(
    command: Command, exported: dict[str, Path], tmp_path: Path
) -> None:
    ran = command("export", "--describe", exported["toy"])
    assert "unchanged since the export, by their SHA-256" in ran.out
    damaged = tmp_path / "x.toy"
    content = bytearray(exported["toy"].read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    ran = command("detect", PICTURE, "--model", damaged, "--no-draw")
    assert ran.code == 3
    assert f"{damaged} is not the file that was exported (SHA-256 " in ran.err


@pytest.mark.parametrize("target", ["onnx", "toy"])
def test_an_artifact_is_verified_again(
    target: str, command: Command, exported: dict[str, Path], checkpoint: Path
) -> None:
    ran = command("export", "--verify-artifact", exported[target], "--model", checkpoint)
    assert ran.code == 0, ran.err


def test_verification_notices_other_angles(
    command: Command, checkpoint: Path, tmp_path: Path
) -> None:
    # The same boxes, other angles; a copy of the artifact whose spec names no checkpoint.
    other = oriented(tmp_path / "other.pth", 2)
    ran = command("export", "--model", other, "--to", "onnx", "--output", tmp_path)
    assert ran.code == 0, ran.err
    ran = command("export", "--verify-artifact", tmp_path / "other.onnx", "--model", checkpoint)
    assert ran.code == 5
    assert "another checkpoint" in ran.err


def test_angles_that_differ_are_named() -> None:
    sys.path.insert(0, str(TOYS))
    try:
        from toy_task import Oriented
    finally:
        sys.path.remove(str(TOYS))
    task = Oriented()
    found = task.new_comparison()
    task.compare_more(found, {"angles": np.ones((3, 1))}, {"angles": np.zeros((3, 1))})
    (problem,) = task.problems(found, task.tolerances["fp32"])
    assert problem == "angles differ by up to 1 degrees (tolerated 0.01)"


def test_every_sink_takes_the_result(
    command: Command, exported: dict[str, Path], tmp_path: Path
) -> None:
    ran = command(
        *("detect", PICTURE, "--model", exported["toy"], "--output", tmp_path / "drawn"),
        *("--csv", tmp_path / "x.csv", "--txt", tmp_path / "txt", "--coco", tmp_path / "x.json"),
    )
    assert ran.code == 0, ran.err
    rows = list(csv.DictReader((tmp_path / "x.csv").open()))
    assert {"score", "x1", "angle"} <= set(rows[0])
    assert len(rows) == len(json.loads((tmp_path / "x.json").read_text())["annotations"])
    assert (tmp_path / "drawn" / PICTURE.name).is_file()
    assert (tmp_path / "txt" / f"{PICTURE.stem}.txt").is_file()


def test_ap_is_measured(command: Command, exported: dict[str, Path], tmp_path: Path) -> None:
    """Against its own detections, so AP is nearly 1."""
    ran = command("detect", PICTURE, "--model", exported["onnx"], "--no-draw",
                  "--coco", tmp_path / "x.json")  # fmt: skip
    assert ran.code == 0, ran.err
    ran = command("eval", "--model", exported["toy"], "--data", tmp_path / "x.json",
                  "--images", PICTURE.parent, "--json", tmp_path / "ap.json")  # fmt: skip
    assert ran.code == 0, ran.err
    found: Any = json.loads((tmp_path / "ap.json").read_text())
    assert "0.9" in ran.out or "1.0000" in ran.out, ran.out
    assert found


def test_it_is_timed(command: Command, exported: dict[str, Path], tmp_path: Path) -> None:
    ran = command("bench", "--model", exported["toy"], "--duration", "0.2", "--min-count", 5,
                  "--json", tmp_path / "bench.json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "toy" in ran.out


def test_training_refuses_a_task_that_it_has_no_losses_for(
    command: Command, exported: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    command(
        "detect", PICTURE, "--model", exported["onnx"], "--no-draw", "--coco", tmp_path / "x.json"
    )
    ran = command("train", "--weights", checkpoint, "--data", tmp_path / "x.json",
                  "--images", PICTURE.parent, "--output", tmp_path / "run")  # fmt: skip
    assert ran.code in (2, 3), ran.err
    assert "oriented" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_without_the_package_the_missing_task_is_named(
    command: Command, exported: dict[str, Path]
) -> None:
    ran = command("detect", PICTURE, "--model", exported["onnx"], "--no-draw", toys=False)
    assert ran.code == 3
    assert "oriented" in ran.err
    assert len(ran.err.splitlines()) == 1
    ran = command("detect", PICTURE, "--model", exported["toy"], "--no-draw", toys=False)
    assert ran.code == 2
    assert ".toy" in ran.err


def test_settings_of_an_engine_are_checked(
    interpreters: dict[bool, ForkingInterpreter], exported: dict[str, Path]
) -> None:
    code = (
        "import sys; from yolox_deploy import Detector, YoloxDeployError\n"
        "Detector(sys.argv[1], settings={'arena': 'off'})\n"
        "for wrong in ({'arena': 'huge'}, {'cuda_binding': 'pycuda'}):\n"
        "    try: Detector(sys.argv[1], settings=wrong)\n"
        "    except YoloxDeployError as error: print(error)\n"
    )
    done = interpreters[True].run(code, [exported["toy"]])
    assert done.code == 0, done.err
    first, second = done.out.splitlines()
    assert "on or off" in first
    assert "cuda_binding" in second
