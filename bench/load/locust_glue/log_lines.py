"""Log lines of a load process, in which text of servers and workers commands neither a terminal nor a CI log."""

import logging
import sys
from typing import Final

from bench import escape

_DONE: Final = "bench_escaped"
_LOCUSTS: Final = ("locust.stats_logger",)
"""Loggers of Locust that hand nothing on to the root's handlers: its tables."""


class Escaping(logging.Filter):
    """Makes a record's message and trace plain text; what follows a line end in it is indented, so that it is no line of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if getattr(record, _DONE, False):  # by another handler
            return True
        setattr(record, _DONE, True)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # its arguments do not fit: logging itself says so
            return True
        record.msg, record.args = escape.log_entry(text), None
        if record.exc_info:
            record.exc_text = escape.log_entry(logging.Formatter().formatException(record.exc_info))
        return True


def complain(reason: object) -> None:
    """Print a line on standard error, of what ends the process before or without a log."""
    print(escape.ci_log(escape.one_line(f"bench: {reason}")), file=sys.stderr, flush=True)


def escape_all() -> None:
    """Escape what the handlers of this process write from now on."""
    for name in ("", *_LOCUSTS):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(each, Escaping) for each in handler.filters):
                handler.addFilter(Escaping())
