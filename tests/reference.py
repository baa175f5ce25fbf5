"""Pages of the reference, generated from the code: `python -m tests.reference` writes them.

docs/configuration.md has tables between markers; the pages in docs/reference/ are generated as a whole.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from pydantic import TypeAdapter
from pydantic_core import PydanticUndefined

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.reading.run_warning import GROUPS, KNOWN
from bench.analysis.showing.outputs import OUTPUTS
from bench.cli import VERBS
from bench.cli.schemas import file_schemas, finished
from bench.cli.verbs import verbs
from bench.config.experiment import Experiment, Load, Model
from bench.config.limits import Limits, Where
from bench.config.reading import Table
from bench.config.servers import Batching, Server, Started, Tls
from bench.config.tune import Space, Tune
from bench.launch.kinds import KINDS
from bench.runs.manifest import Manifest
from bench.runs.sample import CANCELLED_BY_CLIENT, STATUS_NAMES, UNSENT
from bench.schedule.schedules import FORMS
from tests.benchmarks.arguments import parser

DOCS: Final = Path(__file__).parents[1] / "docs"
OF_KINDS: Final = list(dict.fromkeys(kind.table for kind in KINDS.values()))
TABLES: Final[dict[str, tuple[type[Table], type[Table] | None]]] = {
    "every server": (Server, None),
    "started here": (Started, Server),
    **{
        ", ".join(name for name, kind in KINDS.items() if kind.table is table): (
            table,
            Started if issubclass(table, Started) else Server,
        )
        for table in OF_KINDS
    },
    "batching": (Batching, None),
    "tls": (Tls, None),
    "experiment": (Experiment, None),
    "models.NAME": (Model, None),
    "loads": (Load, None),
    "tune": (Tune, Experiment),
    "space": (Space, None),
}
"""Name of a table in docs/configuration.md -> its class, and the one whose keys stand in another table."""


GENERATED: Final = "<!-- generated: python -m tests.reference -->\n\n"


def keys(table: type[Table], elsewhere: type[Table] | None = None) -> str:
    """The table of one class of keys: key, meaning, allowed values, default, example."""
    lines = ["| key | meaning | allowed | default | example |", "|---|---|---|---|---|"]
    for name, field in table.model_fields.items():
        if elsewhere is not None and name in elsewhere.model_fields and name != "kind":
            continue
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        example = f"`{name} = {extra['example']}`"
        cells = (f"`{name}`", str(field.description), str(extra["allowed"]), _default(field.default), example)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The page with today's tables between its markers."""
    for name, (table, elsewhere) in TABLES.items():
        begin, end = f"<!-- keys: {name} -->", f"<!-- end: {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{keys(table, elsewhere)}\n{end}{tail}"
    return text


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "(required)"
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {{}}" for name in value) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`"


