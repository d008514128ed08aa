"""The table of published architectures, and the network that each row describes.

Parameters, GFLOPs and AP (COCO val2017, per cent) are those of the original model zoo,
https://github.com/Megvii-BaseDetection/YOLOX; nano and tiny at 416, the others at 640.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from yolox_deploy.errors import UsageError, suggest
from yolox_deploy.models.blocks import Activation
from yolox_deploy.models.head import YOLOXHead
from yolox_deploy.models.necks import YOLOFPN, YOLOPAFPN


@dataclass(frozen=True)
class Architecture:
    """What makes one YOLOX network differ from another.

    ``test_size`` is the published input side in pixels; ``params_m`` (millions), ``gflops`` and
    ``ap`` are published figures for 80 classes at that size, ``None`` where nothing is published.
    ``release`` is the published weights' file name without its suffix.
    """

    name: str
    depth: float
    width: float
    depthwise: bool = False
    darknet53: bool = False
    test_size: int = 640
    params_m: float | None = None
    gflops: float | None = None
    ap: float | None = None
    release: str | None = None

    @property
    def act(self) -> Activation:
        """The activation's name."""
        return "lrelu" if self.darknet53 else "silu"


ARCHITECTURES: dict[str, Architecture] = {
    row.name: replace(row, release=f"yolox_{row.name.removesuffix('53')}")
    for row in (
        Architecture("nano", 0.33, 0.25, True, False, 416, 0.91, 1.08, 25.8),
        Architecture("tiny", 0.33, 0.375, False, False, 416, 5.06, 6.45, 32.8),
        Architecture("s", 0.33, 0.50, False, False, 640, 8.97, 26.8, 40.5),
        Architecture("m", 0.67, 0.75, False, False, 640, 25.33, 73.8, 46.9),
        Architecture("l", 1.00, 1.00, False, False, 640, 54.21, 155.6, 49.7),
        Architecture("x", 1.33, 1.25, False, False, 640, 99.07, 281.9, 51.1),
        Architecture("darknet53", 1.00, 1.00, False, True, 640, 63.72, 185.3, 47.7),
    )
}
ALIASES = {"yolov3": "darknet53", "darknet": "darknet53"}


def architecture(name: str) -> Architecture:
    """Return the row called ``name``; ``yolox_s``, ``yolox-s`` and ``yolov3`` are understood.

    Raises :class:`UsageError` for any other word.
    """
    word = name.lower().replace("-", "_").removeprefix("yolox_")
    word = ALIASES.get(word, word)
    if word not in ARCHITECTURES:
        raise UsageError(
            f"unknown architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}"
            + suggest(word, ARCHITECTURES)
        )
    return ARCHITECTURES[word]


class YOLOX(nn.Module):
    """Backbone with pyramid, and head: (N, 3, H, W) to the raw output (N, A, 5 + C)."""

    def __init__(self, arch: Architecture, num_classes: int) -> None:
        super().__init__()
        self.arch = arch
        self.num_classes = num_classes
        self.backbone: YOLOFPN | YOLOPAFPN
        if arch.darknet53:
            self.backbone = YOLOFPN(act=arch.act)
        else:
            self.backbone = YOLOPAFPN(
                arch.depth, arch.width, depthwise=arch.depthwise, act=arch.act
            )
        self.head = YOLOXHead(
            num_classes,
            arch.width,
            self.backbone.channels,
            depthwise=arch.depthwise,
            act=arch.act,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the raw output for ``images`` (float32, prepared by the letterbox)."""
        result: Tensor = self.head(self.backbone(images))
        return result


def build_network(arch: Architecture | str, num_classes: int = 80) -> YOLOX:
    """Return an untrained network, in training mode, for a row or its name."""
    return YOLOX(architecture(arch) if isinstance(arch, str) else arch, num_classes)
