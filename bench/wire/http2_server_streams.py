"""The streams under way on a server's connection, and their ends other than by an answer."""

from bench.wire import frames
from bench.wire.http2 import Connection
from bench.wire.incoming import EndedEarly, Incoming


class ServerStreams(Connection):
    """The server's end of a connection without its requests and answers."""

    def __init__(self, *, stream_window: int, connection_window: int, extra: dict[int, int]) -> None:
        super().__init__(stream_window=stream_window, connection_window=connection_window, extra=extra)
        self.released = 0
        """Requests given to the owner that need no answer any more, since it last set this to 0."""
        self.draining = False
        """GOAWAY was sent or received."""
        self._streams: dict[int, Incoming] = {}
        self._ended = EndedEarly()
        self._last = 0

    def _end_early(self, stream: int, code: int) -> None:
        """End a stream that the client has not ended."""
        self.out.append(frames.rst_stream(stream, code))
        self._ended.add(stream)

    def _reject(self, stream: int, code: int) -> None:
        """End a stream by our own decision; an answer to it will be dropped."""
        self._forget(stream)
        self._end_early(stream, code)

    def _forget(self, stream: int) -> None:
        incoming = self._streams.pop(stream)
        self.released += incoming.complete
        self._drop(incoming)

    def _drop(self, incoming: Incoming) -> None:
        """What has come of a request is not kept any longer."""
        self.arriving -= incoming.size
        incoming.parts, incoming.size = None, 0

    def _idle(self, stream: int) -> bool:
        return stream % 2 == 0 or stream > self._last

    def _last_peer_stream(self) -> int:
        return self._last

    def _reset(self, stream: int, code: int) -> None:
        self._outflow.drop(stream)
        if stream in self._streams:
            self._forget(stream)

    def _peer_leaves(self, last_stream: int, code: int, text: str) -> None:
        self.draining = True

    def _setting(self, identifier: int, value: int) -> None:
        """HEADER_TABLE_SIZE and the limits on pushed streams do not matter: our blocks use no table, we push nothing."""

    def _end(self, code: int, text: str) -> None:
        super()._end(code, text)
        self._release_all()

    def _release_all(self) -> None:
        self.released += sum(each.complete for each in self._streams.values())
        self._streams.clear()
        self.held = self.arriving = 0
