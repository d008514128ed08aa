"""The checkpoint's side of the verification: PyTorch, the unmodified graph, float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolox_deploy.models import YOLOX
from yolox_deploy.models.stem import input_of
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.runtimes.foreign.mirror import steady
from yolox_deploy.spec import ModelSpec
from yolox_deploy.verification.compare import Array
from yolox_deploy.verification.diagnosis import as_inputs
from yolox_deploy.verification.evidence import Evidence, drawn, enclosed, gather, handful
from yolox_deploy.verification.verify import load_pictures

# What the input is called in messages, by whether it is legacy.
INPUT_WORDS = {False: "plain 0..255", True: "legacy"}


class Reference:
    """The checkpoint's own outputs for the pictures, computed once for all artifacts."""

    def __init__(
        self, network: YOLOX, spec: ModelSpec, pictures: Sequence[NDArray[np.uint8]]
    ) -> None:
        self.network = network
        self.spec = spec
        self.pictures = pictures
        self.inputs: Array = self.inputs_of(replace(spec, pixels=False))
        self.outputs = self._run(self.inputs)

    def inputs_of(self, spec: ModelSpec) -> NDArray[Any]:
        """Return the pictures as an artifact with that spec takes them."""
        return as_inputs(spec, self.pictures)

    def _run(self, inputs: Array) -> Array:
        with torch.inference_mode():
            outputs = [self.network(torch.from_numpy(image[None])).numpy() for image in inputs]
        return np.concatenate(outputs)

    def evidence(self, *, own: bool, enclose: bool = True) -> Evidence:
        """Return what an artifact carries of the checkpoint.

        ``own`` is whether the pictures are the user's; a few of them are enclosed if ``enclose``.
        Otherwise the evidence is that of the drawn pictures.
        """
        if not own:
            return gather(self.spec, drawn(), self.inputs, self.outputs)
        if not enclose:
            return Reference(self.network, self.spec, load_pictures(None)).evidence(own=False)
        chosen = enumerate(handful(self.spec, self.outputs), 1)
        few = [enclosed(self.pictures[i], self.spec, number) for number, i in chosen]
        again = Reference(self.network, self.spec, [picture.decoded() for picture in few])
        return gather(self.spec, few, again.inputs, again.outputs)

    def input_problem(self) -> str | None:
        """Return a sentence if the weights seem to be for the other input convention.

        Two witnesses are heard.  The first layer tells what it was trained on, see
        :mod:`yolox_deploy.pictures.stem`.  And with the wrong convention a model may report a lot,
        but not what it reports in the mirrored picture: on COCO pictures 4 % of such detections
        survive mirroring, 80 % of the right ones.
        """
        used = self.spec.legacy
        # The network's own output, whatever the artifacts do in their graphs.
        spec = replace(self.spec, output="raw", score_threshold=None, iou_threshold=None)
        turned = replace(spec, input=RAW_INPUT if used else LEGACY_INPUT)
        found = input_of(self.network)
        # An artifact of another package may state an input of its own.
        own = self.spec.input not in (RAW_INPUT, LEGACY_INPUT)
        trained_on_used = not own and found.legacy is used
        trained_on_other = not own and found.legacy is (not used)
        other = steady(self._run, turned, self.pictures)
        if not other.plenty and not trained_on_other:
            return None  # whatever the stated input shows
        stated = steady(self._run, spec, self.pictures)
        clearly_used, clearly_other = stated.clearly_beats(other), other.clearly_beats(stated)
        if not clearly_other and not trained_on_other:
            return None
        this, that = INPUT_WORDS[used], INPUT_WORDS[not used]
        mirrored = (
            f"with {this} input {stated.steady} detections are steady under mirroring in the "
            f"verification pictures, with {that} input {other.steady}"
        )
        if (clearly_other and trained_on_used) or (trained_on_other and clearly_used):
            advice = "the two contradict each other: verify on other pictures, --verify FOLDER"
            return f"{mirrored}; {found.why}; {advice}"
        advice = "these are legacy weights (release 0.1.0), add --legacy"
        if used:
            advice = "these are not legacy weights, leave --legacy out"
        return f"{mirrored if clearly_other else found.why}: {advice}"
