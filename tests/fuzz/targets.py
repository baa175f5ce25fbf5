"""The fuzz targets: what is attacked with any bytes, and inputs to start from.

A target raises for whatever should not be: an exception other than the documented ones, or a result that is wrong.
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz import (
    configs,
    frame_seeds,
    frames,
    header_blocks,
    inference,
    pages,
    request_files,
    rest_answers,
    rest_bodies,
    rest_requests,
    run_folders,
)


class Target(NamedTuple):
    """One target."""

    attack: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    longest: int = 4096
    """Bytes of an input."""


def _on_server(data: bytes) -> None:
    frames.attack(bytes([data[0] | 1]) + data[1:] if data else data)


def _on_client(data: bytes) -> None:
    frames.attack(bytes([data[0] & ~1]) + data[1:] if data else data)


TARGETS = {
    "server-frames": Target(_on_server, frame_seeds.seeds),
    "client-frames": Target(_on_client, frame_seeds.seeds),
    "header-blocks": Target(header_blocks.attack, header_blocks.seeds, 1024),
    "rest-bodies": Target(rest_bodies.attack, rest_bodies.seeds),
    "rest-requests": Target(rest_requests.attack, rest_requests.seeds),
    "rest-answers": Target(rest_answers.attack, rest_answers.seeds, 1024),
    "config-files": Target(configs.attack, configs.seeds),
    "run-folders": Target(run_folders.attack, run_folders.seeds, 1024),
    "pages": Target(pages.attack, pages.seeds),
    "request-files": Target(request_files.attack, request_files.seeds),
    "infer-requests": Target(inference.attack_server, inference.requests, 1024),
    "infer-responses": Target(inference.attack_client, inference.responses, 1024),
}
