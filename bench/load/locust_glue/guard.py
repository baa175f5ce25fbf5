"""A master against messages that no worker of its test sends: each is left out, and the measurement says so."""

import logging
from collections.abc import Callable
from typing import Any, Final

log = logging.getLogger("bench")

CHECK: Final = "foreign report"
MOST: Final = 20
"""Clients that are named; of more it is only known that they were."""
_STATISTICS: Final = {"stats", "stats_total", "errors", "user_classes_count"}
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError)
"""What reading a message of another shape can raise."""


class Guard:
    """Between Locust's master and those who report to it."""

    def __init__(self, runner: Any, title: Callable[[str], str]) -> None:
        """title: names a client to the user."""
        self._runner, self._title = runner, title
        self._handle = runner.handle_message
        self._connected: set[str] = set(runner.clients)
        self._refused: dict[str, str] = {}
        runner.handle_message = self._take
        runner.environment.events.worker_connect.add_listener(self._on_connect)

    def listen(self, kind: str, handle: Callable[[str, Any], None]) -> None:
        """Have messages of a kind handled by `handle(client, data)`, which raises ValueError for what is impossible."""

        def take(msg: Any, **_: Any) -> None:
            try:
                handle(msg.node_id, msg.data)
            except Exception as error:  # noqa: BLE001 - whatever a foreign program can send
                self._refuse(msg.node_id, kind, error)

        self._runner.register_message(kind, take)

    def begin(self) -> None:
        """A test begins: what was refused before does not count against it."""
        self._refused.clear()

    def warnings(self) -> list[dict[str, str]]:
        """A warning for the manifest for each client that was turned away, or whose reports were left out."""
        return [
            {
                "check": CHECK,
                "reason": reason,
                "remedy": "check which processes report to this master; "
                "BENCH_WORKER_TOKEN or --processes keep others out",
            }
            for reason in self._refused.values()
        ]

    def turned_away(self, client: str, reason: str) -> None:
        """A load process came while a test ran and cannot take part in it."""
        self._note(client, f"a load process that came later was turned away, {self._title(client)}: {reason}")

    def _on_connect(self, client_id: str, **_: Any) -> None:
        self._connected.add(client_id)

    def _take(self, client: str, message: Any) -> None:
        """What Locust's own handler does, which ends for good when a message is not of the shape that it expects."""
        try:
            if message.type == "stats":
                self._check_statistics(client, message.data)
            self._handle(client, message)
        except _FAULTS as error:
            self._refuse(client, str(message.type), error)

    def _check_statistics(self, client: str, data: Any) -> None:
        """Raise ValueError for what Locust would count although it knows no such worker, or show a traceback for."""
        if client not in self._connected:
            raise ValueError("unknown to Locust")
        if not isinstance(data, dict) or not data.keys() >= _STATISTICS:
            raise ValueError(f"expected a table with {', '.join(sorted(_STATISTICS))}")

    def _refuse(self, client: str, kind: str, error: Exception) -> None:
        reason = str(error) if isinstance(error, ValueError) and str(error) else repr(error)
        self._note(client, f"a report was left out, of {self._title(client)}: {kind[:40]}: {reason[:200]}")

    def _note(self, client: str, reason: str) -> None:
        if client not in self._refused and len(self._refused) < MOST:
            self._refused[client] = reason
            log.warning("%s", reason)
