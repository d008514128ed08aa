"""Files that are not those that were exported are refused before an engine sees them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy import Detector
from yolox_deploy.cli.export import main as export_command
from yolox_deploy.errors import ArtifactError
from yolox_deploy.runtimes.content import hashes_of, onnx_hashes, stored_spec
from yolox_deploy.spec import SEAL, SPEC_KEY

onnx = pytest.importorskip("onnx")

# Every file whose content matters, by the suffix of its artifact.
PARTS = [(".onnx", ".onnx"), (".xml", ".xml"), (".xml", ".bin"), (".param", ".param"),
         (".param", ".bin")]  # fmt: skip
BACKENDS = {".onnx": "onnxruntime", ".xml": "openvino", ".param": "ncnn"}


@pytest.fixture
def copy_of(model_for: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Give a copy of the nano with this suffix, with every file that belongs to it."""

    def copy(suffix: str) -> Path:
        path: Path = model_for(BACKENDS[suffix]).path
        for part in path.parent.iterdir():
            if part.stem == path.stem:
                shutil.copy(part, tmp_path / part.name)
        return tmp_path / path.name

    return copy


def flip(file: Path, place: float) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)


def without_hashes(path: Path) -> None:
    """Turn the spec into one of the first version."""
    text = stored_spec(path)
    assert text is not None
    content = {**json.loads(text), "version": 1}
    del content[SEAL], content["files"]
    old = json.dumps(content)
    if path.suffix == ".onnx":
        model = onnx.load(path)
        (entry,) = (p for p in model.metadata_props if p.key == SPEC_KEY)
        entry.value = old
        onnx.save(model, path)
    elif path.suffix == ".xml":
        escaped = text.replace('"', "&quot;").replace("\n", "&#10;")
        assert escaped in path.read_text()
        path.write_text(path.read_text().replace(escaped, old.replace('"', "&quot;")))
    else:
        path.with_suffix(".json").write_text(old)


@pytest.mark.parametrize(("suffix", "part"), PARTS)
@pytest.mark.parametrize("place", [0.3, 0.999])
def test_one_bit_in_a_file_is_noticed(suffix: str, part: str, place: float, copy_of: Any) -> None:
    path = copy_of(suffix)
    file = path.with_suffix(part)
    flip(file, place)
    with pytest.raises(ArtifactError) as caught:
        Detector(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "export the checkpoint again" in message
    if place < 0.9:
        assert f"{file} is not the file that was exported (SHA-256 " in message
        assert f"--verify-artifact {path} --model CHECKPOINT" in message


@pytest.mark.parametrize("suffix", BACKENDS)
def test_a_bit_in_the_spec_is_noticed_wherever_it_is(suffix: str, copy_of: Any) -> None:
    """In the name under which the spec is found as well: it must not count as missing."""
    path = copy_of(suffix)
    file = path.with_suffix(".json") if suffix == ".param" else path
    content = file.read_bytes()
    places = [content.index(b"toothbrush"), content.index(b"height"), content.index(b"files")]
    if suffix != ".param":
        places.append(content.index(SPEC_KEY.encode()))
    for place in places:
        file.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        with pytest.raises(ArtifactError, match=r"changed after|damaged|not the file"):
            stored_spec(path)
    file.write_bytes(content)
    assert stored_spec(path)


@pytest.mark.parametrize("suffix", BACKENDS)
def test_a_spec_without_hashes_is_opened_as_before(
    suffix: str, copy_of: Any, dog_path: Path
) -> None:
    path = copy_of(suffix)
    with Detector(path, threads=1) as opened:
        expected = opened(dog_path)
    without_hashes(path)
    with Detector(path, threads=1) as opened:
        found = opened(dog_path)
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("suffix", BACKENDS)
def test_a_file_that_was_changed_on_purpose_is_verified_and_gets_new_hashes(
    suffix: str, copy_of: Any, nano_pth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text of the graph changes, what it computes does not."""
    path = copy_of(suffix)
    if suffix == ".onnx":
        model = onnx.load(path)
        model.doc_string = "mine"
        onnx.save(model, path)
    elif suffix == ".xml":
        path.write_text(path.read_text() + "\n")
    else:
        path.write_text(path.read_text() + "\n")
    with pytest.raises(ArtifactError, match="not the file"):
        Detector(path)
    before = hashes_of(path)
    assert export_command(["--verify-artifact", str(path), "--model", str(nano_pth)]) == 0
    assert hashes_of(path) == before
    with Detector(path) as opened:
        assert opened.spec.verification is not None
        assert opened.spec.verification["status"] == "passed"


def test_the_weights_of_another_model_are_verified_and_left_alone(
    copy_of: Any, nano_pth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many bytes, other numbers: ncnn itself could not notice."""
    path = copy_of(".param")
    weights = path.with_suffix(".bin")
    numbers = np.frombuffer(weights.read_bytes(), np.float32).copy()
    weights.write_bytes((numbers * np.float32(0.5)).tobytes())
    assert export_command(["--describe", str(path)]) == 3
    assert "passed" not in capsys.readouterr().out
    sidecar = path.with_suffix(".json").read_bytes()
    assert export_command(["--verify-artifact", str(path), "--model", str(nano_pth)]) == 5
    assert path.with_suffix(".json").read_bytes() == sidecar
    assert export_command(["--describe", str(path)]) == 3


def test_the_hash_of_an_onnx_file_leaves_out_its_metadata_only(copy_of: Any) -> None:
    path = copy_of(".onnx")
    model = onnx.load(path)
    expected = onnx_hashes(path.read_bytes())
    assert expected == hashes_of(path)
    onnx.helper.set_model_props(model, {"x": "y", "long": "z" * 70_000})
    assert onnx_hashes(model.SerializeToString()) == expected
    model.producer_name += "x"
    assert onnx_hashes(model.SerializeToString()) != expected


@pytest.mark.parametrize(
    "content", [b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\xff" * 11, b"\x08\x01" * 100_001]
)
def test_what_is_no_protobuf_message_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.onnx: it is damaged or no \.onnx file"):
        stored_spec(path)


@pytest.mark.parametrize(
    "text", ['<net name="x" -1version="11"/>', "<net><layers>", "<html/>", "", "<net\xff/>"]
)
def test_what_is_no_openvino_graph_is_refused_in_one_line(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.xml"
    path.write_text(text, encoding="latin-1")
    path.with_suffix(".bin").write_bytes(bytes(64))
    with pytest.raises(ArtifactError, match=r"x\.xml"):
        Detector(path)
    assert capfd.readouterr() == ("", "")
