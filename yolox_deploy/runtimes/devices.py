"""The names of devices, which are the same for every runtime.

A device is a kind, such as ``cuda``, with a number if there may be several: ``cuda:1``.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolox_deploy.errors import UsageError, suggest

KINDS = {
    "cpu": "the processor",
    "cuda": "a GPU by NVIDIA",
    "gpu": "a GPU by Intel",
    "npu": "a processor for neural networks",
    "mps": "a GPU by Apple",
    "auto": "the engine chooses",
}
# There is one of each.
WITHOUT_NUMBER = ("cpu", "auto")


@dataclass(frozen=True)
class Device:
    """A device; ``number`` counts from 0 and is ``None`` if the user gave none."""

    kind: str
    number: int | None = None

    @property
    def index(self) -> int:
        """The number, 0 if the user gave none."""
        return self.number or 0

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}:{self.number}"


def parse_device(named: str | int, kinds: tuple[str, ...], runtime: str) -> Device:
    """Return the device that ``named`` names; OpenVINO's own ``GPU.1`` is understood, too.

    A number alone is that of an NVIDIA GPU, as with other packages.  ``kinds`` are those that the
    runtime called ``runtime`` has.

    >>> parse_device("cuda:1", ("cpu", "cuda"), "onnxruntime")
    Device(kind='cuda', number=1)
    >>> parse_device(0, ("cpu", "cuda"), "torch")
    Device(kind='cuda', number=0)

    Raises :class:`UsageError` for a device that the runtime does not have.
    """
    if not isinstance(named, (str, int)) or isinstance(named, bool):
        raise UsageError(f"a device is a text such as 'cuda:0', got {named!r:.60}")
    text = str(named)
    meant = ""
    if text.isdecimal():
        text = f"cuda:{text}"
        meant = f" ({text})"
    kind, *numbers = text.lower().replace(".", ":").split(":")
    if kind not in kinds:
        known = ", ".join(f"{k} ({KINDS[k]})" if k in KINDS else k for k in kinds)
        # "gpu" is spelled more like "cpu" than like the word for a GPU.
        near = "; did you mean 'cuda'?" if kind == "gpu" and "cuda" in kinds else ""
        near = near or suggest(kind, kinds)
        raise UsageError(f"{runtime} has no device {named!r}{meant}: expected {known}{near}")
    if not numbers:
        return Device(kind)
    if kind in WITHOUT_NUMBER:
        raise UsageError(f"device {text!r}: {kind} takes no number; write {kind}")
    if len(numbers) > 1 or not (numbers[0].isdecimal() and len(numbers[0]) < 4):
        raise UsageError(f"device {text!r}: expected {kind} or {kind}:0, {kind}:1, ...")
    return Device(kind, int(numbers[0]))
