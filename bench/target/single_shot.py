"""One picture put to a model, and its answer."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bench import BenchError, extras
from bench.mnist import SIZE
from bench.payload import predict_request
from bench.protocol.api import Refused, Response
from bench.protocol.signatures import Tensor
from bench.target.inquiry import UNIMPLEMENTED, Inquiry, describe
from bench.target.preflight import named

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """The classes that the model sees on a picture."""

    path: Path
    label: int
    """The index of the greatest score: for MNIST the digit."""
    score: float
    scores: tuple[float, ...]
    version: int | None
    seconds: float
    """From handing the request to the kernel to reading the answer."""


@dataclass(frozen=True)
class Question:
    """The form in which pictures are put to a model."""

    signature: str
    input: str
    shape: tuple[int, int, int]
    """Rows, columns, channels of a picture."""
    flat: bool
    """The input is one row of pixels for each picture."""
    output: str
    """Whose values are the scores."""
    version: int | None = None
    """That the signature is of; None: the server does not tell."""
    note: str | None = None
    """What the server does not tell."""


_USUAL: Final = Question("predict_images", "images", (SIZE, SIZE, 1), flat=False, output="scores")


def question(inquiry: Inquiry, signature: str | None, output: str | None) -> Question:
    """How the model wants pictures, as its signature says.

    signature: None for `predict_images` where the model has it, else `serving_default`. output: None for
    `scores` or the only one. A server that does not tell signatures is asked as MNIST models usually are.
    Raises BenchError for a signature without pictures.
    """
    try:
        description = describe(inquiry)
    except Refused as refused:
        if refused.status != UNIMPLEMENTED:
            raise
        note = f"{inquiry.host} does not report the signatures of {inquiry.model} ({refused.reason}): requests sent as for MNIST"
        usual = replace(_USUAL, signature=signature or _USUAL.signature, output=output or _USUAL.output)
        return replace(usual, note=note)
    usual_name = _USUAL.signature if _USUAL.signature in description.signatures else inquiry.api.signature
    name = signature or usual_name or ""
    chosen = named(inquiry, description, name)
    where = inquiry.where + (f", signature {name}" if name else "")
    if len(chosen.inputs) != 1:
        raise BenchError(
            f"{where}: takes {len(chosen.inputs)} inputs, a picture is one; --signature names another"
        )
    ((alias, tensor),) = chosen.inputs.items()
    shape, flat = _picture_shape(where, alias, tensor)
    if output is None:
        output = next(iter(chosen.outputs)) if len(chosen.outputs) == 1 else _USUAL.output
    if output not in chosen.outputs:
        raise BenchError(
            f"{where}: no output {output}; --output names one of {', '.join(chosen.outputs) or 'none'}"
        )
    return Question(name, alias, shape, flat, output, description.version)


def _picture_shape(where: str, alias: str, tensor: Tensor) -> tuple[tuple[int, int, int], bool]:
    """Rows, columns, channels; and whether the model wants them as one row."""
    if tensor.dtype == "float":
        if tensor.shape is None:  # as TensorFlow Serving's own MNIST example: rows of pixels
            return _USUAL.shape, True
        inner = tensor.shape[1:]
        if len(inner) == 1 and inner[0] in (-1, SIZE * SIZE):
            return _USUAL.shape, True
        if len(inner) == 2 and min(inner) > 0:
            return (inner[0], inner[1], 1), False
        if len(inner) == 3 and min(inner) > 0:
            return (inner[0], inner[1], inner[2]), False
    shape = "of any shape" if tensor.shape is None else str(list(tensor.shape))
    raise BenchError(
        f"{where}: input {alias} is {tensor.dtype} {shape}, no picture of float pixels; --signature names another"
    )


def predict(inquiry: Inquiry, how: Question, path: Path) -> Prediction:
    """Put the picture in a file to the model. Raises BenchError for a file or an answer that is of no use."""
    extras.need("PIL", str(path))
    from bench import picture

    pixels = picture.read(path, *how.shape)
    shape = (1, math.prod(how.shape)) if how.flat else (1, *how.shape)
    request = predict_request(
        {how.input: pixels.reshape(shape)},
        model=inquiry.model,
        signature=how.signature,
        version=inquiry.version,
        label=inquiry.label,
    )
    response, seconds = inquiry.predict(request, how.output)
    _check_version(inquiry, how, response.version)
    scores = _scores(inquiry, how, response)
    best = int(scores.argmax())
    return Prediction(
        path=path,
        label=best,
        score=float(scores[best]),
        scores=tuple(scores.tolist()),
        version=response.version,
        seconds=seconds,
    )


def _check_version(inquiry: Inquiry, question: Question, answered: int | None) -> None:
    """Raise BenchError for an answer by another version than the one that was asked for by number or label."""
    wanted = inquiry.version if inquiry.label is None else question.version
    if None in (wanted, answered) or wanted == answered:
        return
    label = "" if inquiry.label is None else f", for which label {inquiry.label!r} stands in the metadata"
    raise BenchError(f"{inquiry.where}: version {answered} answered instead of version {wanted}{label}")


def _scores(inquiry: Inquiry, how: Question, response: Response) -> Floats:
    """[classes]: the scores of the one picture."""
    names = response.outputs
    where = inquiry.where + (f", signature {how.signature}" if how.signature else "")
    if how.output not in names:
        raise BenchError(
            f"{where}: no output {how.output!r} in the answer, which has {', '.join(names) or 'none'}"
        )
    try:
        scores = response.array(how.output)
    except ValueError as error:
        raise BenchError(f"{where}: output {how.output!r} is unreadable ({error})") from error
    if scores.dtype.kind not in "fiu" or scores.size == 0:
        raise BenchError(f"{where}: output {how.output!r} is {scores.dtype} {list(scores.shape)}, no scores")
    return scores.reshape(-1).astype(np.float32)
