"""Values of options as a command line or a web form gives them, checked."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.payload import Asked
from bench.protocol.api import Parameters
from bench.protocol.registry import api_named
from bench.runs.jsonl import read_json
from bench.schedule import Schedule, parse
from bench.wire.dial import TLS, Address
from bench.wire.unary import LARGEST_MESSAGE, metadata_fields

MODEL: Final = "mnist"


def truth(value: Any) -> bool:
    """The web form sends booleans as text."""
    return str(value).lower() in {"true", "1", "on", "yes"}


def sole(parsed: Any) -> bool:
    """Whether one load process runs one test: no others, no web form that starts further ones, no trials."""
    several = ("master", "worker", "processes", "preflight", "experiment", "duet")
    return bool(getattr(parsed, "headless", True)) and not any(
        getattr(parsed, name, None) for name in several
    )


def whole(option: str, value: Any, least: int) -> int:
    """The integer of an option. Raises BenchError for none, or one below `least`."""
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if number < least:
        raise BenchError(f"{option} {value}: expected an integer >= {least}")
    return number


def seconds_of(option: str, value: Any, least: float | None = None) -> float:
    """least: the least that is allowed; None: anything above 0."""
    try:
        seconds = float(str(value).removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not (0 if least is None else least) <= seconds < float("inf") or (least is None and not seconds):
        allowed = "> 0" if least is None else f">= {least:g}"
        raise BenchError(f"{option} {value}: expected a number of seconds {allowed}, such as 2.5")
    return seconds


def tls_of(parsed: Any) -> TLS | None:
    """How to encrypt, from the options named --grpc-tls*; None: not at all. Raises BenchError."""
    files = {
        "--grpc-tls-ca": parsed.grpc_tls_ca,
        "--grpc-tls-cert": parsed.grpc_tls_cert,
        "--grpc-tls-key": parsed.grpc_tls_key,
    }
    if not (truth(parsed.grpc_tls) or parsed.grpc_tls_server_name or any(files.values())):
        return None
    for option, path in files.items():
        if path and not Path(path).is_file():
            raise BenchError(f"{option} {path}: no such file; expected a PEM file")
    if bool(parsed.grpc_tls_cert) != bool(parsed.grpc_tls_key):
        raise BenchError("--grpc-tls-cert and --grpc-tls-key go together: give both or neither")
    ca, certificate, key = (Path(path) if path else None for path in files.values())
    return TLS(ca=ca, certificate=certificate, key=key, server_name=parsed.grpc_tls_server_name or None)


def metadata_of(text: str) -> tuple[tuple[str, str], ...]:
    """Key and value of each entry of KEY=VARIABLE,...

    Raises BenchError for a variable that is not set, a key that is reserved and a value that no header can carry.
    """
    pairs = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, variable = item.partition("=")
        if not key or not equals:
            raise BenchError(
                f"--metadata {item}: expected KEY=VARIABLE, VARIABLE naming an environment variable"
            )
        if variable not in os.environ:
            raise BenchError(
                f"--metadata {item}: the environment variable {variable} is not set; export it first"
            )
        try:
            metadata_fields([(key, os.environ[variable])])
        except ValueError as problem:
            raise BenchError(f"--metadata {item}: {problem}") from None
        pairs.append((key.lower(), os.environ[variable]))
    return tuple(pairs)


def note_of(text: str) -> str | None:
    """`--note`, where it is given. Raises BenchError."""
    if not all(c.isalnum() or c in "._-" for c in text):
        raise BenchError(f"--note {text!r}: letters, digits, '.', '_' and '-' only, since it names a folder")
    return text or None


def own_of(parsed: Any, names: Iterable[str]) -> dict[str, str]:
    """The values of a scenario's own options, by their names without dashes."""
    plain = [name.lstrip("-") for name in names]
    return {name: str(getattr(parsed, name.replace("-", "_")) or "").strip() for name in plain}


def parameters_of(text: str) -> Parameters:
    """Pairs for each request, from KEY=VALUE,...: integers, true and false, and texts. Raises BenchError."""
    pairs: list[tuple[str, bool | int | str]] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise BenchError(f"--request-parameters {item}: expected KEY=VALUE,...")
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 19:
            pairs.append((name, int(value)))
        else:
            pairs.append((name, value == "true" if value in ("true", "false") else value))
    return tuple(pairs)


def check_protocol(protocol: str, rest: str | None, tls: TLS | None) -> None:
    """Raise BenchError for options that a protocol over HTTP has no use for."""
    if not api_named(protocol).over_http:
        return
    if rest is not None:
        raise BenchError(
            f"--rest {rest}: with --protocol {protocol}, --host is the REST port; leave --rest out"
        )
    if tls is not None:
        raise BenchError(
            f"--grpc-tls: --protocol {protocol} goes over HTTP, which is not encrypted here; leave one of them out"
        )


def rest_of(text: str) -> str | None:
    """`--rest` as host:port. Raises BenchError."""
    try:
        return Address.parse(text).text if text else None
    except BenchError as error:
        raise BenchError(f"--rest: {error}") from error


def schedule_of(text: str) -> Schedule | None:
    """`--schedule`; None: as the scenario says. Raises BenchError."""
    try:
        return parse(text) if text else None
    except BenchError as error:
        raise BenchError(f"--schedule: {error}") from error


def experiment_of(path: str) -> dict[str, Any]:
    """What `bench run` says of a trial, in a file of its own: it is too long for a command line. Raises BenchError."""
    try:
        plain = read_json(Path(path))
    except (OSError, ValueError) as error:
        raise BenchError(f"--experiment {path}: not a JSON file ({error}); `bench run` writes it") from None
    if not isinstance(plain, dict):
        raise BenchError(f"--experiment {path}: expected a JSON object; `bench run` writes it")
    return plain


def answer_bytes(value: Any) -> int:
    """`--max-answer-bytes` as a number. Raises BenchError."""
    number = whole("--max-answer-bytes", value, 1)
    if number > LARGEST_MESSAGE:
        raise BenchError(f"--max-answer-bytes {value}: at most {LARGEST_MESSAGE} fit one gRPC message")
    return number


def asked_of(parsed: Any) -> Asked:
    """What the options say of the model that is meant. Raises BenchError."""
    texts = {
        name: str(getattr(parsed, option) or "").strip()
        for name, option in (
            ("model", "model_name"),
            ("version", "model_version"),
            ("label", "version_label"),
            ("signature", "signature"),
            ("batch", "batch_size"),
        )
    }
    version, label = texts["version"], texts["label"]
    if version and label:
        raise BenchError(f"--model-version {version} --version-label {label}: give one of the two")
    return Asked(
        model=texts["model"] or MODEL,
        version=whole("--model-version", version, 0) if version else None,
        label=label or None,
        signature=texts["signature"],
        batch=whole("--batch-size", texts["batch"] or "1", 1),
        deadline=seconds_of("--deadline", parsed.deadline),
        explicit=frozenset(name for name, text in texts.items() if text),
    )
