"""The conditions of `bench ab`: named on the command line, looked up at the servers and tried once before any load."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from bench import BenchError
from bench.cli.asking import inquiry
from bench.config.telemetry import listed_pages, telemetry_pages
from bench.experiment.two_conditions import ServedCondition, TwoConditions
from bench.load.both_answers import Side, expected_of, request_for
from bench.payload import Examples, random_examples, read_requests
from bench.payload.examples import default_output
from bench.payload.random_inputs import sizes_of
from bench.protocol.api import Description, Refused
from bench.protocol.names import DEFAULT, SPOKEN
from bench.protocol.registry import api_named
from bench.protocol.signatures import Signature
from bench.target.inquiry import UNIMPLEMENTED, Inquiry, describe
from bench.target.preflight import Preflight, check_outputs, named, unknown_model

_NAMES: Final = ("--model", "--versions", "--versions")
RANDOM_EXAMPLES: Final = 1000
"""Random ones, where no file of requests is named."""


class Named(NamedTuple):
    """Two conditions as they are named on a command line."""

    hosts: tuple[str, str]
    models: tuple[str, str]
    versions: tuple[str, str]
    """Numbers or labels; empty: the latest."""
    batches: tuple[int, int]
    part: str
    """What differs: one of `bench.experiment.two_conditions.PARTS`."""
    protocols: tuple[str, str] = (DEFAULT, DEFAULT)


def two_of(
    host: str,
    against: str | None,
    model: str,
    versions: str | None,
    batch_sizes: str,
    *,
    protocol: str = DEFAULT,
) -> Named:
    """What differs between the two. Raises BenchError unless it is one thing, or the protocol with its server."""
    protocols = _values("--protocol", protocol)
    for each in protocols:
        api_named(each)
    if against and len(set(protocols)) == 1:
        protocols = protocols[:1]
    options = {
        "server": ("--against", [host, against] if against else [host]),
        "model": ("--model", _values("--model", model)),
        "version": ("--versions", _values("--versions", versions) if versions else [""]),
        "batch": ("--batch-size", _values("--batch-size", batch_sizes)),
    }
    different = [part for part, (_, values) in options.items() if len(values) > 1]
    if len(protocols) > 1:
        # whoever speaks another protocol is another server, which numbers its versions by itself
        different = ["server", *(part for part in different if part in ("model", "batch"))]
    if not different:
        raise BenchError(
            "name two to compare: --versions 6,7 (numbers or labels), --model A,B, --batch-size 1,32, a second "
            "server with --against HOST:PORT, or two protocols with --protocol tfs,oip"
        )
    if len(different) > 1:
        names = {part: option for part, (option, _) in options.items()}
        if len(protocols) > 1:
            names["server"] = "--protocol"
        listed = " and ".join(names[part] for part in different)
        raise BenchError(f"{listed}: only one thing may differ between the two; use one value for the others")
    both = {part: (values[0], values[-1]) for part, (_, values) in options.items()}
    part = different[0]
    option, pair = ("--protocol", protocols) if len(protocols) > 1 else (options[part][0], both[part])
    if pair[0] == pair[1]:
        raise BenchError(f"{option}: {pair[0]} is named twice; name two different ones")
    batches = [_batch(text) for text in both["batch"]]
    return Named(
        both["server"],
        both["model"],
        both["version"],
        (batches[0], batches[1]),
        part,
        (protocols[0], protocols[-1]),
    )


def capacity_of(
    host: str, against: str | None, model: str, versions: str | None, batch: int, *, protocol: str
) -> Named:
    """Two versions or servers, or the same condition twice. Raises BenchError."""
    if against or any("," in text for text in (versions or "", protocol)):
        return two_of(host, against, model, versions, str(batch), protocol=protocol)
    version = (versions or "").strip()
    api_named(protocol)
    both = (host, host), (model, model), (version, version), (batch, batch)
    return Named(*both, "server", (protocol, protocol))


def pages_of(text: str | None, compared: Named) -> tuple[str | None, str | None]:
    """Where the counters of each side are, as `--server-metrics` names them. Raises BenchError."""
    if text is None:
        return None, None
    pages = _values("--server-metrics", text)
    for page in pages:
        if not page.startswith(("http://", "https://", "grpc://")):
            raise BenchError(
                f"--server-metrics {page}: expected a URL that begins with http://, https:// or grpc://"
            )
    wanted = 2 if compared.part == "server" else 1
    if len(pages) != wanted:
        expected = "two, one for each server, with a comma between them" if wanted == 2 else "one"
        raise BenchError(f"--server-metrics {text}: expected {expected}")
    return pages[0], pages[-1]


def telemetry_of(texts: Sequence[str], compared: Named) -> tuple[list[str], list[str]]:
    """The pages of exporters on the machine of each side, as `--server-telemetry` names them. Raises BenchError."""
    if not texts:
        return [], []
    pages = []
    for text in texts:
        try:
            telemetry_pages(text)
        except ValueError as error:
            raise BenchError(f"--server-telemetry {text}: {error}") from None
        pages.append(listed_pages(text))
    wanted = len(set(compared.hosts))
    if len(pages) != wanted:
        expected = "twice, for each server" if wanted == 2 else "once"
        raise BenchError(f"--server-telemetry {texts[-1]}: expected {expected}")
    return pages[0], pages[-1]


def _values(option: str, text: str) -> list[str]:
    values = [each.strip() for each in text.split(",")]
    if not all(values) or len(values) > 2:
        raise BenchError(f"{option} {text}: expected one value, or two with a comma between them")
    return values


def _batch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text[:9]) > 0:
        raise BenchError(f"--batch-size {text}: expected an integer >= 1")
    return int(text)


class Looked(NamedTuple):
    """Two conditions that were found, and what both understand."""

    two: TwoConditions
    sides: tuple[Side, Side]
    signatures: tuple[Signature, Signature]
    signature: str
    """Its name, on the sides where signatures have names."""
    examples: Examples
    shape: str
    """Of random inputs, as it was given."""
    output: str | None
    """That labels are of; None: there are none."""
    warnings: list[str]


@contextlib.contextmanager
def looked_up(
    compared: Named,
    *,
    signature: str | None,
    requests: str | None,
    shape: str,
    count: int,
    seed: int,
    outputs: Sequence[str],
    deadline: float,
    server: Mapping[str, Any],
) -> Iterator[Looked]:
    """The two, connected to for the length of the block; one request is sent to each.

    Raises BenchError, in one line, for an address, model, version, label or signature that there is not, for requests
    that cannot be read or do not fit the signature, and for what a server refuses.
    """
    with contextlib.ExitStack() as stack:
        inquiries: list[Inquiry] = []
        for host, protocol, model, version in zip(
            compared.hosts, compared.protocols, compared.models, compared.versions, strict=True
        ):
            called = dict(server)
            if protocol in SPOKEN and len(set(compared.protocols)) > 1:
                called["parameters"] = ""  # they are for the other side
            asking = inquiry(host=host, protocol=protocol, model=model, **_pin(version), **called)
            inquiries.append(stack.enter_context(asking))
        descriptions = [_described(each) for each in inquiries]
        names = _signatures_meant(signature, inquiries, descriptions)
        name = names[0]
        signatures = [named(*each) for each in zip(inquiries, descriptions, names, strict=True)]
        check_outputs(outputs, signatures[0], name)
        if requests and shape:
            raise BenchError(f"--shape {shape}: it is for random inputs; leave out --requests or --shape")
        examples = (
            read_requests(requests, signatures[0], signature_name=name)
            if requests
            else random_examples(signatures[0], count=count, seed=seed, sizes=sizes_of(shape))
        )
        if not examples.batched and max(compared.batches) > 1:
            raise BenchError(
                f"--batch-size {max(compared.batches)}: signature {name} has no batch dimension, so that a request holds "
                "1 example"
            )
        output = None
        if examples.labels is not None:
            named_output = outputs[0] if outputs else None
            output = default_output(signatures[0], named_output, labelled=True, where="--output")
        two = _pinned(compared, inquiries, descriptions)
        sides = [
            Side(
                replace(each, version=condition.version, label=None),
                each_name,
                condition.batch,
                tuple(outputs or each_signature.outputs),
                filtered=bool(outputs),
            )
            for each, condition, each_name, each_signature in zip(
                inquiries, (two.before, two.after), names, signatures, strict=True
            )
        ]
        tried = (_tried(side, examples, deadline) for side in sides)
        warnings = list(dict.fromkeys(text for texts in tried for text in texts))
        both = (sides[0], sides[1])
        meant = next(filter(None, names), "")
        yield Looked(two, both, (signatures[0], signatures[1]), meant, examples, shape, output, warnings)


def _pin(version: str) -> dict[str, Any]:
    """A number is a version, anything else a label."""
    if not (version.isascii() and version.isdigit()):
        return {"label": version or None}
    if int(version[:20]) >= 2**63:
        raise BenchError(f"--versions {version}: no version has a number of more than 63 bits")
    return {"version": int(version)}


def _described(inquiry: Inquiry) -> Description:
    """Raises BenchError for a model, version or label that there is not."""
    try:
        return describe(inquiry)
    except Refused as refused:
        text = str(refused)
        if refused.status == UNIMPLEMENTED:
            raise BenchError(
                f"{inquiry.host} does not report the signatures of {inquiry.model} ({refused.reason}): what a request looks "
                "like is read there"
            ) from None
        missing = refused.unknown_model
        raise BenchError(unknown_model(inquiry, refused.reason, _NAMES) if missing else text) from None


def _signatures_meant(
    named: str | None, inquiries: Sequence[Inquiry], descriptions: Sequence[Description]
) -> list[str]:
    """The name for each side: what is given, else that of the first side whose signatures have names."""
    meant = named or ""
    nameless = all(each.api.signature is None for each in inquiries)
    names = []
    for each, description in zip(inquiries, descriptions, strict=True):
        if each.api.signature is not None:
            meant = meant or _only_signature(each, description)
        names.append(meant if nameless or each.api.signature is not None else "")
    return names


def _only_signature(inquiry: Inquiry, description: Description) -> str:
    """The protocol's default, or the only one that there is."""
    names = [name for name in description.signatures if not name.startswith("__")]
    return names[0] if len(names) == 1 else inquiry.api.signature or ""


