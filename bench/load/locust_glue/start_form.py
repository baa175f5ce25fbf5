"""Headings, readable labels and help for our options in Locust's start form.

Locust shows the options of a locustfile in one list in the order of the alphabet, with a label made of name and help. Here
they keep the order in which they are registered, and a script in its page does the rest.
"""

import json
from importlib import resources
from typing import Any

from flask import Response, request

from bench.load.arguments import FIELDS


def offer(web: Any, prefix: str) -> None:
    """Add the script to the page of a web interface of Locust's."""

    def extended(answer: Response) -> Response:
        if request.path == f"{prefix}/" and answer.status_code == 200 and answer.mimetype == "text/html":
            answer.set_data(answer.get_data(as_text=True).replace("</body>", f"{_script()}</body>"))
        return answer

    web.app.jinja_env.policies["json.dumps_kwargs"] = {"sort_keys": False}  # of what is written into the page
    web.app.after_request(extended)


def _script() -> str:
    program = resources.files(__package__).joinpath("start_form.js").read_text()
    fields = [
        {"name": _camel(name), "group": field.heading, "label": field.label, "help": field.help}
        for name, field in FIELDS.items()
    ]
    data = json.dumps(fields).replace("<", "\\u003c")  # no end of a script in it
    return f"<script>{program.strip()}({data})</script>"


def _camel(name: str) -> str:
    """The name of the field as Locust's page has it: batch_size is batchSize."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
