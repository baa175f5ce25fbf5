"""A local stand-in for the Docker Engine API: the calls that launching makes, over HTTP on a free port.

Containers are processes: the command that would run in the image is started with paths of the mounts put in place of
those in the container, on the host's ports. What each call got is kept for the tests.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

VERSION = {"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "27.0.0", "Os": "linux", "Arch": "amd64"}
IMAGE = {
    "Id": "sha256:" + "a" * 64,
    "RepoTags": ["tensorflow/serving:2.19.1"],
    "RepoDigests": ["tensorflow/serving@sha256:" + "b" * 64],
}
STATS = {
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
    "memory_stats": {"usage": 300_000_000, "stats": {"inactive_file": 100_000_000}},
    "pids_stats": {"current": 9},
}


_STAND_INS = {
    "/usr/bin/tensorflow_model_server": ["tests.launch.model_server"],
    "tritonserver": ["tests.launch.known_server", "triton"],
}
"""What is executed in a container -> what stands for it here."""


@dataclass
class Container:
    """What was asked for, and the process that stands for it."""

    id: str
    name: str
    config: dict[str, Any]
    ports: dict[str, int] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    output: str = ""


@dataclass
class Engine:
    """The state of the daemon."""

    images: set[str] = field(default_factory=lambda: {"tensorflow/serving:2.19.1"})
    pulled: list[str] = field(default_factory=list)
    runtimes: tuple[str, ...] = ("runc",)
    containers: dict[str, Container] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def find(self, name: str) -> Container | None:
        return next((c for c in self.containers.values() if name in (c.id, c.name)), None)

    def start(self, container: Container) -> None:
        config = container.config
        places = {m["Target"]: m["Source"] for m in config["HostConfig"].get("Mounts") or []}
        for port in config["HostConfig"]["PortBindings"]:
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
                container.ports[port] = sock.getsockname()[1]
        folder = places.get("/serving-bench")
        arguments = []
        for argument in config["Cmd"]:
            outside = argument.replace("/serving-bench/", f"{folder}/")
            outside = outside.replace("=/repository", f"={places.get('/repository')}")
            for port, host in container.ports.items():
                outside = re.sub(rf"={port.partition('/')[0]}$", f"={host}", outside)
            arguments.append(outside)
        for target, source in places.items() if folder else ():
            self._point(f"{folder}/model_config.pbtxt", target, source)
        environment = dict(each.split("=", 1) for each in config.get("Env") or [])
        import os

        container.process = subprocess.Popen(
            [sys.executable, "-m", *(_STAND_INS[config["Entrypoint"][0]]), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        threading.Thread(target=self._collect, args=(container,), daemon=True).start()

    @staticmethod
    def _point(path: str, target: str, source: str) -> None:
        from pathlib import Path

        file = Path(path)
        file.write_text(file.read_text().replace(f'"{target}"', f'"{source}"'))

    @staticmethod
    def _collect(container: Container) -> None:
        assert container.process is not None
        assert container.process.stdout is not None
        with container.process.stdout as stream:
            for line in stream:
                container.output += line.decode()

    def remove(self, container: Container) -> None:
        if container.process is not None:
            container.process.send_signal(signal.SIGKILL)
            container.process.wait()
        self.containers.pop(container.id, None)
        self.removed.append(container.name)

    def inspected(self, container: Container) -> dict[str, Any]:
        code = None if container.process is None else container.process.poll()
        running = container.process is not None and code is None
        return {
            "Id": container.id,
            "Name": f"/{container.name}",
            "Args": container.config["Cmd"],
            "Config": {"Image": container.config["Image"], "Tty": False},
            "Image": IMAGE["Id"],
            "State": {
                "Running": running,
                "Status": "running" if running else "exited",
                "ExitCode": code or 0,
                "Pid": 0,
            },
            "NetworkSettings": {
                "Ports": {
                    p: [{"HostIp": "127.0.0.1", "HostPort": str(n)}] for p, n in container.ports.items()
                }
            },
        }


def serve(engine: Engine) -> ThreadingHTTPServer:
    """The API on a free port of the loopback interface; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, code: int, body: Any = None, content: str = "application/json") -> None:
            data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", content)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _route(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}") if length else {}
            url = urlparse(self.path)
            path = re.sub(r"^/v[\d.]+", "", unquote(url.path))
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            engine.calls.append(f"{self.command} {path}")
            self._answer(*respond(engine, self.command, path, query, body))

        do_GET = do_POST = do_DELETE = do_HEAD = _route  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def respond(engine: Engine, method: str, path: str, query: dict[str, str], body: Any) -> tuple[Any, ...]:
    """Status, body and content type, as the Engine API documents them."""
    if path == "/_ping":
        return 200, b"OK", "text/plain"
    if path == "/version":
        return 200, VERSION
    if path == "/info":
        return 200, {"Runtimes": {name: {"path": name} for name in engine.runtimes}}
    if path == "/images/create":
        sign = "@" if query["tag"].startswith("sha256:") else ":"
        image = f"{query['fromImage']}{sign}{query['tag']}"
        engine.images.add(image)
        engine.pulled.append(image)
        return 200, {"status": "done"}
    if found := re.fullmatch(r"/images/(.+)/json", path):
        known = found[1] in engine.images
        return (200, IMAGE) if known else (404, {"message": f"No such image: {found[1]}"})
    if path == "/containers/create":
        container = Container(f"{len(engine.removed) + len(engine.containers):064x}", query["name"], body)
        engine.containers[container.id] = container
        return 201, {"Id": container.id, "Warnings": []}
    if found := re.fullmatch(r"/containers/([^/]+)(/\w+)?", path):
        container_or_none = engine.find(found[1])
        if container_or_none is None:
            return 404, {"message": f"No such container: {found[1]}"}
        return _container(engine, method, container_or_none, found[2])
    return 501, {"message": f"the stand-in does not know {method} {path}"}


def _container(engine: Engine, method: str, container: Container, action: str | None) -> tuple[Any, ...]:
    if method == "DELETE":
        engine.remove(container)
        return 204, None
    if action == "/start":
        engine.start(container)
        return 204, None
    if action == "/json":
        return 200, engine.inspected(container)
    if action == "/stats":
        return 200, STATS
    if action == "/logs":
        text = container.output.encode()
        # the stream format of a container without a terminal: kind, three zeros, length, content
        return 200, b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text, "application/vnd.docker.raw-stream"
    return 501, {"message": f"the stand-in does not know {method} {action}"}