def _pinned(
    compared: Named, inquiries: Sequence[Inquiry], descriptions: Sequence[Description]
) -> TwoConditions:
    """Labels and latest versions as numbers, each side's own: they may change while it is measured."""
    conditions = []
    for each, description, batch in zip(inquiries, descriptions, compared.batches, strict=True):
        version = each.version if each.version is not None else description.version or None  # 0: not reported
        if each.label is not None and version is None:
            raise BenchError(
                f"--versions {each.label}: {each.host} does not report which version of {each.model} it stands for; "
                "give its number"
            )
        conditions.append(ServedCondition(each.host, each.model, version, batch, each.label, each.api.name))
    two = TwoConditions(conditions[0], conditions[1], compared.part)
    if compared.part == "version" and two.before.version == two.after.version:
        raise BenchError(
            f"--versions {','.join(compared.versions)}: both are version {two.before.version} of {two.before.model} now"
        )
    return two


def _tried(side: Side, examples: Examples, deadline: float) -> tuple[str, ...]:
    """Warnings about the first request. Raises BenchError where the server refuses it."""
    alike = max(examples.alike(np.arange(len(examples))), key=len).tolist()
    message = request_for(side, examples, [alike[place % len(alike)] for place in range(side.batch)])
    expected = expected_of(side, examples, side.outputs[0] if side.outputs else "")
    return Preflight().check(side.inquiry, message, expected, deadline).warnings
