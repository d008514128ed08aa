"""What networks find: how the rows of an output become results, task by task.

A new task is one file beside this one, and one row in ``TASKS``.  The file has a class with what
:class:`~yolox_deploy.tasks.base.Task` asks for; a subclass of
:class:`~yolox_deploy.tasks.boxes.BoxTask` is the easiest.  The task's torch head and its ONNX nodes
are rows of ``models.heads`` and ``export.tails``.
"""

from __future__ import annotations

from yolox_deploy.errors import ArtifactError
from yolox_deploy.registry import Registry
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.base import Decoder, Task
from yolox_deploy.tasks.candidates import Candidates
from yolox_deploy.tasks.comparison import Comparison, Tolerance
from yolox_deploy.tasks.detect import Detect
from yolox_deploy.tasks.detections import Detection, Detections

__all__ = [
    "TASKS",
    "Candidates",
    "Comparison",
    "Decoder",
    "Detect",
    "Detection",
    "Detections",
    "Task",
    "Tolerance",
    "task_of",
]

TASKS: Registry[Task] = Registry("task", "yolox_deploy.tasks", [Detect()])


def task_of(spec: ModelSpec) -> Task:
    """Return the task that a model is for.

    Raises :class:`ArtifactError` where no installed package has such a task.
    """
    if spec.task not in TASKS:
        raise ArtifactError(
            f"{spec.name} was made for the task {spec.task!r}, and here are only "
            f"{', '.join(TASKS)}: install the package that brings it, or upgrade: pip install "
            "--upgrade yolox-deploy"
        )
    return TASKS[spec.task]
