"""JSON schemas of the files that users write, from the classes that read them: editors complete and check keys by them."""

import functools
import operator
import tomllib
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bench.config.experiment import Experiment
from bench.config.limits import Limits
from bench.config.tune import Tune
from bench.launch.kinds import KINDS

_TABLES = tuple(dict.fromkeys(kind.table for kind in KINDS.values()))


class ServersFile(BaseModel):
    """A servers file."""

    model_config = ConfigDict(extra="forbid")
    servers: dict[str, functools.reduce(operator.or_, _TABLES)]  # type: ignore[valid-type]  # a union made of the kinds that there are


def file_schemas() -> dict[str, dict[str, Any]]:
    """The schemas by name: experiment, limits, servers and tune-file."""
    schemas = {
        "experiment": Experiment.model_json_schema(),
        "limits": Limits.model_json_schema(),
        "servers": TypeAdapter(ServersFile).json_schema(),
        "tune-file": Tune.model_json_schema(),
    }
    return {name: finished(name, schema) for name, schema in schemas.items()}


def finished(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of pydantic's with its dialect, title and examples."""
    for part in (schema, *schema.get("$defs", {}).values()):
        for each in part.get("properties", {}).values():
            each.pop("allowed", None)
            example = each.pop("example", None)
            if example is not None:
                each["examples"] = [tomllib.loads(f"value = {example}")["value"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": name}
