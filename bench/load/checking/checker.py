"""Checks of answers, many at once and off the timed path: each failed one is counted by its cause."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.load.checking.failures import shown
from bench.load.checking.label_rules import LabelRule, Unfit
from bench.load.checking.references import KEPT_BYTES, References, wide
from bench.load.checking.reply_layout import Layout, learn
from bench.payload import Pool
from bench.protocol.api import Response, Unreadable
from bench.protocol.names import DEFAULT
from bench.protocol.registry import api_named
from bench.protocol.signatures import Tensor, dtype_name
from bench.runs.choices import UNSEEN, Choices
from bench.runs.sample import MOST_VERSIONS
from bench.wire.dtypes import storage_number

UNKNOWN: Final = -1
"""In the arrays below: no version, nothing checked. It becomes a missing value in the run folder."""

NAN: Final = "nan"
"""Cause of answers that hold no number where one is declared. They are counted, and not wrong: a model may mean it."""
_MOST_LAYOUTS: Final = 32
"""Kept for each length, the newest: a rollout brings a new version now and then."""
_MOST_LENGTHS: Final = 256
"""Of replies that layouts are kept for, the newest."""
_CACHED_BYTES: Final = 2**18
"""So much is looked at together: what leaves the processor's caches takes twice as long."""
_MOST_KNOWN: Final = 4
"""Answers to a message that are known at a time: a server that executes several requests together gives some, which
differ in their last digits."""
_TRIES: Final = 32
"""So many layouts are learned in a row without one that fits a later reply; then replies are parsed instead."""


class Checked(NamedTuple):
    """The results of checking a number of answers, each array [answers]."""

    version: npt.NDArray[np.int64]
    """Model version that answered; UNKNOWN where the answer names none."""
    correct: npt.NDArray[np.int32]
    """Examples answered rightly, 0 in an unreadable answer; UNKNOWN where nobody said what is right."""
    mismatched: npt.NDArray[np.bool_]
    """Not an answer to what was asked; `Checker.causes` counts why."""


class Declared(NamedTuple):
    """The output as the signature of one version declares it."""

    version: int
    dtype: int
    """DataType; 0: not to be compared, as over REST, where JSON has none."""
    shape: tuple[int, ...] | None
    """As `bench.protocol.signatures.Tensor.shape`."""


class _Judged(NamedTuple):
    """The same, and whether each right answer will be right whenever it comes again."""

    version: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int32]
    mismatched: npt.NDArray[np.bool_]
    settled: npt.NDArray[np.bool_]


class _Answers(NamedTuple):
    """Readable answers of one model and version."""

    model: str
    """Empty: the answer names none."""
    version: int | None
    values: npt.NDArray[Any]
    """[answers, *shape of the output]"""


