"""Take a trained YOLOX checkpoint to every engine, prove it still detects, and run it.

>>> from yolox_deploy import Detector
>>> detections = Detector("yolox_s.onnx")("street.jpg")  # doctest: +SKIP

Importing the package loads nothing; using one of its names loads NumPy and OpenCV, and none of the
engines.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["Detection", "Detections", "Detector", "ModelSpec", "Tracker"]
__all__ += ["YoloxDeployError", "__version__"]

if TYPE_CHECKING:
    from yolox_deploy.detector import Detector
    from yolox_deploy.errors import YoloxDeployError
    from yolox_deploy.spec import ModelSpec
    from yolox_deploy.tasks.detections import Detection, Detections
    from yolox_deploy.tracking import Tracker
else:
    from importlib import import_module

    _MODULES = {
        "Detection": "tasks.detections",
        "Detections": "tasks.detections",
        "Detector": "detector",
        "ModelSpec": "spec",
        "Tracker": "tracking",
        "YoloxDeployError": "errors",
    }

    def __getattr__(name):
        # Late, so that a command can begin, and say what is missing, where OpenCV is broken.
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
