"""End Locust in one line where two options have one name."""

import argparse
import sys
from typing import Any


def one_name_once(parser: Any) -> None:
    """Have a parser refuse a second option of one name in one line: Locust would log a traceback and go on without it."""
    add, add_group = parser.add_argument, parser.add_argument_group

    def add_argument(*names: str, **settings: Any) -> Any:
        try:
            return add(*names, **settings)
        except argparse.ArgumentError as error:
            print(
                f"bench: {error}; rename the option in the locustfile or plugin that adds it too",
                file=sys.stderr,
            )
            raise SystemExit(2) from None

    def add_argument_group(*names: Any, **settings: Any) -> Any:
        group = add_group(*names, **settings)
        one_name_once(group)
        return group

    parser.add_argument, parser.add_argument_group = add_argument, add_argument_group