class Checker:
    """Compares answers with what the pool expects.

    An answer fails by the first of these causes that holds: `unreadable`, `versions` (one more than are told apart),
    `model`, `version`, `missing output`, `dtype`, `shape` (other than the signature declares, or not to be compared
    with labels), `values` (other than its message got from that version before). Which examples are right is
    `bench.load.checking.label_rules`' to say. Answers that hold nan are counted by `NAN` too, and have not failed by it.
    """

    def __init__(
        self,
        pool: Pool,
        output: str,
        expect_version: int | None,
        *,
        protocol: str = DEFAULT,
        references: References | None = None,
        keep_choices: bool = False,
    ) -> None:
        """protocol: that the answers are of. references: None where a message may get other values each time.

        keep_choices: note which class was given to each example, in `choices`.
        """
        self.api = api_named(protocol)
        self._pool = pool
        self._output = output
        self._version = expect_version if expect_version is not None else pool.version
        self._rule = None if pool.labels is None else LabelRule(pool)
        self.declared: Declared | None = None
        """None: the server does not tell."""
        self.causes: Counter[str] = Counter()
        """Answers that failed, by cause."""
        self.examples: dict[str, str] = {}
        """What the first of each cause was."""
        self._references = references
        self._layouts: dict[int, list[Layout]] = {}
        self._versions: set[int] = set()
        """Those that answered, as far as they are told apart."""
        self._patience = _TRIES
        self.known: list[tuple[bytes, ...]] = [()] * len(pool)
        """For each message of the pool answers that were read and found right: one that equals any of them to the byte
        is as right, and needs no check. All of them are of the newest version seen."""
        self.known_version = np.full(len(pool), UNKNOWN, np.int64)
        """[messages]: the version that gave the known answers."""
        self.known_correct = np.full(len(pool), UNKNOWN, np.int32)
        """[messages]: `Checked.correct` of each of the known answers."""
        self._known_bytes = 0
        self.choices: npt.NDArray[np.int32] | None = None
        """[examples]: the class that the newest answer gives to each, UNKNOWN before; None: not kept."""
        numbered = pool.labels is not None and pool.labels.dtype.kind == "i"
        if keep_choices and pool.rows is not None and numbered:
            self.choices = np.full(pool.distinct_examples, UNKNOWN, np.int32)
        self._reads_each = self.choices is not None
        """The newest choice is kept, so that no answer is known beforehand."""

    def chosen(self, name: str) -> Choices | None:
        """Which class each example was given, for requests of this name; None where that is not kept."""
        rows, labels = self._pool.rows, self._pool.labels
        if self.choices is None or rows is None or labels is None:
            return None
        of_examples = np.full(len(self.choices), UNSEEN, np.int32)
        of_examples[rows] = labels
        return Choices(of_examples, {name: self.choices})

    def check(self, replies: Sequence[bytes], indices: Sequence[int]) -> Checked:
        """What each reply is; `indices`: the message in the pool that each of them answers.

        Replies are answers of calls that ended with OK, as the protocol's `read` gives them. Never raises for what a
        server sent.
        """
        count = len(replies)
        checked = _Judged(
            version=np.full(count, UNKNOWN, np.int64),
            correct=np.full(count, UNKNOWN if self._pool.labels is None else 0, np.int32),
            mismatched=np.zeros(count, np.bool_),
            settled=np.zeros(count, np.bool_),
        )
        numbers = np.array(indices, np.int64)
        lengths = np.fromiter(map(len, replies), np.int64, count)
        for length in set(lengths.tolist()):
            rows = np.flatnonzero(lengths == length)
            most = max(1, _CACHED_BYTES // max(length, 1))
            for part in (rows[start : start + most] for start in range(0, len(rows), most)):
                self._check_group([replies[row] for row in part.tolist()], part, numbers, checked)
        if not self._reads_each:
            self._learn_answers(replies, numbers, checked)
        return Checked(checked.version, checked.correct, checked.mismatched)

    def _learn_answers(
        self, replies: Sequence[bytes], numbers: npt.NDArray[np.int64], checked: _Judged
    ) -> None:
        """Remember the answers that will be found right whenever they come again."""
        for row in np.flatnonzero(checked.settled & ~checked.mismatched).tolist():
            index, reply = int(numbers[row]), replies[row]
            version, correct = checked.version[row], checked.correct[row]
            known = self.known[index]
            if reply in known:
                continue
            alike = version == self.known_version[index] and correct == self.known_correct[index]
            earlier = known[: _MOST_KNOWN - 1] if alike else ()
            size = sum(map(len, earlier)) + len(reply) - sum(map(len, known))
            if self._known_bytes + size <= KEPT_BYTES:
                self._known_bytes += size
                self.known[index] = (reply, *earlier)
                self.known_version[index] = version
                self.known_correct[index] = correct

    def _check_group(
        self,
        replies: Sequence[bytes],
        rows: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        checked: _Judged,
    ) -> None:
        """Replies of one length, which are the given rows of all: by the layouts known, then by new ones."""
        length = len(replies[0])
        matrix = np.frombuffer(b"".join(replies), np.uint8).reshape(len(replies), length)
        for layout in self._layouts.get(length, ()):
            fits = layout.fits(matrix)
            if not fits.any():
                continue
            self._patience = _TRIES
            whole = fits.all()
            self._check_fitting(
                layout, matrix if whole else matrix[fits], rows if whole else rows[fits], numbers, checked
            )
            if whole:
                return
            matrix, rows = matrix[~fits], rows[~fits]
        while len(rows):
            reply = matrix[0].tobytes()
            try:
                layout_found = self._learn(reply)
                if layout_found is None:
                    self._check_one(self.api.decode(reply), rows[:1], numbers, checked)
            except Unreadable as error:
                layout_found = None
                self._fail(checked, rows[:1], "unreadable", str(error))
            if layout_found is None:
                matrix, rows = matrix[1:], rows[1:]
                continue
            fits = layout_found.fits(matrix)
            self._check_fitting(layout_found, matrix[fits], rows[fits], numbers, checked)
            matrix, rows = matrix[~fits], rows[~fits]

    def _learn(self, reply: bytes) -> Layout | None:
        """A new layout for replies like this one, as long as those learned before were of use."""
        if not self._patience:
            return None
        self._patience -= 1
        layout = learn(self.api.decode, reply, self._output)
        if layout is not None:
            layouts = self._layouts.setdefault(len(reply), [])
            layouts.insert(0, layout)
            del layouts[_MOST_LAYOUTS:]
            if len(self._layouts) > _MOST_LENGTHS:
                del self._layouts[next(iter(self._layouts))]
        return layout

    def _check_fitting(
        self,
        layout: Layout,
        matrix: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        checked: _Judged,
    ) -> None:
        answers = _Answers(layout.model, layout.version, layout.values(matrix))
        self._judge(answers, rows, numbers, checked)

    def _check_one(
        self,
        response: Response,
        rows: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        checked: _Judged,
    ) -> None:
        self._of_another(response.model, response.version, rows, checked)
        if self._output not in response.outputs:
            names = ", ".join(response.outputs) or "none"
            self._fail(checked, rows, "missing output", f"no output {self._output!r}; the answer has {names}")
            return
        try:
            values = response.array(self._output)
        except ValueError as error:
            self._fail(checked, rows, "unreadable", f"output {self._output!r} is unreadable: {error}")
            return
        self._judge(_Answers(response.model, response.version, values[np.newaxis]), rows, numbers, checked)

    def _judge(
        self,
        answers: _Answers,
        rows: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        checked: _Judged,
    ) -> None:
        model, version, values = answers
        other = self._of_another(model, version, rows, checked)
        if not other and not self._as_declared(version, values, rows, checked):
            return
        messages = numbers[rows]
        if self._rule is not None:
            try:
                compared = self._rule.compare(values, messages)
            except Unfit as unfit:
                self._fail(checked, rows, unfit.cause, str(unfit))
                return
            checked.correct[rows] = compared.right.sum(axis=1, dtype=np.int32)
            if self.choices is not None and self._pool.rows is not None:
                self.choices[self._pool.rows[messages]] = compared.chosen
        settled = np.ones(len(rows), np.bool_)
        if self._references is not None and not other:
            same = self._references.same(version, messages, values)
            settled = self._references.settled(version, messages, values)
            if not same.all():
                text = "a request got another answer than the same request before"
                self._fail(checked, rows[~same], "values", text)
        numbers_lack = _with_nan(values)
        checked.settled[rows] = settled & ~numbers_lack  # each of these is to be counted
        if numbers_lack.any():
            self._count(NAN, int(numbers_lack.sum()), f"output {self._output!r} holds nan")

    def _of_another(
        self, model: str, version: int | None, rows: npt.NDArray[np.int64], checked: _Judged
    ) -> bool:
        """Whether the answers are of another model or version than requested, or of one version too many.

        An answer that names neither may be right. Notes the version.
        """
        if not model and version is None:
            return False
        if version is not None:
            if version not in self._versions and len(self._versions) == MOST_VERSIONS:
                text = f"version {version} answered after {MOST_VERSIONS} others"
                self._fail(checked, rows, "versions", text)
                return True
            self._versions.add(version)
            checked.version[rows] = version
        if model and model != self._pool.model:
            self._fail(checked, rows, "model", f"model {model!r} answered instead of {self._pool.model!r}")
            return True
        if self._version is None or version == self._version:
            return False
        answering = "a version without a number" if version is None else f"version {version}"
        self._fail(checked, rows, "version", f"{answering} answered instead of version {self._version}")
        return True

    def _as_declared(
        self,
        version: int | None,
        values: npt.NDArray[Any],
        rows: npt.NDArray[np.int64],
        checked: _Judged,
    ) -> bool:
        """Whether dtype and shape are those of the signature, if that is known of this version."""
        declared = self.declared
        if declared is None or version not in (None, declared.version):
            return True
        dtype = storage_number(values.dtype)
        if declared.dtype not in (0, dtype):
            text = f"is {dtype_name(dtype)}, the signature declares {dtype_name(declared.dtype)}"
            self._fail(checked, rows, "dtype", f"output {self._output!r} {text}")
            return False
        if not Tensor("", declared.shape).takes(values.shape[1:]):
            text = f"has shape {list(values.shape[1:])}, the signature declares {list(declared.shape or ())}"
            self._fail(checked, rows, "shape", f"output {self._output!r} {text}")
            return False
        return True

    def _fail(self, checked: _Judged, rows: npt.NDArray[np.int64], cause: str, text: str) -> None:
        """Count answers that have not failed by an earlier cause."""
        new = rows[~checked.mismatched[rows]]
        if len(new):
            self._count(cause, len(new), text)
            checked.mismatched[new] = True

    def _count(self, cause: str, answers: int, text: str) -> None:
        self.causes[cause] += answers
        self.examples.setdefault(cause, shown(text))


def _with_nan(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """[answers]: which of the answers, [answers, ...], hold a value that is not a number."""
    numbers = wide(values)
    # the least value is nan where any is, which is found without an array of its own
    if numbers.dtype.kind not in "fc" or not numbers.size or not np.isnan(numbers.min()):
        return np.zeros(len(values), np.bool_)
    return np.asarray(np.isnan(numbers).reshape(len(values), -1).any(axis=1))
