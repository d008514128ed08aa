"""Recipes, the learning rate, and the average of the weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from yolox_deploy.errors import UsageError
from yolox_deploy.training import RECIPES, Recipe, recipe
from yolox_deploy.training.weights import WeightAverage


def test_the_learning_rate_warms_up_falls_and_stays() -> None:
    run = Recipe(epochs=10, warmup_epochs=2, plain_epochs=3)

    def rates(step: int) -> float:
        return run.learning_rate(step, 32, 100)

    peak = 0.01 * 32 / 64
    assert rates(0) == pytest.approx(peak / 200**2)
    assert rates(99) == pytest.approx(peak / 4)
    assert rates(200) == pytest.approx(peak)
    assert rates(450) == pytest.approx(peak * (0.05 + 0.95 / 2))
    assert rates(700) == rates(999) == pytest.approx(peak * 0.05)
    falling = [rates(step) for step in range(200, 700)]
    assert falling == sorted(falling, reverse=True)


def test_small_networks_train_with_weaker_augmentation() -> None:
    assert all(RECIPES[name].mixup_prob == 0 for name in ("nano", "tiny", "s"))
    assert all(RECIPES[name].mixup_prob == 1 for name in ("m", "l", "x", "darknet53"))
    assert recipe("yolox-s").scale == (0.5, 1.5)


@pytest.mark.parametrize("epochs", [1, 2, 7, 30, 300, 600])
def test_a_recipe_fits_any_length(epochs: int) -> None:
    fitted = recipe("nano").fitted(epochs)
    assert fitted.epochs == epochs
    assert fitted.warmup_epochs + fitted.plain_epochs <= epochs
    assert math.isfinite(fitted.learning_rate(10 * epochs - 1, 16, 10))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flip": 0.0}, "no setting 'flip'; did you mean 'flip_prob'?"),
        ({"epochs": 0}, "epochs must lie in 1..1000000, got 0"),
        ({"epochs": 4}, "do not fit into 4 epochs"),
        ({"scale": 2.0}, "scale must be like"),
        ({"epochs": 50.5}, "epochs must be like"),
        ({"lr": -1.0}, "lr must lie in 1e-12..1e+38, got -1.0"),
        ({"scale": (2.0, 0.1)}, "scale is a range from low to high"),
    ],
)
def test_a_senseless_setting_is_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe().but(**change)
    assert words in str(caught.value)


def test_the_average_starts_at_the_weights_and_then_lags() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))

    def weight(of: nn.Module) -> float:
        return of.get_parameter("0.weight").item()

    average = WeightAverage(network, 0.5)
    average.updates = 10**6
    start = weight(network)
    with torch.no_grad():
        network.get_parameter("0.weight").add_(4.0)
    average.update(network)
    assert weight(average.network) == pytest.approx(start + 2)
    early = WeightAverage(network, 0.5)
    early.update(network)
    assert weight(early.network) == pytest.approx(weight(network))
