"""The server's answers about itself before and after a load: its counters, and which version it has."""

from collections.abc import Mapping
from typing import Any

from bench import BenchError
from bench.load.observing.server_side import Counted
from bench.load.options import ScenarioOptions
from bench.load.target import CONNECT_SECONDS, Target, connect
from bench.target.inquiry import Inquiry, describe


class BeforeAndAfter:
    """Facts about a server before a load, to be compared with those afterwards."""

    def __init__(self, target: Target, options: ScenarioOptions) -> None:
        """Raises BenchError where the page of its counters does not answer."""
        self._target, self._options = target, options
        self._counted = Counted.before(options, target.specs)

    def facts(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """For the manifest, once the load has ended; target: what it holds of the server."""
        version = self._version()
        facts: dict[str, Any] = {} if version is None else {"target": {**target, "version_after": version}}
        if self._counted is not None:
            facts["server_counters"] = self._counted.after()
        return facts

    def _version(self) -> int | None:
        """The version that answers now; None where answers named theirs, one was asked for, or it is not known.

        Otherwise a run over REST is said to be of the version that the server had before it.
        """
        before, options = self._target, self._options
        requested = {(each.model, each.version, each.label) for each in before.specs.values()}
        if before.names_version or before.version is None or len(requested) != 1:
            return None
        ((model, version, label),) = requested
        if version is not None:
            return None
        try:
            channel = connect(before.address, options, connections=1)
        except BenchError:
            return None
        try:
            return describe(
                Inquiry(channel, before.address, options.api, model, None, label, CONNECT_SECONDS)
            ).version
        except BenchError:
            return None
        finally:
            channel.close()
