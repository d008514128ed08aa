"""Makes the scripts of ``examples/digits`` importable, as they are when one of them is run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "digits"))
