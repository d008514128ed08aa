"""Commands in processes of their own that need not load the large packages again.

One interpreter loads them and then forks for each command.  Nothing of ``yolox_deploy`` is loaded
before the fork, so a command finds the environment, the registries and the entry points as one
that was started from a shell would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from command_cases import Ran

SERVER = """
import importlib, json, os, signal, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
assert "yolox_deploy" not in sys.modules
if os.path.isdir("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) == 1, "a fork would wait for a thread it has not"
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
signal.alarm(600)  # ends a command that hangs
sys.stdin = open(os.devnull)
for number, file in (("out", 1), ("err", 2)):
    os.dup2(os.open(job[number], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), file)
sys.argv = ["-c", *job["arguments"]]
exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
"""


class ForkingInterpreter:
    """An interpreter with ``packages`` loaded; ``run`` gives lines of Python to a fork of it.

    ``packages`` must not start threads, as ``onnxruntime`` does.  ``folder`` gets what the forks
    print.
    """

    def __init__(
        self, packages: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, *packages],
            # OpenBLAS starts a thread per processor when NumPy is imported.
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.communicate()

    def run(self, code: str, arguments: Sequence[object]) -> Ran:
        """Run Python code in a fork of its own, as ``python -c code arguments``."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        job = {
            "code": code,
            "arguments": [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments],
            "out": str(self._out),
            "err": str(self._err),
        }
        print(json.dumps(job), file=self._server.stdin, flush=True)
        ended = int(self._server.stdout.readline())
        return Ran(ended, self._out.read_text(), self._err.read_text())
