"""The client's side of a server's TLS, as a servers file declares it."""

from pathlib import Path

from bench import BenchError
from bench.config.servers import Declared, Tls
from bench.wire.dial import TLS


def client_tls(tls: Tls | bool | None, server: Declared) -> TLS | None:
    """The client's side of a server's TLS, paths relative to the servers file. Raises BenchError."""
    if not tls:
        return None
    if tls is True:
        return TLS()
    paths: dict[str, Path | None] = {}
    for name in ("ca", "certificate", "key"):
        path = getattr(tls, name)
        paths[name] = None if path is None else (server.file.parent / path).resolve()
        if path is not None and not paths[name].is_file():  # type: ignore[union-attr]  # it is not None here
            raise server.refusal(f"tls.{name}", path, "no such file; expected a PEM file")
    if (paths["certificate"] is None) != (paths["key"] is None):
        raise BenchError(f"{server.file}: servers.{server.name}.tls: certificate and key go together")
    return TLS(**paths, server_name=tls.server_name)
