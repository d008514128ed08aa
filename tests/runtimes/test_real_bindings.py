"""The CUDA layer through the real cuda-python, and pycuda where it is installed.

They load a driver written for this test, which computes on the host.  That NVIDIA's driver behaves
like it cannot be shown here; ``tools/checks/cuda.py`` shows it on a GPU.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_deploy.runtimes.tensorrt.bindings import BINDINGS

FILES = Path(__file__).parents[1] / "bindings"
GIVES_BACK = ("Free", "FreeHost", "Destroy", "Unload", "Release", "CtxPopCurrent", "CtxPushCurrent")


def build_driver(binding: str, folder: Path) -> Path:
    """Compile the driver; pycuda wants every function of CUDA to be there, so that it loads."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler here to build the driver with")
    library, stubs = folder / "libcuda.so.1", folder / "stubs.c"
    command = [compiler, "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library]
    sources = [FILES / "fake_libcuda.c"]
    if binding == "pycuda":
        module = importlib.util.find_spec("pycuda._driver")
        assert module is not None
        assert module.origin is not None
        wanted = symbols(Path(module.origin), "U")
        subprocess.run([*command, *sources, "-ldl", "-lpthread"], check=True)
        missing = wanted - symbols(library, "T")
        stubs.write_text("\n".join(f"int {name}(void) {{ return 801; }}" for name in missing))
        sources.append(stubs)
    subprocess.run([*command, *sources, "-ldl", "-lpthread"], check=True)
    return library


def symbols(library: Path, kind: str) -> set[str]:
    """Return the names of CUDA's functions that a library wants ("U") or has ("T")."""
    found = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True)
    lines = (line.split() for line in found.stdout.splitlines())
    return {w[-1] for w in lines if len(w) > 1 and w[-2] == kind and w[-1].startswith("cu")}


@pytest.mark.skipif(sys.platform != "linux", reason="the driver is written for Linux")
@pytest.mark.parametrize("binding", BINDINGS)
def test_the_layer_works_and_survives_every_refusal(binding: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(BINDINGS[binding].package.replace("-bindings", "")) is None:
        pytest.skip(f"{binding} is not installed")
    library = build_driver(binding, tmp_path)
    run = subprocess.run(
        [sys.executable, FILES / "check_real.py", library, binding],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    first, refusals = rows[0], rows[1:]
    # Medians of 2 ms: a millisecond for every piece of work, and an event after it.
    assert first[2].startswith(f"{binding} 2.000 2.000 2.000 ")
    assert first[3:] == ["", ""]
    assert len(refusals) > 60
    # The last, when all goes, is for what an error may have left on the stream.
    waits = [row for row in refusals if row[1] == "cuStreamSynchronize"]
    assert [bool(row[2]) for row in waits] == [True] * (len(waits) - 1) + [False]
    refusals.remove(waits[-1])
    for number, name, error, books, wrong in refusals:
        where = f"{name}, call {number} of {len(refusals)}: {error}"
        giving_back = name.removesuffix("_v2").endswith(GIVES_BACK)
        # pycuda's destructors cannot raise.
        assert error or (binding == "pycuda" and giving_back), where
        assert error.split(":")[0] in ("CudaError", "DeviceError", "Error", ""), where
        # Functions of pycuda's own, in Python, whose frames an error keeps.
        kept = binding == "pycuda" and name in ("cuModuleGetFunction", "cuLaunchKernel")
        if not giving_back and not kept:
            assert [books, wrong] == ["", ""], where
