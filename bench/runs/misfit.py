"""What is wrong in a file that pydantic has refused, in one line."""

from typing import Final

from pydantic import ValidationError

EXPECTED: Final = {
    "model_type": "expected an object",
    "dict_type": "expected an object",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "string_type": "expected a string",
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
}
"""pydantic's name for what is wrong -> what would be right."""


def misfit(error: ValidationError) -> str:
    """The first thing that is wrong, as `key = value: what would be right`."""
    first = error.errors(include_url=False, include_context=False)[0]
    steps = [str(step) for step in first["loc"] if step is not None]
    dotted = ".".join(step if len(step) <= 80 else step[:80] + "..." for step in steps)
    if first["type"] == "missing":
        return f"{dotted}: missing"
    if first["type"] == "json_invalid":
        return first["msg"].replace("Invalid", "not valid", 1)
    value = repr(first["input"])
    shown = value if len(value) <= 80 else value[:80] + "..."
    expected = EXPECTED.get(first["type"]) or first["msg"][:1].lower() + first["msg"][1:]
    return f"{dotted} = {shown}: {expected}" if dotted else f"{shown}: {expected}"
