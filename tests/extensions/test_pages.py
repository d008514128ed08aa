"""The examples of docs/extending, as a package of its own and in a copy of this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "extending").glob("*.md"))
PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
ENTRY_POINTS = re.compile(r"^```toml\n(\[project\.entry-points\..*?)^```", re.M | re.S)
# Module, import and row of each line of the page's table.
ROW = re.compile(r"^\| `([A-Z]+)` \| `(\S+\.py)`.*? \| (?:`(from .+?)`|none:.+?) \| `(.+?)`", re.M)

# Run in one process, which loads PyTorch once.
COMMANDS = """
import contextlib, importlib, io, json, sys, warnings
from pathlib import Path

picture = sys.argv[1]
ran = []

def command(name, line):
    module = importlib.import_module("yolox_deploy.cli." + name)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = module.main(line.format(picture=picture).split())
    ran.append((code, out.getvalue(), err.getvalue()))

def script(name):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(Path(name).read_text(), {"__name__": "__main__"})
    ran.append((0, out.getvalue(), ""))

for name in ("try_angle.py", "make_angle.py", "make_spec.py"):
    script(name)
command("export", "--model angle.pth --to onnx,onnx-optimized --nms --level extended --output made")
sinks = "--csv found.csv --xml xml --counts - --no-draw"
command("detect", "{picture} --model made/angle.onnx " + sinks)
command("detect", "{picture} --model made/angle.optimized.onnx --json - --no-draw")
command("export", "--model angle.pth --to onnx --imgsz 64 --no-verify --output small")
command("detect", "{picture} --model small/angle.onnx --backend reference --no-draw --json r.json")
bench = "--scenario opening --model small/angle.onnx --backend onnxruntime --duration 0.1"
command("bench", bench + " --repeat 0")
command("bench", bench + " --repeat 1 --min-count 1 --json opening.json")
print(json.dumps(ran))
"""


def examples() -> dict[str, str]:
    """Return the files of the pages by name; a file that is named twice has both parts."""
    files: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text()
        for example in PYTHON.finditer(text):
            paragraph, code = text[: example.start()].split("\n\n")[-2], example[1]
            name = re.findall(r"`(\w+\.py)`", paragraph)[-1]
            files[name] = f"{files[name]}\n\n{code}" if name in files else code
    return files


def as_package(site: Path) -> None:
    """Install the examples: their files, and entry points as the pages show them."""
    about = site / "pages-1.0.dist-info"
    about.mkdir(parents=True)
    for name, text in examples().items():
        (site / name).write_text(text)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pages\nVersion: 1.0\n")
    groups: dict[str, dict[str, str]] = {}
    for page in PAGES:
        for text in ENTRY_POINTS.findall(page.read_text()):
            groups |= tomllib.loads(text)["project"]["entry-points"]
    lines = [
        line
        for group, rows in groups.items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in rows.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))


def into_repository(site: Path) -> None:
    """Copy the package, put the examples where the page says and their rows into the tables."""
    package, index = site / "yolox_deploy", (ROOT / "docs/extending/index.md").read_text()
    ignored = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(ROOT / "yolox_deploy", package, ignore=ignored, symlinks=False)
    files = examples()
    for name, text in files.items():
        (site / name).write_text(text)
    modules = dict(re.findall(r"`([A-Z]+)` in `yolox_deploy/(\S+?)`", index))
    rows = [
        *ROW.findall(index),
        (
            "SINKS",
            "sinks/xml_sink.py",
            "from yolox_deploy.sinks.xml_sink import KIND as XML",
            "XML",
        ),
    ]
    assert {row[0] for row in rows} == set(modules)
    for table, place, import_line, row in rows:
        file = package / place
        name = "opening_time.py" if file.name == "scenario.py" else file.name
        text = files[name]
        if table == "BACKENDS":
            text, _, row = text.partition("\n\nfrom yolox_deploy.runtimes.registry import Backend")
            place = '"yolox_deploy.runtimes.reference_engine:'
            row = row.split("BACKEND = ")[1].replace('"reference_engine:', place)
        if table == "SCENARIOS":
            text = text[: text.index("\nSCENARIO = ")]
            file.parent.mkdir()
            (file.parent / "__init__.py").touch()
        file.write_text(text)
        (site / name).unlink()
        module = package / modules[table]
        content = module.read_text().replace(
            "from __future__ import annotations\n",
            f"from __future__ import annotations\n\n{import_line}\n",
            1,
        )
        start = content.index(f"{table}: Registry[")
        end = re.compile(r",?\s*\],?\s*\)").search(content, start)
        assert end is not None
        module.write_text(f"{content[: end.start()]}, {row}{content[end.start() :].lstrip(',')}")


@pytest.mark.parametrize("place", [as_package, into_repository])
def test_the_examples_work(place: Any, tmp_path: Path) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript", "psutil", "scipy"):
        pytest.importorskip(package)
    site = tmp_path / "site"
    place(site)
    paths = [str(site), *([str(ROOT)] if place is as_package else [])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "YOLOX_DEPLOY_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMANDS, str(ROOT / "yolox_deploy/assets/digits_1.jpg")],
        env=environment, cwd=site, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tried, made, spec, *ran = json.loads(done.stdout.splitlines()[-1])
    assert tried[1] == "AngledDetections(1: dog 0.720) [1.5707964]\n"
    assert made[1] == "6 tensors are new, 0 are left over\n"
    assert spec[1] == "3549\n"
    exported, counted, optimized, small, reference, refused, measured = ran
    for code, _, err in (exported, counted, optimized, small, reference, measured):
        assert code == 0, err
    assert exported[1].count("passed: ") == 2
    (line,) = counted[1].splitlines()
    assert "digits_1.jpg 0.00: " in line
    header, *rows = (site / "found.csv").read_text().splitlines()
    assert header.endswith(",angle")
    assert rows
    (found,) = json.loads(optimized[1])["pictures"]
    assert len(found["detections"]) == len(rows)
    assert any(detection["angle"] for detection in found["detections"])
    assert (site / "xml" / "digits_1.xml").read_text().count("<object") == len(rows)
    assert refused[0] == 2
    assert "--repeat: must lie in 1..1000, got 0" in refused[2]
    assert "fastest, ms" in measured[1]
    if place is into_repository:
        circles = [
            "from graphlib import TopologicalSorter; import grimp",
            "g = grimp.build_graph('yolox_deploy', cache_dir=None)",
            "arrows = {m: g.find_modules_directly_imported_by(m) for m in g.modules}",
            "TopologicalSorter(arrows).prepare()",
        ]
        subprocess.run(
            [sys.executable, "-P", "-c", "\n".join(circles)], env=environment, check=True
        )


def test_a_format_of_its_own_is_read(tmp_path: Path) -> None:
    module: dict[str, Any] = {}
    exec(examples()["line_format.py"], module)
    file = tmp_path / "x.line"
    file.write_bytes(b"{}\nmodel")
    found = module["stored"](file)
    assert found.spec_json == "{}\n"
    before = found.parts["line"].sha256()
    file.write_bytes(b"{...}\nmodel")
    assert module["stored"](file).parts["line"].sha256() == before
    file.write_bytes(b"{}\nmodeL")
    assert module["stored"](file).parts["line"].sha256() != before
    file.write_bytes(b"{}")
    with pytest.raises(ValueError, match="one line"):
        module["stored"](file)
