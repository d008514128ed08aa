"""Text in pictures: characters, sizes, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from yolox_deploy.pictures import text
from yolox_deploy.pictures.text import fit, measure, printable


@pytest.mark.parametrize(
    ("content", "ascii_only", "unicode"),
    [
        ("dog 0.90", "dog 0.90", "dog 0.90"),
        ("café", "cafe", "café"),
        ("猫 0.90", "? 0.90", "猫 0.90"),
        ("a\nb\tc\x1b", "a?b?c?", "a?b?c?"),
        ("", "", ""),
    ],
)
def test_what_the_font_lacks_is_replaced(
    content: str, ascii_only: str, unicode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "HAS_UNICODE", False)
    assert printable(content) == ascii_only
    monkeypatch.setattr(text, "HAS_UNICODE", True)
    assert printable(content) == unicode


@pytest.mark.parametrize("content", ["dog 0.90", "gjpqy|", "MMMM", "i", "café 猫"])
@pytest.mark.parametrize("scale", [0.42, 0.5, 1.0, 4.4])
def test_a_text_stays_within_its_size(content: str, scale: float) -> None:
    label = measure(printable(content), scale)
    canvas = np.zeros((label.height + 80, label.width + 80, 3), np.uint8)
    label.write(canvas, 40, 40, (255, 255, 255))
    inside = canvas[40 : 40 + label.height, 40 : 40 + label.width].astype(int)
    assert inside.sum() > 0
    assert canvas.astype(int).sum() - inside.sum() <= 0.02 * inside.sum()


def test_a_text_that_is_too_large_gets_smaller_and_then_shorter() -> None:
    usual = fit("person 0.90", 1, (1000, 1000))
    assert usual is not None
    assert usual == measure("person 0.90", 1)
    smaller = fit("person 0.90", 1, (1000, usual.width // 2))
    assert smaller is not None
    assert smaller.content == "person 0.90"
    assert smaller.scale < 1
    shorter = fit("person 0.90", 1, (1000, 40))
    assert shorter is not None
    assert shorter.width <= 40
    assert shorter.content.endswith("..")
    assert "person 0.90".startswith(shorter.content[:-2])


@pytest.mark.parametrize("limits", [(1000, 3), (3, 1000), (1, 1)])
def test_where_nothing_fits_there_is_no_text(limits: tuple[int, int]) -> None:
    assert fit("person 0.90", 1, limits) is None
    assert fit("", 1, (1000, 1000)) is None
