"""Take a trained YOLOX checkpoint to every engine, prove it still detects, and run it.

>>> from yolox_deploy import Detector
>>> detections = Detector("yolox_s.onnx")("street.jpg")  # doctest: +SKIP

Importing the package loads NumPy and OpenCV and none of the engines.
"""

from yolox_deploy.detector import Detector
from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.detections import Detection, Detections

__version__ = "0.1.0"

__all__ = ["Detection", "Detections", "Detector", "ModelSpec", "YoloxDeployError", "__version__"]
