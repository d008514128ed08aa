"""Packages that are imported when they are needed, and what to say where that fails.

A package that is installed and cannot be imported needs another remedy than a missing one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from yolox_deploy.errors import MissingPackageError

LONGEST_REASON = 200


def is_installed(package: str) -> bool:
    """Whether a top-level package is there; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # something took its place in sys.modules
        return True


def version_of(package: str) -> str:
    """Return the version of an installed package, "unknown" if it does not tell."""
    try:
        return importlib.metadata.version(distributions_of(package)[0])
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def distributions_of(package: str) -> list[str]:
    """Return what ``pip`` calls an installed package: ``opencv-python`` for ``cv2``."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.packages_distributions().get(package, [package])
    return [package]


def why_broken(module: str) -> str:
    """Import a module of an installed package; return one sentence on why that fails, else ""."""
    try:
        importlib.import_module(module)
    except Exception as error:
        # Broken packages raise ImportError, OSError, AttributeError, TypeError, ...
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        package = module.partition(".")[0]
        return (
            f"{package} {version_of(package)} is installed but cannot be imported "
            f"({type(error).__name__}: {reason})"
        )
    return ""


def reinstall(package: str) -> str:
    """Return the advice for a package that is broken."""
    names = " ".join(distributions_of(package))
    return (
        "if the reason names a library of the system, install that; else install the package "
        f"again: pip install --force-reinstall {names}"
    )


def install_line(extra: str) -> str:
    """Return the ``pip`` command that installs an extra of this package from where it came from.

    That is a checkout, another folder, a file or an address if pip noted one, else an index.  See
    https://packaging.python.org/specifications/direct-url/.
    """
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f'pip install -e "{checkout}[{extra}]"'
    index = f'pip install "yolox-deploy[{extra}]"'
    try:
        noted = importlib.metadata.distribution("yolox-deploy").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return index
    origin = json.loads(noted or "{}")
    address = origin.get("url", "")
    if address.startswith("file:"):
        path = Path(unquote(urlsplit(address).path))
        return f'pip install "{path}[{extra}]"' if path.exists() else index
    if "vcs_info" in origin:
        address = f"{origin['vcs_info']['vcs']}+{address}"
    return f'pip install "yolox-deploy[{extra}] @ {address}"' if address else index


def require(module: str, reason: str, install: str) -> Any:
    """Import and return a module.

    Raises :class:`MissingPackageError`, which begins with ``reason`` and says whether the package
    is missing, with the command ``install``, or broken.
    """
    package = module.partition(".")[0]
    if not is_installed(package):
        raise MissingPackageError(f"{reason}: {install}")
    if broken := why_broken(module):
        raise MissingPackageError(f"{reason}, but {broken}: {reinstall(package)}")
    return importlib.import_module(module)
