"""Pictures: reading them, the letterbox, and drawing results into them.

OpenCV is looked at here, before any module imports it.
"""

import sys

from yolox_deploy.errors import MissingPackageError
from yolox_deploy.packages import is_installed, why_broken

INSTALL = "pip install opencv-python-headless"


def why_no_opencv() -> str:
    """Return one sentence on why OpenCV cannot be used and what to do, "" if it can."""
    if not is_installed("cv2"):
        return f"OpenCV is missing: {INSTALL}"
    broken = why_broken("cv2")
    if not broken and not hasattr(sys.modules["cv2"], "imdecode"):
        # What pip leaves of two packages of OpenCV of which one was removed.
        broken = "the package cv2 (OpenCV) is incomplete"
    if not broken:
        return ""
    # opencv-python needs libGL and other libraries of a desktop, which servers lack.
    return f"{broken}: pip uninstall -y opencv-python opencv-python-headless; {INSTALL}"


if _reason := why_no_opencv():
    raise MissingPackageError(_reason)
