"""Real proxies before a server: nginx and haproxy, each in a process of its own, with a plain configuration."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from tests.ports import free_port

PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy"}
_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream models {{ server {server}; keepalive 64; }}
  server {{
    listen {listen} http2{tls};
    {rules}
    location / {{ grpc_pass grpc://models; grpc_connect_timeout 2s; client_max_body_size 0; }}
  }}
}}
"""
_HAPROXY = """
defaults
  mode http
  timeout connect 2s
  timeout client {client}
  timeout server 30s
frontend models
  bind {listen} proto h2
  default_backend servers
backend servers
  server one {server} proto h2
"""


def missing(program: str) -> str | None:
    """Why a proxy cannot be used; None: it can."""
    if shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is not None:
        return None
    return f"{program} is not installed (Debian package {PACKAGES[program]})"


def needs(program: str) -> pytest.MarkDecorator:
    reason = missing(program)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


@contextlib.contextmanager
def nginx(
    server: str, rules: str = "", *, pem: Path | None = None, path: Path | None = None
) -> Iterator[str]:
    """An address at which nginx passes gRPC on; `rules`: directives of its server block, `path`: of a unix socket."""

    def arguments(folder: Path, listen: str) -> list[str]:
        tls = "" if pem is None else f" ssl; ssl_certificate {pem}; ssl_certificate_key {pem}"
        text = _NGINX.format(folder=folder, server=server, listen=listen, rules=rules, tls=tls)
        (folder / "nginx.conf").write_text(text)
        return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]

    with _running(arguments, path) as address:
        yield address


@contextlib.contextmanager
def haproxy(server: str, *, client: str = "30s") -> Iterator[str]:
    """An address at which haproxy passes HTTP/2 on; `client`: how long a silent client's connection lives."""

    def arguments(folder: Path, listen: str) -> list[str]:
        (folder / "haproxy.cfg").write_text(_HAPROXY.format(server=server, listen=listen, client=client))
        return ["haproxy", "-db", "-q", "-f", f"{folder}/haproxy.cfg"]

    with _running(arguments, None) as address:
        yield address


@contextlib.contextmanager
def _running(arguments: Callable[[Path, str], list[str]], path: Path | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = ("127.0.0.1", free_port()) if path is None else str(path)
        listen = f"unix:{path}" if path is not None else f"127.0.0.1:{where[1]}"
        program, *rest = arguments(folder, listen)
        full = shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        assert full is not None
        with subprocess.Popen([full, *rest], stderr=subprocess.PIPE, text=True) as process:
            try:
                _wait(process, where)
                yield listen
            finally:
                process.terminate()
                process.wait(20)


def _wait(process: "subprocess.Popen[str]", where: "tuple[str, int] | str") -> None:
    """Until it listens. In the test's own event loop, which may have to serve it."""
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as probe,
        ):
            probe.connect(where)
            return
        gevent.sleep(0.02)
    process.kill()
    raise AssertionError(f"{process.args} does not listen: {process.communicate()[1]}")
