"""What an engine can be asked for beside what every artifact can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from yolox_deploy.errors import UsageError
from yolox_deploy.export.targets.base import Setting
from yolox_deploy.spec import LARGEST_BATCH, ModelSpec

# Pictures per call that a dynamic engine is made for: smallest, preferred and largest number.
DEFAULT_PROFILE = (1, 4, 8)


def batch_profile(text: str) -> tuple[int, ...]:
    """Return ``MIN,OPT,MAX`` as three numbers; raises ``ValueError`` for other texts."""
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 3:
        raise UsageError(f"expected N or MIN,OPT,MAX, got {text}")
    return numbers


def gpu_names(text: str) -> tuple[str, ...]:
    """Return ``--targets`` as names; raises :class:`UsageError` if there is none."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError("--targets names no GPU: expected for example sm86,sm89")
    return names


WORKSPACE = Setting(
    "workspace",
    "--workspace",
    "scratch memory in MiB (default: three quarters of the free memory of the GPU)",
    "MIB",
    int,
)
PROFILE = Setting(
    "profile",
    "--batch",
    "with --dynamic, the smallest, preferred and largest number of pictures per call "
    f"(default: {','.join(map(str, DEFAULT_PROFILE))})",
    "MIN,OPT,MAX",
    batch_profile,
)
GPUS = Setting(
    "targets",
    "--targets",
    "GPUs by compute capability, for example sm86 sm89 sm120 (default: Ampere and newer)",
    "SM ...",
    gpu_names,
    (),
)
HARDWARE_COMPATIBLE = Setting(
    "hardware_compatible",
    "--hardware-compatible",
    "let the engine run on other GPUs, too (Ampere and newer), at some cost in speed",
    default=False,
)
VERSION_COMPATIBLE = Setting(
    "version_compatible",
    "--version-compatible",
    "let the engine run on newer TensorRT versions, too, at some cost in speed",
    default=False,
)


@dataclass(frozen=True)
class EngineSettings:
    """The values of the settings above.

    ``workspace`` is in MiB, ``None`` for three quarters of the GPU memory that is free;
    ``profile`` is the smallest, preferred and largest number of pictures per call of a dynamic
    engine; ``targets`` are the GPUs of a TensorRT-RTX engine ("sm86", ...), none for Ampere and
    newer ones.

    Raises :class:`UsageError` for a value that makes no sense.
    """

    workspace: int | None = None
    profile: tuple[int, int, int] | None = None
    targets: tuple[str, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False

    def __post_init__(self) -> None:
        if self.workspace is not None and not 1 <= self.workspace <= 1 << 24:
            raise UsageError(f"workspace is a number of MiB from 1 on, got {self.workspace}")
        if self.profile is not None:
            least, preferred, most = self.profile
            if not 1 <= least <= preferred <= most <= LARGEST_BATCH:
                raise UsageError(
                    f"batch is MIN,OPT,MAX in ascending order, each in 1..{LARGEST_BATCH}, "
                    f"got {least},{preferred},{most}"
                )

    def batches(self, spec: ModelSpec) -> tuple[int, int, int]:
        """Return the smallest, preferred and largest number of pictures per call."""
        if spec.batch is None:
            return self.profile or DEFAULT_PROFILE
        return spec.batch, spec.batch, spec.batch

    def shapes(self, spec: ModelSpec) -> tuple[tuple[int, ...], ...] | None:
        """Return the smallest, preferred and largest shape of a dynamic input, else ``None``."""
        if spec.batch is not None:
            return None
        return tuple((batch, 3, spec.height, spec.width) for batch in self.batches(spec))
