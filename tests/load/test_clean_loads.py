"""A load without a fault ends with exit code 0 over every protocol (over the default one, most other tests say so)."""

from pathlib import Path

from bench.launch import server_process
from bench.protocol.names import DEFAULT, EMBEDDED
from tests.load.locust_runs import finish, start, until_recorded

MIXED = "grpc_vs_rest"
"""A scenario that sends over both, and lasts for some time."""


def test_a_load_without_a_fault_ends_with_0_over_every_protocol(tmp_path: Path) -> None:
    quiet = ("-u", "2", "-r", "9", "--schedule", "closed:10ms")
    with server_process.embedded(
        ["--backend", "synthetic", "--model_name", "mnist", "--rest_api_port=0"]
    ) as server:
        started = {
            name: start(
                tmp_path / name,
                *quiet,
                "--host",
                (server.rest or "") if name == "tfs-rest" else server.address,
                *(["--rest", server.rest or "", "-t", "2s"] if name == MIXED else ["--protocol", name]),
                scenario=f"scenarios/{MIXED if name == MIXED else 'mnist'}.py",
            )
            for name in {*EMBEDDED, MIXED} - {DEFAULT}
        }
        ended = {
            name: finish(each, tmp_path / name)
            if name == MIXED
            else until_recorded(each, tmp_path / name, 10)
            for name, each in started.items()
        }
    for name, done in ended.items():
        assert done.code == 0, done.output
        run = done.run()
        assert set(run.samples["status"]) == {0}, name
        names = {"gRPC", "REST"} if name == MIXED else {"Predict"}
        assert set(run.samples["name"]) == names
        assert run.manifest.counts.recorded == run.manifest.counts.sent == len(run.samples)
