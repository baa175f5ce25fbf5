"""Certificates for the loopback: a server's, a client's, and the authority that signed both."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import gevent.ssl
import trustme


@dataclass(frozen=True)
class Certificates:
    ca: Path
    server: Path
    """Chain and key of a certificate for localhost, 127.0.0.1 and model.test."""
    client: Path
    stranger: Path
    """Another authority, which signed nothing here."""

    def server_context(self, *, ask_client: bool = False, http2: bool = True) -> ssl.SSLContext:
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # one whose sockets wait in the event loop
        context.load_cert_chain(self.server)
        if http2:
            context.set_alpn_protocols(["h2"])
        if ask_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def issue(folder: Path) -> Certificates:
    authority, stranger = trustme.CA(), trustme.CA()
    files = Certificates(
        folder / "ca.pem", folder / "server.pem", folder / "client.pem", folder / "stranger.pem"
    )
    authority.cert_pem.write_to_path(files.ca)
    stranger.cert_pem.write_to_path(files.stranger)
    authority.issue_cert("localhost", "127.0.0.1", "model.test").private_key_and_cert_chain_pem.write_to_path(
        files.server
    )
    authority.issue_cert("client@model.test").private_key_and_cert_chain_pem.write_to_path(files.client)
    return files
