"""What every target is: how a format is written, and what it cannot do on this machine."""

from __future__ import annotations

import copy
import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from yolox_deploy.errors import UsageError, YoloxDeployError
from yolox_deploy.export.quantization.layout import Layout
from yolox_deploy.packages import install_line, require
from yolox_deploy.spec import ModelSpec, OutputKind

if TYPE_CHECKING:
    import onnx

# Is told the phase that a converter is in, the steps that are done, and all steps.
Advance = Callable[[str, int, int], None]


def ignore_progress(phase: str, done: int, total: int) -> None:
    """Do nothing: the ``Advance`` of those who do not watch."""


@dataclass(frozen=True)
class Setting:
    """Something that only some targets can be asked for; ``yolox-export`` makes an option of it.

    ``name`` is the key in ``ExportOptions.settings``; targets that name a setting alike share it.
    ``option`` is what it is called on the command line and ``metavar`` what stands for its value
    there, ``"NAME ..."`` for a list; without a ``metavar`` it is a switch.  ``parse`` makes the
    value from the option's text, in which commas divide a list, and raises ``ValueError`` for a
    text that it cannot read.  Whether a value makes sense is
    checked by the target.  A setting with the option ``--batch`` is another form of the ``--batch``
    of all targets, for texts that are not one number.
    """

    name: str
    option: str
    help: str
    metavar: str = ""
    parse: Callable[[str], Any] = str
    default: Any = None

    @property
    def usage(self) -> str:
        """The option as a user writes it, such as ``--batch MIN,OPT,MAX``."""
        return f"{self.option} {self.metavar}".rstrip()


class Target(ABC):
    """One format: ``convert`` writes it from an ONNX graph, ``embed`` puts the spec into it.

    An artifact has a main file, which the ``backend`` opens and whose name ends with ``suffix``,
    and maybe further files beside it.  ``package`` is the converter, and ``extra`` the extra of
    yolox-deploy that installs it; a target of another package has none.  ``description`` says in a
    few words what is written.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    suffix: ClassVar[str]
    backend: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str | None] = None
    outputs: ClassVar[tuple[OutputKind, ...]] = ("raw", "decoded", "detections")
    # Whether the graph may begin with the bytes of a picture.
    pixels: ClassVar[bool] = False
    # A format without batches is exported for one picture; its runtime loops over the pictures.
    batches: ClassVar[bool] = True
    # Whether the graph is turned into FP16 before ``convert``, or ``convert`` does it.
    fp16_in_graph: ClassVar[bool] = False
    # Where the engine wants its eight-bit numbers, ``None`` for a format without INT8.
    int8: ClassVar[Layout | None] = None
    settings: ClassVar[tuple[Setting, ...]] = ()

    # What was asked for of the settings, and who is told how far the converter is.
    given: Mapping[str, Any] = MappingProxyType({})
    advance: Advance = staticmethod(ignore_progress)

    @property
    def values(self) -> dict[str, Any]:
        """The value of each setting: what was asked for, or its default."""
        return {s.name: self.given.get(s.name, s.default) for s in self.settings}

    def with_settings(
        self, settings: Mapping[str, Any], advance: Advance = ignore_progress
    ) -> Self:
        """Return a copy with ``settings``; raises :class:`UsageError` where one makes no sense."""
        row = copy.copy(self)
        row.given, row.advance = dict(settings), advance
        return row

    def load(self) -> None:
        """Import the converter, before any work is done; raises :class:`MissingPackageError`."""
        require(self.package, f"target {self.name} needs {self.package}", self.install)

    @property
    def install(self) -> str:
        """The command that installs the converter."""
        return install_line(self.extra) if self.extra else f"pip install {self.package}"

    def check(self, spec: ModelSpec) -> None:
        """Raise :class:`UsageError` if this format cannot carry what was asked for."""
        if spec.precision == "int8" and self.int8 is None:
            raise UsageError(f"target {self.name} has no INT8: leave it or --int8 out")
        if spec.output not in self.outputs:
            raise UsageError(
                f"target {self.name} cannot carry NMS, only {' or '.join(self.outputs)} output: "
                "leave --nms out for it, Detector does the NMS"
            )
        if spec.pixels and not self.pixels:
            raise UsageError(
                f"target {self.name} takes no pixels, only planes of float32: leave --pixels out "
                "for it, Detector prepares the pixels"
            )

    def files(self, main: Path) -> tuple[Path, ...]:
        """Return every file of the artifact whose main file is ``main``, the main file last."""
        return (main,)

    @abstractmethod
    def convert(self, graph: onnx.ModelProto, spec: ModelSpec, main: Path) -> None:
        """Write the artifact, without its spec, to ``main`` and to what belongs beside it.

        Raises :class:`~yolox_deploy.errors.ConversionError` if the converter fails.
        """

    @abstractmethod
    def embed(self, main: Path, spec: ModelSpec) -> None:
        """Write the spec into the artifact, replacing an earlier one; nothing else changes."""

    def describe(self, main: Path) -> tuple[ModelSpec, list[tuple[str, str]]] | None:
        """Return an artifact's spec, and rows of a label and a text on how it was built.

        ``None`` if only the engine can read what the artifact says.
        """
        return None

    def why_not_built(self) -> YoloxDeployError | None:
        """Return why this machine cannot build what another machine can, else ``None``.

        The export then writes ONNX in the artifact's place and calls :meth:`hand_over`.  A target
        that any machine can build leaves this alone, and :meth:`load` says what is missing.
        """
        return None

    def hand_over(self, source: Path, spec: ModelSpec, unexecuted: ModelSpec) -> str:
        """Write beside the ONNX file ``source`` what the machine that can build needs.

        ``spec`` is that of ``source``; ``unexecuted`` is the artifact's, which has not run.
        Returns one sentence on how the artifact is built there.
        """
        return f"Build it from {source} on a machine that can"

    def made_for(self) -> str:
        """Return what an artifact in the cache depends on beside its checkpoint, "" for nothing."""
        return ""

    def why_not_executed(self) -> str:
        """Return one sentence on why the artifact cannot run on this machine, "" if it can.

        What cannot run is verified through the ONNX graph that it is made from.
        """
        return ""

    def finish_command(self, main: Path) -> str:
        """Return the command that verifies the artifact on the machine that runs it."""
        return f"yolox-verify {shlex.quote(os.fspath(main))} --record"
