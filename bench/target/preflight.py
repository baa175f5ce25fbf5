"""Preflight: whether the server understands the requests of a load, and has what they name.

Signatures are compared with a request, and one request is sent. What the user can mend is refused in one line; what a
server may answer differently later, such as RESOURCE_EXHAUSTED, is only told.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from bench import BenchError
from bench.protocol.api import Api, Description, Expected, Refused, numbered
from bench.protocol.hints import explained, hint
from bench.protocol.signatures import Signature, differences, public
from bench.runs.sample import STATUS_NAMES, outcome
from bench.target.inquiry import Inquiry, describe, status
from bench.wire import messages
from bench.wire.dial import NoServer
from bench.wording import counted

MENDABLE: Final = (
    *("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "OUT_OF_RANGE"),
    *("UNAUTHENTICATED", "PERMISSION_DENIED"),
)
"""What a server answers to a request that it will answer in the same way each time."""
_SAME_EACH_TIME: Final = ("message size", "answer size", "exception")
"""Further ones, by the keys of their hints."""
_NOBODY: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class PreflightResult(NamedTuple):
    """The findings of a preflight, where the load can begin."""

    version: int | None
    """The version that the metadata are of; None: the server does not tell."""
    signature: Signature | None
    """None: the server does not tell."""
    answer: bytes | None
    """The answer to the one request, as the protocol's `read` gives it; None: it failed."""
    notes: tuple[str, ...]
    """What the server does not do, and need not."""
    warnings: tuple[str, ...]


@dataclass
class Preflight:
    """Questions to one server about several kinds of requests; the signatures of a model are fetched once."""

    _descriptions: dict[tuple[Any, ...], Description | Refused] = field(default_factory=dict)

    def check(self, inquiry: Inquiry, message: bytes, expected: Expected, timeout: float) -> PreflightResult:
        """Whether a serialised PredictRequest for the inquiry's model would be answered with the output expected.

        timeout: of that request, in seconds.

        Raises BenchError for what the user can mend: nobody listens; an unknown model, version, label or signature;
        inputs, dtypes or outputs that the signature has not; a request that the server refuses as invalid.
        """
        request, output, api = messages.PredictRequest.FromString(message), expected.output, inquiry.api
        notes: list[str] = []
        warnings: list[str] = []
        description = self._description(inquiry, notes, warnings)
        signature, mismatches = None, []
        name = signature_of(api, request)
        where = inquiry.where
        if description is not None:
            signature = named(inquiry, description, name)
            where += "" if description.version is None else f" version {description.version}"
            where += f", signature {name}" if name else ""
            mismatches = differences(signature, request, output)
            if output not in signature.outputs and not api.typed:
                raise BenchError(
                    f"{where}: output {output!r} is wanted, the signature has {', '.join(signature.outputs) or 'none'}; "
                    f"an answer of {api.title} does not name its only output"
                )
        call = api.encode(message, by_row=expected.by_row)
        reply = inquiry.send(call, timeout, f"a first request of {inquiry.model}")
        code = outcome(reply.status)
        known = hint(code, reply.details, api.name) if reply.status else None
        same_each_time = code in MENDABLE or (known is not None and known.key in _SAME_EACH_TIME)
        if same_each_time or (reply.status and any(each.fatal for each in mismatches)):
            shown = "; ".join(each.text for each in mismatches) or (
                known.remedy if known else "correct the payload"
            )
            raise BenchError(
                f"{where}: {shown} (a first request was answered {explained(code, reply.details, api.name)})"
            )
        if reply.status:
            remedy = f"; {known.remedy}" if known else ""
            warnings.append(
                f"{where}: a first request was answered {explained(code, reply.details, api.name)}{remedy}"
            )
            return PreflightResult(_version(description), signature, None, tuple(notes), tuple(warnings))
        warnings += [f"{where}: {each.text}; the server accepts it" for each in mismatches]
        answer = api.read(reply.message, expected)
        _check_label(where, inquiry, description, answer)
        if signature is not None:
            notes += [f"{where}: {text}" for text in _other_rows(api, signature, request, answer, output)]
        return PreflightResult(_version(description), signature, answer, tuple(notes), tuple(warnings))

    def declared(self, inquiry: Inquiry, name: str = "") -> tuple[str, Signature]:
        """Name and signature of what is to be called: the one that is named, else serving_default, else the only one.

        A name is for protocols whose signatures have names; others have one without. Raises BenchError where the server does
        not know or describe the model, or several could be meant.
        """
        reasons: list[str] = []
        description = self._description(inquiry, reasons, reasons)
        if description is None:
            raise BenchError(
                f"{reasons[0].partition(': inputs and')[0]}: a payload of your own can send to it"
            )
        signatures = description.signatures
        if inquiry.api.signature is None:
            name = ""
        named_ones = [each for each in signatures if not each.startswith("__")]
        usual = inquiry.api.signature or ""
        if not name and usual not in signatures and len(named_ones) == 1:
            return named_ones[0], signatures[named_ones[0]]
        return name or usual, named(inquiry, description, name or usual)

    def _description(self, inquiry: Inquiry, notes: list[str], warnings: list[str]) -> Description | None:
        key = inquiry.model, inquiry.version, inquiry.label
        if key in self._descriptions:
            description = self._descriptions[key]
            return None if isinstance(description, Refused) else description
        try:
            description = describe(inquiry)
        except Refused as refused:
            description = refused
            code = STATUS_NAMES[refused.status] if refused.status < len(STATUS_NAMES) else ""
            if code in _NOBODY:
                late = f" within {inquiry.timeout:g} s" if code == "DEADLINE_EXCEEDED" else ""
                raise NoServer(
                    f"--host {inquiry.host}: no answer to {inquiry.api.metadata_call}{late} ({refused.reason}); is a "
                    f"{'server' if inquiry.api.over_http else 'gRPC server'} running there, or does it hang?"
                ) from None
            if refused.unknown_model:
                raise BenchError(unknown_model(inquiry, refused.reason)) from None
            text = f"{inquiry.host} does not report the signatures of {inquiry.model} ({refused.reason})"
            (notes if code == "UNIMPLEMENTED" else warnings).append(
                f"{text}: inputs and outputs are not compared with them"
            )
        self._descriptions[key] = description
        return None if isinstance(description, Refused) else description