def _rows(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Every metric by name."""
    units = {
        "s": "seconds",
        "1/s": "per second",
        "share": "share, 0 to 1",
        "ratio": "ratio",
        "J": "joules",
        "price": "money",
    }
    table = _rows(
        ("metric", "meaning", "unit", "better"),
        ((f"`{each.name}`", each.text, units[each.unit], each.better) for each in METRICS.values()),
    )
    return (
        "# Metrics\n\nNames in limits files, in `--metric` and in JSON. Durations are seconds in JSON; a limits file gives "
        "them a unit in the name: `p99_ms`, `p99_us` or `p99_s`. Definitions: [What the numbers mean](../measurement.md).\n\n"
        + table
    )


def warnings() -> str:
    """Every warning by the name that accepts it."""
    table = _rows(("name", "when it is given"), ((f"`{name}`", text) for name, text in sorted(KNOWN.items())))
    return (
        "# Warnings\n\nReports show each warning with its reason, a remedy and its name in brackets. No gate passes with a "
        'warning unless the limits file accepts it by name: `accept = ["client saturated"]`.\n\n'
        + table
        + "".join(
            f"\n`{name}` accepts several at once: {', '.join(f'`{each}`' for each in group)}.\n"
            for name, group in GROUPS.items()
        )
    )


def limits() -> str:
    """The keys of limits files."""
    return (
        "# Limits files\n\nWhat `bench gate` checks; how: "
        "[Reading, comparing and releasing](../reading-results.md#bench-gate). The names of metrics: "
        "[Metrics](metrics.md).\n\n"
        f"{keys(Limits)}\n\n## Tables `[[cells]]`\n\nThe same two tables of limits and `goodput_ms`, for the cells that "
        f"these keys select:\n\n{keys(Where)}\n"
    )


def outcomes() -> str:
    """Exit codes and outcomes of requests."""
    codes = (
        ("0", "done, or pass"),
        (
            "1",
            "FAIL: a limit is broken, or `compare --check` found something worse; of `locust`: a request failed",
        ),
        ("2", "wrong usage or input; one line names it and what would be right"),
        ("3", "inconclusive, or the measurement is invalid; of `bench run`: a trial failed"),
        ("70", "a crash of `bench` itself: never a verdict"),
        ("130", "Ctrl-C"),
    )
    special = (
        (f"`{UNSENT}`", "due, and never sent: `--max-in-flight` was reached"),
        (
            f"`{CANCELLED_BY_CLIENT}`",
            "cancelled by the load generator, as at Ctrl-C; never an error of the server",
        ),
    )
    table = _rows(("outcome", "meaning"), ((f"`{name}`", "gRPC status") for name in STATUS_NAMES))
    return (
        "# Exit codes and outcomes\n\n"
        + _rows(("exit code", "meaning"), iter(codes))
        + "\n## Outcomes of requests\n\n"
        + table
        + "".join(f"| {name} | {text} |\n" for name, text in special)
    )


def options() -> str:
    """Options of Locust runs and of every verb."""
    parts = [
        "# Options\n\n## Locust runs\n\nBeside Locust's own options, each also as an environment variable `BENCH_...`. "
        "Options marked with * name files, variables or URLs, and are not in the web form.\n\n",
        _rows(("option", "meaning"), _locust_options()),
        "\nSchedules: "
        + ", ".join(f"`{each}`" for form in FORMS.values() for each in form.split(", "))
        + ".\n",
    ]
    for name in VERBS:
        parts += _verb(name, command(name))
    return "".join(parts)


def command(name: str) -> click.Command:
    """The click command of a verb."""
    found = verbs.get_command(click.Context(verbs), name)
    assert found is not None
    return found


def _locust_options() -> Iterator[tuple[str, str]]:
    from bench.load.arguments import PRIVATE, add_arguments

    parser = argparse.ArgumentParser()
    parser.add_argument = _without_locust(parser.add_argument)  # type: ignore[method-assign]
    add_arguments(parser)
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        value = (
            f" {action.metavar}"
            if action.metavar
            else " " + "|".join(action.choices)
            if action.choices
            else ""
        )
        star = " *" if action.dest in PRIVATE else ""
        yield f"`{action.option_strings[0]}{value}`{star}", str(action.help)


def _without_locust(add: Any) -> Any:
    def wrapped(*names: str, env_var: str = "", include_in_web_ui: bool = True, **settings: Any) -> Any:
        del env_var, include_in_web_ui  # what Locust's parser takes beside argparse's
        return add(*names, **settings)

    return wrapped


def _verb(path: str, command: click.Command) -> Iterator[str]:
    help_text = (command.help or "").split("\n\n", 1)[0].replace("\n", " ")
    yield f"\n## bench {path}\n\n{help_text}\n\n"
    with click.Context(command, info_name=path) as context:
        records = [
            record
            for parameter in command.params
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
        ]
    if records:
        yield _rows(("option", "meaning"), ((f"`{name}`", " ".join(text.split())) for name, text in records))
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _verb(f"{path} {name}", each)


PAGES: Final = {
    "options.md": options,
    "limits.md": limits,
    "metrics.md": metrics,
    "warnings.md": warnings,
    "exit-codes.md": outcomes,
}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON schemas by file name: of files that users write, of the manifest, and of what `--json` gives."""
    outputs = {
        name: finished(name, _closed(TypeAdapter(kind).json_schema(mode="serialization")))
        for name, kind in OUTPUTS.items()
    }
    schemas = file_schemas() | {"manifest": _manifest()} | outputs
    return {f"{name}.schema.json": schema for name, schema in schemas.items()}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """No other keys; a line of a report has one for each metric beside its own."""
    for name, part in {"": schema, **schema["$defs"]}.items():
        if "properties" in part:
            part["additionalProperties"] = {"type": ["number", "null"]} if name == "LineOut" else False
    return schema


def _manifest() -> dict[str, Any]:
    """Its parts are read as empty where they are null."""
    schema = finished("manifest", Manifest.model_json_schema())
    properties = schema["properties"]
    for each in set(properties) - set(schema["required"]):
        properties[each] = {"anyOf": [properties[each], {"type": "null"}]}
    return schema


def generated() -> dict[Path, str]:
    """Path of each page of the reference -> its text as the code would have it."""
    configuration = DOCS / "configuration.md"
    pages = {DOCS / "reference" / name: GENERATED + page() for name, page in PAGES.items()}
    pages |= {
        DOCS / "reference" / "schemas" / name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in schemas().items()
    }
    return pages | {configuration: with_tables(configuration.read_text())}


if __name__ == "__main__":
    parser(__doc__).parse_args()
    for path, text in generated().items():
        path.write_text(text)
