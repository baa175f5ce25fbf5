"""The connections of one load process: a gRPC channel, and connections over HTTP."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from bench.load.engine.http_calls import HttpCalls
from bench.load.engine.recorder import Recorder
from bench.load.engine.turns import Turns
from bench.load.options import ScenarioOptions
from bench.load.target import connect


class Senders:
    """Both, counted as one."""

    def __init__(self, address: str, options: ScenarioOptions, worker: int) -> None:
        """address: of the server, as the run's protocol reaches it; worker: which of the load processes this is.

        Raises BenchError where nobody listens.
        """
        # the addresses of a name are taken in turn by the connections of all load processes
        turn = max(0, worker) * options.connections
        place = address if options.api.over_http else options.rest
        self.http = HttpCalls(place, options.asked.deadline, turn, largest=options.max_answer_bytes)
        self.channel: Any = None
        """Of the calls over gRPC; None where all requests go over HTTP."""
        if not options.api.over_http:
            self.channel = connect(address, options, connections=options.connections, turn=turn)
        self._deadline = options.asked.deadline
        self._turns: dict[Recorder, Turns] = {}
        self._each: list[Any] = [self.http] if self.channel is None else [self.http, self.channel]

    def turns(self, recorder: Recorder, over: Callable[[], bool]) -> Turns:
        """What sends for the users of a request name that do nothing else, until it is over."""
        turns = self._turns.get(recorder)
        if turns is None:
            turns = self._turns[recorder] = Turns(self.channel, recorder, self._deadline, over)
        return turns

    @property
    def sent(self) -> int:
        """Requests whose last byte was handed to the kernel; one that had to be sent again counts once."""
        return sum(each.sent_calls for each in self._each)

    @property
    def retries(self) -> int | None:
        """Further attempts of requests that a server gave back or that met the end of a connection.

        None where the transport does not say.
        """
        counts = [each.retries for each in self._each]
        return None if None in counts else sum(counts)

    @property
    def addresses(self) -> dict[str, int]:
        """Requests sent, by the server's addresses where they are known."""
        return dict(sum((each.addresses for each in self._each), Counter()))

    @property
    def waited(self) -> dict[str, int]:
        """Requests that could not leave at once, by what kept them, where the transport says so."""
        return dict(sum((each.waits.counts for each in self._each), Counter()))

    @property
    def most_streams(self) -> int | None:
        """Calls that the server allows at once on a connection; None: none has waited for that."""
        return None if self.channel is None else self.channel.waits.most_streams

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        # read every few milliseconds
        return (
            self.http.in_flight if self.channel is None else self.http.in_flight + int(self.channel.in_flight)
        )

    def close(self) -> None:
        """Cancel what is in flight."""
        for each in self._each:
            each.close()
