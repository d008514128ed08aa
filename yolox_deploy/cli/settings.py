"""The options of ``yolox-export`` that come from the settings of the targets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from yolox_deploy.cli.common import ExtensionOptions
from yolox_deploy.cli.parser import Joined, one_value
from yolox_deploy.errors import UsageError
from yolox_deploy.export.targets import Setting, all_settings, takers

# The option that settings may give further forms to.
BATCH = "--batch"


def batch_help() -> str:
    """Return the help of ``--batch`` with the further forms that settings give it."""
    forms = [
        f"; for {takers_of(setting)} also {setting.metavar}: {escaped(setting.help)}"
        for setting in all_settings().values()
        if setting.option == BATCH
    ]
    return "".join(("number of pictures per inference call (default: 1)", *forms))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting that some targets declare."""
    group = parser.add_argument_group("settings of single targets")
    for setting in all_settings().values():
        if setting.option == BATCH:
            continue
        kind: dict[str, Any] = {"action": "store_true"}
        if setting.metavar:
            name, *several = setting.metavar.split()
            kind = {"metavar": name}
            read = setting.parse
            kind |= {"action": Joined, "type": read} if several else {"type": one_value(read)}
        owner = f"the setting {setting.name!r} of target {takers(setting.name)[0]}"
        ExtensionOptions(group, owner).add_argument(
            setting.option,
            dest=f"setting_{setting.name}",
            default=setting.default,
            help=f"for {takers_of(setting)}: {escaped(setting.help)}",
            **kind,
        )


def takers_of(setting: Setting) -> str:
    """Return which targets take a setting, in words."""
    return " or ".join(takers(setting.name))


def escaped(text: str) -> str:
    """Return a text as argparse wants it, which formats its help with ``%``."""
    return text.replace("%", "%%")


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given on the command line."""
    given = dict(arguments.batch) if isinstance(arguments.batch, Mapping) else {}
    for name, setting in all_settings().items():
        value = getattr(arguments, f"setting_{name}", setting.default)
        if value != setting.default:
            given[name] = value
    return given


def batch(text: str) -> int | dict[str, Any]:
    """Return ``--batch``: a number, or the value of a setting that has the same option."""
    for setting in all_settings().values():
        if setting.option == BATCH and not text.strip().lstrip("+-").isdigit():
            try:
                return {setting.name: setting.parse(text)}
            except ValueError as error:
                raise UsageError(f"expected N or {setting.metavar}, got {text}") from error
    return int(text)
