"""Record what a TensorRT Python binding really has: classes, methods with arguments, enums.

    python record.py WHEEL... --output FOLDER

A binding is an extension module that wants TensorRT's native libraries, which are no part of its
wheel.  Its classes register themselves without calling any of them, so libraries of the same names
whose functions return nothing are enough to import it (gcc, nm and readelf are needed, and the
Python version that the wheel is for).  Nothing that was recorded can build or run an engine.

The records beside this script were made from tensorrt-bindings 8.6.1, tensorrt-cu12-bindings
10.0.1 and 10.16.1.11, tensorrt-cu13-bindings 11.4.0.106 and tensorrt-rtx-cu13-bindings 1.7.1.116.
"""

from __future__ import annotations

import argparse
import ctypes
import enum
import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

# The classes behind building, loading and running an engine; all enums are recorded.
CLASSES = [
    "Builder",
    "IBuilderConfig",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITimingCache",
    "IHostMemory",
    "OnnxParser",
    "ParserError",
    "ILayer",
    "ITensor",
    "ILogger",
    "Logger",
    "IProgressMonitor",
    "IErrorRecorder",
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
    "IRuntimeConfig",
    "IRuntimeCache",
    "IOutputAllocator",
    "IGpuAllocator",
    "IProfiler",
    "EngineInspector",
    "ISerializationConfig",
    "IInt8EntropyCalibrator2",
    "Dims",
]
FUNCTIONS = ("init_libnvinfer_plugins", "get_plugin_registry", "get_builder_plugin_registry")


def main() -> None:
    """Record every wheel in a process of its own: they share the names of their libraries."""
    parser = argparse.ArgumentParser(description="record TensorRT bindings")
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    if len(arguments.wheels) > 1:
        for wheel in arguments.wheels:
            command = [sys.executable, __file__, wheel, "--output", arguments.output]
            subprocess.run(command, check=True)
        return
    (wheel,) = arguments.wheels
    name, version = wheel.name.split("-")[:2]
    flavour = "tensorrt_rtx" if "rtx" in name else "tensorrt"
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        (library,) = Path(folder).rglob("tensorrt*.so")
        module = import_without_libraries(library, Path(folder))
        text = compact({"wheel": name, "version": version, **recorded(module)})
    path = arguments.output / f"{flavour}_{version}.json"
    path.write_text(text, "utf-8")
    print(f"{path}: {path.stat().st_size} bytes")


def import_without_libraries(library: Path, folder: Path) -> ModuleType:
    """Import a binding over empty libraries."""
    needed = re.findall(r"NEEDED.*\[(lib(?:nv|tensorrt)[^\]]+)\]", output("readelf", "-d", library))
    lines = (line.split() for line in output("nm", "-D", "--undefined-only", library).splitlines())
    undefined = [w[-1] for w in lines if w[-2] == "U" and not re.match(r"_?Py|.*@", w[-1])]
    source = folder / "empty.c"
    for name in needed:
        functions = undefined if name == needed[0] else []
        source.write_text("\n".join(f"void *{f}(void) {{ return 0; }}" for f in functions))
        made = folder / name
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", made, source]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)
    loader = importlib.machinery.ExtensionFileLoader(library.name.partition(".")[0], str(library))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def output(*command: str | Path) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def recorded(module: ModuleType) -> dict[str, Any]:
    """Return a module's classes, enums, functions and named data types."""
    enums, classes = {}, {}
    for name, value in sorted(vars(module).items()):
        if not isinstance(value, type):
            continue
        if is_enum(value):
            enums[name] = members(value)
        elif name in CLASSES:
            classes[name] = record_class(value)
            enums |= {
                f"{name}.{inner}": members(kind)
                for inner, kind in vars(value).items()
                if isinstance(kind, type) and is_enum(kind)
            }
    functions = {f: signatures(getattr(module, f)) for f in FUNCTIONS if hasattr(module, f)}
    types = {
        name: str(value).partition(".")[2]
        for name, value in vars(module).items()
        if type(value).__name__ == "DataType"
    }
    return {"enums": enums, "classes": classes, "functions": functions, "data_types": types}


def is_enum(kind: type) -> bool:
    """Whether a class is an enum, of the binding's library or of Python."""
    return issubclass(kind, enum.Enum) or hasattr(kind, "__members__")


def members(kind: Any) -> dict[str, int]:
    """Return an enum's names and numbers."""
    return {name: int(getattr(m, "value", m)) for name, m in kind.__members__.items()}


def record_class(kind: type) -> dict[str, Any]:
    """Return a class' methods with their arguments, its properties, and its bases' names."""
    methods: dict[str, list[str]] = {}
    properties: dict[str, str] = {}
    for name in dir(kind):
        value = getattr(kind, name)
        if isinstance(value, property):
            properties[name] = "read and write" if value.fset else "read"
        elif name in ("__init__", "__len__", "__getitem__", "__enter__", "__exit__"):
            found = signatures(value)
            if found:
                methods[name] = found
        elif callable(value) and not isinstance(value, type) and not name.startswith("_"):
            methods[name] = signatures(value)
    bases = [base.__name__ for base in kind.__bases__ if base.__name__ in CLASSES]
    return {"bases": bases, "properties": properties, "methods": methods}


def signatures(function: Any) -> list[str]:
    """Return the arguments of every overload: "name, other=" where ``other`` has a default."""
    lines = (function.__doc__ or "").splitlines()
    name = re.escape(function.__name__)
    found = [re.match(rf"(?:\d+\. )?{name}\((.*)\)(?: -> .*)?$", line) for line in lines]
    # The first line of an overloaded function takes anything.
    every = [arguments_of(match[1]) for match in found if match]
    return [one for one in every if one != "*args, **kwargs"] or every


def arguments_of(text: str) -> str:
    """Return ``"pool, pool_size="`` for ``"self: X, pool: Pool, pool_size: int = 0"``."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text + ","):
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and not depth:
            parts.append(text[start:i].strip())
            start = i + 1
    names = [re.split(r"[:=]", part)[0].strip() + "=" * (" = " in part) for part in parts if part]
    return ", ".join(name for name in names if name != "self")


def compact(content: dict[str, Any]) -> str:
    """Return JSON with one line a class or enum."""
    parts = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f' "{key}": {{\n{rows}\n }}')
        else:
            parts.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
