"""The commands: thin layers of arguments and tables over the library."""

import sys
from pathlib import Path

from yolox_deploy.errors import MissingPackageError
from yolox_deploy.terminal import say

try:
    import yolox_deploy.pictures  # noqa: F401
except MissingPackageError as error:
    # No command can do anything without OpenCV, and each imports it before its own first line.
    say(f"{Path(sys.argv[0]).name}: {error}")
    raise SystemExit(error.exit_code) from None
