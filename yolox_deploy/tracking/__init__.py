"""Following objects from frame to frame: their ids, and the ways they came as lines."""

from yolox_deploy.tracking.motion import Moving
from yolox_deploy.tracking.tails import Tails
from yolox_deploy.tracking.tracker import Tracker

__all__ = ["Moving", "Tails", "Tracker"]
