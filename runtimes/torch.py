"""Checkpoints on PyTorch, by the unmodified graph: what every artifact is compared with."""

from __future__ import annotations

import numpy as np
import torch

from yolox_deploy.errors import UsageError
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.runtimes.base import Array, Opened, Runtime


class TorchRuntime(Runtime):
    """The network as it was trained, in float32; ``device`` is ``cpu``, ``cuda`` or ``mps``.

    ``threads`` sets PyTorch's thread count, which the whole process shares.
    """

    name = "torch"
    devices = ("cpu", "cuda", "mps")

    def _open(self) -> Opened:
        kind = self.device.split(":")[0]
        if kind != "cpu" and not getattr(torch, kind if kind == "cuda" else "mps").is_available():
            raise UsageError(f"PyTorch sees no {kind} device here: use device cpu")
        if self.threads:
            torch.set_num_threads(self.threads)
        checkpoint = load_checkpoint(self.path, self.hints.architecture)
        self.network = checkpoint.network.to(self.device)
        spec = checkpoint.spec(self.hints)
        return Opened(spec.to_json(), (None,) * 4, (None,) * 3)

    def _infer(self, images: Array) -> Array:
        with torch.inference_mode():
            output = self.network(torch.from_numpy(images).to(self.device))
        return np.asarray(output.float().cpu().numpy(), np.float32)

    def _close(self) -> None:
        self.__dict__.pop("network", None)
