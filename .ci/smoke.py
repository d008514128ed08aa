"""What a newcomer sees who installed the wheel: first alone, then with ONNX Runtime.

``smoke.py nothing`` runs where no engine is installed, ``smoke.py onnxruntime`` where it is.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import yolox_deploy
from yolox_deploy import Detector
from yolox_deploy.packages import install_line

BIN = Path(sys.executable).parent
PICTURE = Path(yolox_deploy.__file__).parent / "assets" / "digits_1.jpg"


def run(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of the commands of this environment."""
    return subprocess.run(
        [BIN / command, *map(str, arguments)], capture_output=True, text=True, check=False
    )


assert "site-packages" in yolox_deploy.__file__, yolox_deploy.__file__
assert importlib.util.find_spec("torch") is None, "this environment was meant to lack PyTorch"
assert run("yolox-doctor").returncode == 0
export = run("yolox-export", "--model", "any.pth")
assert export.returncode == 4, export
assert install_line("export") in export.stderr, export
detect = run("yolox-detect", PICTURE, "--json", "found.json")
if sys.argv[1:] == ["nothing"]:
    assert detect.returncode == 4, detect
    assert install_line("onnxruntime") in detect.stderr, detect
    print("without an engine the message is:", detect.stderr.strip())
else:
    assert detect.returncode == 0, detect
    assert Path("found.json").is_file()
    with Detector() as detector:
        found = detector(PICTURE)
    assert len(found) == 10, found
    print("the wheel works without PyTorch:", detector, found)
