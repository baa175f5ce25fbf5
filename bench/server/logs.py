"""Log output: a line of text or of JSON for each event."""

import json
import logging
import sys
from datetime import UTC, datetime

from bench import escape


class _Json(logging.Formatter):
    """One JSON object a line, in ASCII: what a terminal would obey stands as an escape."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "thread": record.threadName,
            "event": record.getMessage(),
        }
        if record.exc_info:
            event["trace"] = self.formatException(record.exc_info)
        return json.dumps(event)


class _Text(logging.Formatter):
    """One line of text; a line break in a message (TensorFlow's errors have some) does not break the line.

    Names and texts of callers, of models and of TensorFlow are in it.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Escape the event and what follows it."""
        return escape.log_entry(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return escape.one_line(super().formatMessage(record).replace("\n", " "))


def formatter(form: str) -> logging.Formatter:
    """What writes events as `text` or `json`."""
    return _Json() if form == "json" else _Text()


def configure(form: str) -> None:
    """Log to standard error, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
