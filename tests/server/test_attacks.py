"""Whatever one client sends, another one is answered meanwhile."""

import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from bench.launch import server_process
from tests.server.attacks import ATTACKS, HONEST, Attack
from tests.server.clients import LONG, predict

FLAGS = ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist", "--rest_api_port=0"]


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    with server_process.embedded(FLAGS) as started:
        yield started


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_honest_client_is_answered_meanwhile(
    server: server_process.Server, attack: Callable[[], Attack]
) -> None:
    """And the server, as before, afterwards. How long it takes is measured by `tests.benchmarks.attacked`."""
    made, ended = attack(), threading.Event()

    def send() -> None:
        try:
            made.send(server.address, server.rest or "")
        finally:
            ended.set()

    thread = threading.Thread(target=send)
    with grpc.insecure_channel(server.address) as channel:
        predict(channel, HONEST)
        thread.start()
        while True:
            assert predict(channel, HONEST, timeout=LONG)["scores"].shape == (1, 10)
            if ended.is_set():
                break
        thread.join()
