"""The JSON that ``yolox-bench --json`` writes, as a JSON schema with a version.

The version grows when a reader of an older one would misunderstand the file.
"""

from __future__ import annotations

from typing import Any

from yolox_deploy.benchmarks.scenarios.base import SCENARIOS
from yolox_deploy.errors import InputFileError, MissingPackageError

FORMAT = "yolox-bench"
SCHEMA_VERSION = 1

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
FACTS = {"type": "object", "additionalProperties": TEXT}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
COUNT = {"type": "integer", "minimum": 1, "maximum": 1_000_000}


def record(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SYSTEM = record(
    label=TEXT,
    model=TEXT,
    architecture={"type": ["string", "null"]},
    random_weights={"type": "boolean"},
    backend=TEXT,
    engine_version=TEXT,
    device=TEXT,
    precision=TEXT,
    asked_precision=TEXT,
    artifact_precision=TEXT,
    threads={"type": ["integer", "null"]},
    batch=COUNT,
    height=COUNT,
    width=COUNT,
    num_classes=COUNT,
    verification=TEXT,
)


def schema() -> dict[str, Any]:
    """Return the schema of the whole file, each scenario's result by its own."""
    modules = {row.name: row.load() for row in SCENARIOS.values()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **record(
            format={"const": FORMAT},
            version={"const": SCHEMA_VERSION},
            scenario={"enum": list(SCENARIOS)},
            command=TEXT,
            created=TEXT,
            environment=record(machine=FACTS, start=FACTS, end=FACTS, lost=SHARE, doubts=TEXTS),
            systems={"type": "array", "items": SYSTEM, "minItems": 1, "maxItems": 10_000},
            notes=TEXTS,
            result={"type": "object"},
        ),
        "allOf": [
            {
                "if": {"properties": {"scenario": {"const": name}}},
                "then": {"properties": {"result": module.SCHEMA}},
            }
            for name, module in modules.items()
        ],
    }


def check(content: Any, where: str) -> None:
    """Raise :class:`InputFileError` unless ``content`` is a report of this version."""
    try:
        import jsonschema
    except ImportError as error:
        raise MissingPackageError(
            'reports are checked by jsonschema: pip install "yolox-deploy[bench]"'
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputFileError(f"{where}: no report of yolox-bench --json")
    if content.get("version") != SCHEMA_VERSION:
        raise InputFileError(
            f"{where}: a report of version {content.get('version')!r:.20}, this yolox_deploy reads "
            f"{SCHEMA_VERSION}: measure again"
        )
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(content)
    wrong = jsonschema.exceptions.best_match(errors)
    if wrong is not None:
        place = "/".join(map(str, wrong.absolute_path)) or "the file"
        raise InputFileError(f"{where}: damaged at {place}: {wrong.message[:200]}")
