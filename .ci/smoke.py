"""What an application sees that installed the wheel and ONNX Runtime, and nothing else."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import yolox_deploy
from yolox_deploy import Detector

BIN = Path(sys.executable).parent
PICTURE = Path(yolox_deploy.__file__).parent / "assets" / "digits_1.jpg"

assert "site-packages" in yolox_deploy.__file__, yolox_deploy.__file__
assert importlib.util.find_spec("torch") is None, "this environment was meant to lack PyTorch"
model = sys.argv[1]
with Detector(model) as detector:
    found = detector(PICTURE)
assert len(found), f"no detection in {PICTURE}"
print(detector, found)

detect = subprocess.run([BIN / "yolox-detect", PICTURE, "--model", model, "--json", "found.json"])
assert detect.returncode == 0, detect
assert Path("found.json").is_file()
export = subprocess.run(
    [BIN / "yolox-export", "--model", "any.pth"], capture_output=True, text=True
)
assert export.returncode == 4, export
assert 'pip install "yolox-deploy[export]"' in export.stderr, export.stderr
assert subprocess.run([BIN / "yolox-doctor"]).returncode == 0
print("the wheel works without PyTorch")
