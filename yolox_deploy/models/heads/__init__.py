"""The table of heads, the last part of a network, by task.

A head is one file beside this one, and one row here.  Another package adds a row through the entry
points of the group ``yolox_deploy.heads``; its name is that of the task (``spec.task``).
"""

from __future__ import annotations

from yolox_deploy.models.heads.base import (
    CLASS_KEY,
    PRIOR,
    Shapes,
    TaskHead,
    YOLOXHead,
    start_scores,
)
from yolox_deploy.registry import Registry

__all__ = ["CLASS_KEY", "DETECT", "HEADS", "PRIOR", "Shapes", "TaskHead", "YOLOXHead"]
__all__ += ["head_of", "start_scores"]

DETECT = TaskHead()
HEADS: Registry[TaskHead] = Registry("head", "yolox_deploy.heads", [DETECT])


def head_of(shapes: Shapes) -> TaskHead | None:
    """Return the head that these tensors include, ``None`` if there is no such head.

    The last row that recognises them is taken: heads of later rows add tensors to those of earlier
    rows.
    """
    return next((head for head in reversed(list(HEADS.values())) if head.recognises(shapes)), None)