def _check_label(where: str, inquiry: Inquiry, description: Description | None, answer: bytes) -> None:
    """Raise BenchError where a label stands for one version in the metadata and for another in the answer.

    A load of whatever the server likes to answer would be recorded as one of the label.
    """
    if inquiry.label is None or description is None:
        return
    try:
        answered = inquiry.api.decode(answer).version
    except ValueError:
        return
    if answered not in (None, description.version):
        raise BenchError(
            f"{where}: label {inquiry.label!r} stands for version {description.version} in the metadata, and a first "
            f"request was answered by version {answered}; give --model-version, or correct the server"
        )


def _other_rows(api: Api, signature: Signature, request: Any, answer: bytes, output: str) -> list[str]:
    """What to know of an output without a row for each example, which a signature neither asks for nor forbids.

    Detections ([k, 4], whatever the batch) and scores that lack rows ([1, 10] for 4 examples) look the same in a
    signature: -1 for the first size of input and output alike. So it is a note, and no such answer counts as wrong.
    """
    batches = {
        request.inputs[name].tensor_shape.dim[0].size
        for name, tensor in signature.inputs.items()
        if name in request.inputs
        and (tensor.shape or ())[:1] == (-1,)
        and request.inputs[name].tensor_shape.dim
    }
    declared = signature.outputs.get(output)
    if len(batches) != 1 or declared is None or (declared.shape or ())[:1] != (-1,):
        return []
    try:
        response = api.decode(answer)
        rows = response.array(output).shape[:1] if output in response.outputs else ()
    except ValueError:
        return []
    (batch,) = batches
    if not rows or rows[0] == batch:
        return []
    return [
        f"output {output!r} has {counted(rows[0], 'row')} for a request of {counted(batch, 'example')}; its "
        f"signature {list(declared.shape or ())} allows any number: whether rows are missing is not checked"
    ]


def signature_of(api: Api, request: Any) -> str:
    """The name of the signature that a PredictRequest is for; empty where the protocol has none."""
    return "" if api.signature is None else request.model_spec.signature_name or api.signature


def named(inquiry: Inquiry, description: Description, name: str) -> Signature:
    """The signature of this name. Raises BenchError with those that there are."""
    if name not in description.signatures:
        raise BenchError(
            f"--signature {name}: model {inquiry.model} at {inquiry.host} has {public(description.signatures)}"
        )
    return description.signatures[name]


def check_outputs(outputs: Iterable[str], signature: Signature, name: str) -> None:
    """Raise BenchError for an output that the signature of this name has not."""
    for each in outputs:
        if each not in signature.outputs:
            listed = ", ".join(signature.outputs) or "none"
            raise BenchError(f"--output {each}: signature {name} has the outputs {listed}")


OPTIONS: Final = ("--model-name", "--model-version", "--version-label")
"""Of scenarios: what names model, version and label."""


def unknown_model(inquiry: Inquiry, details: str, options: tuple[str, str, str] = OPTIONS) -> str:
    """What there is instead of a model, version or label that the server does not know; options: what names them."""
    model, version, label = options
    try:
        states = status(replace(inquiry, version=None, label=None))
    except BenchError:
        return (
            f"{model} {inquiry.model}: {inquiry.host} does not serve it ({details}); "
            "check the name and the server's configuration"
        )
    available = numbered(states, "AVAILABLE")
    option = f"{label} {inquiry.label}" if inquiry.label is not None else f"{version} {inquiry.version}"
    listed = ", ".join(map(str, available)) or "none"
    return f"{option}: not served by {inquiry.host} ({details}); versions of {inquiry.model} available there: {listed}"


def _version(description: Description | None) -> int | None:
    return None if description is None else description.version
