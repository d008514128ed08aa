"""``yolox-eval``: models side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.cli.evaluate import main

pytest.importorskip("pycocotools")
Few = tuple[Path, Path]


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def results_in(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text())
    assert (content["format"], content["version"]) == ("yolox-eval", 1)
    results: list[dict[str, Any]] = content["results"]
    return results


def test_models_and_backends_are_put_side_by_side_with_their_difference(
    few_pictures: Few, nano_onnx: Path, data_file: Any, tmp_path: Path, capsys: Any
) -> None:
    wide = data_file("onnx/yolox_nano_384x640_official.onnx")
    data, images = few_pictures
    code = run(
        *("--model", nano_onnx, wide, "--backend", "onnxruntime, openvino"),
        *("--data", data, "--images", images),
        *("--json", tmp_path / "ap.json", "--results", tmp_path / "results", "--full"),
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    header, _, *rows, over = printed.out.splitlines()
    assert over.startswith("AP is the mean of ")
    assert " ".join(header.split()) == "model backend AP AP50 AP75 APs APm APl difference"
    cells = [row.split() for row in rows]
    assert [c[:2] for c in cells] == [
        [path.name, backend]
        for path in (nano_onnx, wide)
        for backend in ("onnxruntime", "openvino")
    ]
    content = results_in(tmp_path / "ap.json")
    for cell, figures in zip(cells, content, strict=True):
        assert [figures["model"], figures["backend"]] == cell[:2]
        assert float(cell[2]) == pytest.approx(figures["ap"], abs=6e-5)
        assert float(cell[-1]) == pytest.approx(figures["ap"] - content[0]["ap"], abs=6e-5)
        assert cell[-1][0] in "+-"
        assert figures["ap_large"] > figures["ap"] > 0.1
    assert content[1]["ap"] == pytest.approx(content[0]["ap"], abs=2e-3)
    assert abs(content[2]["ap"] - content[0]["ap"]) > 1e-3
    assert len(list((tmp_path / "results").iterdir())) == 4
    assert f"{nano_onnx} on openvino: 12 pictures" in printed.err
    names = {name for figures in content for name in figures["classes"]}
    assert {"person", "cat"} <= names


def test_a_reference_decides_the_exit_code_and_an_interval_is_shown(
    few_pictures: Few, nano_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    data, images = few_pictures
    base = ("--model", nano_onnx, "--data", data, "--images", images, "--threads", "1")
    backends = ("--backend", "onnxruntime,openvino", "--bootstrap", "20", "--per-class")
    file = tmp_path / "ap.json"
    assert run(*base, *backends, "--json", file, "--reference", "0.9") == 5
    printed = capsys.readouterr()
    assert "further than 0.005 from the reference 0.9" in printed.err
    header, _, first, second, *rest = printed.out.splitlines()
    assert header.split()[-4:] == ["difference", "95", "%", "interval"]
    assert first.split()[-1] == "-"
    low, high = results_in(file)[1]["interval"]
    assert second.split()[-3:] == [f"{low:+.4f}", "to", f"{high:+.4f}"]
    assert -0.05 < low <= results_in(file)[1]["difference"] <= high < 0.05
    classes = results_in(file)[0]["classes"]
    assert any(line.split()[:1] == ["person"] for line in rest)
    assert all(0 <= ap <= 1 for ap in classes.values())
    ap = results_in(file)[0]["ap"]
    assert run(*base, "--reference", ap + 0.004) == 0
    assert run(*base, "--reference", ap + 0.004, "--tolerance", "0.003") == 5


def test_thresholds_and_clipping_reach_the_evaluation(
    few_pictures: Few, nano_onnx: Path, tmp_path: Path
) -> None:
    data, images = few_pictures
    base = ("--model", nano_onnx, "--data", data, "--images", images, "--json", tmp_path / "r")

    def ap(*more: object) -> float:
        assert run(*base, *more) == 0
        (row,) = results_in(tmp_path / "r")
        value: float = row["ap"]
        return value

    plain = ap()
    assert ap("--score-threshold", 0.3) < plain - 0.01
    assert ap("--iou-threshold", 0.2) != plain
    assert ap("--clip") != plain


def test_a_checkpoint_is_opened_by_torch(
    few_pictures: Few, nano_pth: Path, tmp_path: Path, capsys: Any
) -> None:
    data, images = few_pictures
    assert run("--model", nano_pth, "--data", data, "--images", images) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["yolox_nano.pth", "torch"]


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"--data": "missing.json"}, 3, "missing.json: "),
        ({"--images": "missing"}, 3, "missing: no such folder"),
        ({"--model": "missing.onnx"}, 3, "missing.onnx"),
        ({"--backend": "opnvino"}, 2, "did you mean 'openvino'?"),
        ({"--names": ",".join(f"n{i}" for i in range(79))}, 2, "79 class names"),
        ({"--score-threshold": 7}, 2, "score_threshold"),
        ({"--classes": "persn"}, 2, "has no category 'persn': expected some of person, "),
        ({"--classes": "hair drier"}, 2, "has no object of 'hair drier', so it has no AP"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_requests_are_one_line(
    changes: dict[str, Any], code: int, word: str, few_pictures: Few, nano_onnx: Path, capsys: Any
) -> None:
    given = {"--model": nano_onnx, "--data": few_pictures[0], "--images": few_pictures[1]}
    assert run(*(x for pair in {**given, **changes}.items() for x in pair)) == code
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("yolox-eval: ")
    assert word in line
    assert printed.out == ""


def test_pictures_of_more_pixels_than_allowed_are_refused(
    few_pictures: Few, nano_onnx: Path, capsys: Any
) -> None:
    data, images = few_pictures
    assert run("--model", nano_onnx, "--data", data, "--images", images, "--max-pixels", 9) == 3
    assert "more than the 9 that are allowed" in capsys.readouterr().err


def test_a_data_set_of_other_things_is_refused(
    few_pictures: Few, nano_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    content = json.loads(few_pictures[0].read_text())
    content["categories"] = [{"id": 1, "name": "screw"}, {"id": 2, "name": "nail"}]
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    (tmp_path / "other.json").write_text(json.dumps(content))
    code = run("--model", nano_onnx, "--data", tmp_path / "other.json", "--images", few_pictures[1])
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert "no name in common" in last
    assert "screw" in last
    assert "--names" in last
    assert f"{nano_onnx}: the model's classes (person, " in last


def test_classes_limit_the_categories_that_ap_is_the_mean_of(
    few_pictures: Few, nano_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    data, images = few_pictures
    base = ("--model", nano_onnx, "--data", data, "--images", images, "--json", tmp_path / "ap")
    assert run(*base, "--per-class") == 0
    assert "never found" not in capsys.readouterr().err
    (all_of_them,) = results_in(tmp_path / "ap")
    names = ["person", "cat", *(f"none {i}" for i in range(78))]
    more = ("--names", *names, "--backend", "onnxruntime", "openvino")
    assert run(*base, *more) == 0
    printed = capsys.readouterr()
    # Once for two models of the same names.
    assert printed.err.count("78 of 80 categories of the data set have no class in the model") == 1
    assert printed.err.count("; yolox-eval --classes person cat measures AP over these") == 1
    over = len(all_of_them["classes"])
    assert printed.out.count(f"{nano_onnx.name} knows 2 of these {over}; AP of the others") == 1
    assert run(*base, "--classes", "cat", "person", "--bootstrap", "5") == 0
    printed = capsys.readouterr()
    assert "AP is the mean of 2 classes: person, cat" in printed.out
    assert "count as never found" not in printed.err
    assert " knows " not in printed.out
    (row,) = results_in(tmp_path / "ap")
    expected = {name: all_of_them["classes"][name] for name in ("person", "cat")}
    assert row["classes"] == pytest.approx(expected)
    assert row["ap"] == pytest.approx(sum(expected.values()) / 2)
    assert json.loads((tmp_path / "ap").read_text())["classes"] == ["person", "cat"]


def test_figures_that_cannot_be_written_are_an_output_error(
    few_pictures: Few, nano_onnx: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").touch()
    data, images = few_pictures
    code = run(
        *("--model", nano_onnx, "--data", data, "--images", images),
        *("--json", tmp_path / "file" / "ap.json"),
    )
    assert code == 7
    assert "cannot write" in capsys.readouterr().err.splitlines()[-1]
