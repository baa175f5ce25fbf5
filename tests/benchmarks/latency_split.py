"""Check that a delay appears in the part of the latency in which it was injected. 2 ms in a proxy, 5 ms of batch timeout.

`python -m tests.benchmarks.latency_split` prints the ratio of what is found to what was injected, for each.
"""

import tempfile
from pathlib import Path

from bench.analysis.reading.reconciliation import Split, Stage, split
from bench.launch.kinds import launched
from bench.launch.running import Served
from bench.launch.servers_file import read_servers
from bench.load.site import exported
from tests.analysis.delay_line import delay_line
from tests.benchmarks.arguments import parser
from tests.load.locust_runs import locust

SECONDS = "4s"


def measured(folder: Path, text: str, hold: float | None) -> tuple[Split, float]:
    """The split of a run by one user, and the seconds for which the proxy really held a request."""
    folder.mkdir()
    servers = folder / "servers.toml"
    servers.write_text(f'[servers.it]\nkind = "embedded"\n{text}\n')
    models = [Served("mnist", exported("mnist", ["--pair"], versions=(1, 2), say=print), (2,))]
    with launched(read_servers(servers)["it"], models, folder / "place") as server:
        assert server.metrics is not None
        with delay_line(server.address, hold or 0.0) as line:
            host = server.address if hold is None else line.address
            arguments = ["--host", host, "--server-metrics", server.metrics]
            done = locust(folder / "results", "-u", "1", "-t", SECONDS, *arguments)
            found = split(done.run())
            assert found is not None, done.output
            return found, sum(line.held) / max(1, len(line.held))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain, none = measured(folder / "plain", "", 0.0)
        slow, held = measured(folder / "slow", "", 0.002)
        batching = "batching = { max_batch_size = 1000, batch_timeout_micros = 5000 }"
        batched, _ = measured(folder / "batched", batching, None)
    for title, found in (("proxy, 0 ms", plain), ("proxy, 2 ms", slow), ("batch timeout 5 ms", batched)):
        parts = ", ".join(f"{part.stage.value} {part.seconds * 1e3:.3f}" for part in found.parts)
        print(f"{title}: mean {found.mean * 1e3:.3f} ms = {parts}; off by {found.off:.2%}")
    wire = slow.seconds(Stage.WIRE) - plain.seconds(Stage.WIRE)
    print(
        f"wire and gRPC grew by {wire / (held - none):.3f} of what the proxy added ({(held - none) * 1e3:.3f} ms)"
    )
    print(f"batching queue is {batched.seconds(Stage.BATCHING_QUEUE) / 0.005:.3f} of the batch timeout")


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
