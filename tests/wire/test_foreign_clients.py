"""The server role serves clients that are not ours: grpcio (also in the conformance suite), h2load, curl."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.native import missing, running
from tests.wire.wires import message

ROOT = Path(__file__).parents[2]
GRPC = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
AIO = """
import asyncio, sys, grpc
async def main():
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        echo = channel.unary_unary("/t.Test/Echo")
        contents = [bytes([n % 256]) * (n * 40) for n in range(300)]
        answers = await asyncio.gather(*(echo(content, compression=grpc.Compression.Gzip if n % 3 else None)
                                         for n, content in enumerate(contents)))
        assert answers == contents
        try:
            await channel.unary_unary("/t.Test/Nothing")(b"")
        except grpc.aio.AioRpcError as problem:
            assert problem.code() == grpc.StatusCode.UNIMPLEMENTED
        try:
            await channel.unary_unary("/t.Test/Sleep")(b"", timeout=0.1, metadata=[("seconds", "5")])
        except grpc.aio.AioRpcError as problem:
            assert problem.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        print("done")
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running([sys.executable, "-m", "tests.wire.peer", "own"]) as number:
        yield number


def tool(name: str) -> str:
    if (reason := missing(name)) is not None:
        pytest.skip(reason)
    return name


def test_grpcio_aio_is_served(port: int) -> None:
    command = [sys.executable, "-c", AIO, f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.parametrize(("size", "count", "streams"), [(3_198, 20_000, 64), (100_000, 200, 16)])
def test_h2load_gets_all_its_answers(port: int, tmp_path: Path, size: int, count: int, streams: int) -> None:
    body = tmp_path / "body"
    body.write_bytes(message(bytes(size)))
    url = f"http://127.0.0.1:{port}/t.Test/Echo"
    command = [tool("h2load"), "-n", str(count), "-c", "2", "-m", str(streams), "-d", str(body), *GRPC, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    assert f"({count * (size + 5)}) data" in done.stdout, "an answer is missing or cut short"


def test_curl_gets_an_answer(port: int, tmp_path: Path) -> None:
    body, answer = tmp_path / "body", tmp_path / "answer"
    body.write_bytes(message(b"question"))
    url = f"http://127.0.0.1:{port}/t.Test/Echo"
    command = [
        tool("curl"),
        "-sS",
        "--http2-prior-knowledge",
        "-D",
        "-",
        "-o",
        str(answer),
        "--data-binary",
        f"@{body}",
        *GRPC,
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert answer.read_bytes() == message(b"question")
    assert done.stdout.startswith("HTTP/2 200")
    assert "grpc-status: 0" in done.stdout


def test_curl_without_http2_is_turned_away(port: int) -> None:
    done = subprocess.run(
        [tool("curl"), "-sS", "--max-time", "5", f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode not in (0, 28), "answered, or left hanging"
