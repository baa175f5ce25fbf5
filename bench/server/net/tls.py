"""TLS settings from the file of `--ssl_config_file`."""

import ssl
import tempfile
from pathlib import Path

from bench import BenchError
from bench.server.textproto import SSLConfig, read


def context(path: Path) -> ssl.SSLContext:
    """TLS for gRPC from an SSLConfig text protobuf, which holds PEM texts and not paths.

    Clients have to present a certificate where `client_verify` is set. Raises BenchError that names the field
    which cannot be used.
    """
    config = read(path, SSLConfig)
    for field in ("server_key", "server_cert"):
        if not getattr(config, field):
            raise BenchError(f"{path}: {field} is empty; it holds the PEM text itself, not a path")
    if config.client_verify and not config.custom_ca:
        raise BenchError(
            f"{path}: client_verify needs custom_ca, the PEM text of the CA that signed the clients' certificates"
        )
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.minimum_version = ssl.TLSVersion.TLSv1_2
    settings.set_alpn_protocols(["h2"])  # gRPC clients refuse a server that does not choose it
    _load_pair(settings, config, path)
    if config.custom_ca:
        try:
            settings.load_verify_locations(cadata=config.custom_ca)
        except (ssl.SSLError, TypeError, ValueError) as error:  # TypeError: for text that is no ASCII
            reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
            raise BenchError(f"{path}: custom_ca holds no usable PEM certificates: {reason}") from None
    if config.client_verify:
        settings.verify_mode = ssl.CERT_REQUIRED
    return settings


def _load_pair(settings: ssl.SSLContext, config: SSLConfig, path: Path) -> None:
    # the ssl module takes the key from files only; the folder is readable by its owner alone and is gone at once
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        key.write_text(config.server_key)
        certificate.write_text(config.server_cert)
        try:
            # an encrypted key must fail, not ask for a password at the terminal
            settings.load_cert_chain(certificate, key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
            raise BenchError(
                f"{path}: server_cert and server_key are not a matching PEM pair: {reason}"
            ) from None
