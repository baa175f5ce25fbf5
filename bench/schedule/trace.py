"""Schedules from recorded traffic."""

import csv
import hashlib
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench import BenchError, extras
from bench.runs.files import MIB, read_file
from bench.runs.sample import stored_per_second
from bench.schedule.text import NUMBER, MismatchError

TIME_COLUMNS = ("time", "due")
"""Columns that may hold the instants; `due` is what our own samples.parquet calls it."""


LARGEST: Final = 512 * MIB
"""Bytes of a trace."""
MOST_ROWS: Final = 50_000_000
"""Of a Parquet file, in which a column of one value takes no bytes."""


class Kind(NamedTuple):
    """The request that a row of a trace describes; None: what the test's options say."""

    model: str | None
    version: int | None
    batch: int | None


@dataclass(frozen=True)
class Trace:
    """Recorded arrivals, replayed once: a CSV file with a header line, or a Parquet file.

    Columns: `time` (or `due`): seconds, or dates and times as ISO 8601 writes them; optional `model`, `version` and
    `batch`, empty for what the test's options say. Others are passed over, and the order of rows does not matter.
    The first arrival is due at 0. The number of users divides a trace and does not multiply it.
    """

    kind: ClassVar[str] = "trace"
    form: ClassVar[str] = "trace:FILE, trace:FILE@2x"
    path: Path
    speed: float
    """2: replayed twice as fast."""
    sha256: str
    """Of the file."""
    instants: NDArray[np.float64] = field(repr=False, compare=False)
    """Seconds since the first, ascending, speed taken into account."""
    kinds: tuple[Kind, ...] = field(repr=False, compare=False)
    """Everything that is asked for."""
    codes: NDArray[np.int32] = field(repr=False, compare=False)
    """For each instant what is asked for, as a position in `kinds`."""

    @classmethod
    def of_text(cls, rest: str) -> Self:
        """What stands behind the colon. Raises MismatchError."""
        matched = re.fullmatch(rf"(.+?)(?:@({NUMBER})x)?", rest)
        if matched is None:
            raise MismatchError
        return cls.read(Path(matched[1]).expanduser(), float(matched[2] or "1"))

    @classmethod
    def read(cls, path: Path, speed: float = 1.0) -> Self:
        """Read a trace. Raises BenchError naming file, row and remedy for what is none."""
        if not 0 < speed < float("inf"):
            raise BenchError(f"trace {path}: speed {speed:g}; expected a finite number > 0")
        try:
            raw = read_file(path, LARGEST)
            sha256 = hashlib.sha256(raw).hexdigest()
            columns = _read_parquet(path, raw) if path.suffix == ".parquet" else _read_csv(path, raw)
        except OSError as error:
            raise BenchError(
                f"trace {path}: cannot be read ({error.strerror}); give a CSV or Parquet file"
            ) from error
        name = next((name for name in TIME_COLUMNS if name in columns), None)
        if name is None:
            raise BenchError(f"trace {path}: no column 'time'; it has {', '.join(columns) or 'none'}")
        seconds = _seconds(path, name, columns[name])
        if not len(seconds):
            raise BenchError(f"trace {path}: it has no rows; at least one arrival is needed")
        kinds, codes = _kinds(path, columns, len(seconds))
        order = np.argsort(seconds, kind="stable")
        instants = (seconds[order] - seconds[order[0]]) / speed
        return cls(path, speed, sha256, instants, kinds, codes[order])

    @classmethod
    def again(cls, path: str, sha256: str, speed: float = 1.0, **_: Any) -> Self:
        """Read a trace that a manifest names. Raises BenchError where the file is another than it was."""
        trace = cls.read(Path(path), speed)
        if trace.sha256 != sha256:
            raise BenchError(
                f"trace {path}: the file has changed since (sha256 {trace.sha256[:12]}, not {sha256[:12]})"
            )
        return trace

    def __str__(self) -> str:
        return f"trace:{self.path}" + (f"@{self.speed:.12g}x" if self.speed != 1 else "")

    def to_dict(self) -> dict[str, Any]:
        """The schedule as JSON values, as `from_dict` reads it."""
        origin = {"path": str(self.path), "speed": self.speed, "sha256": self.sha256}
        return {"kind": self.kind, **origin, "arrivals": len(self.instants)}

    @property
    def duration(self) -> float:
        """Seconds until the last arrival."""
        return float(self.instants[-1])


Column = Sequence[Any]


def _read_csv(path: Path, raw: bytes) -> dict[str, Column]:
    try:
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BenchError(f"trace {path}: not a CSV file ({error}); Parquet files end in .parquet") from error
    rows = [row for row in rows if row]
    if not rows:
        raise BenchError(f"trace {path}: the file is empty; its first line has to name the columns")
    header = [name.strip().lower() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise BenchError(
                f"trace {path}: row {number} has {len(row)} fields, the header has {len(header)}"
            )
    return (
        dict(zip(header, zip(*rows[1:], strict=True), strict=True)) if rows[1:] else dict.fromkeys(header, ())
    )


def _read_parquet(path: Path, raw: bytes) -> dict[str, Column]:
    extras.need("pyarrow", f"trace {path}")
    import pyarrow
    import pyarrow.parquet

    wanted = {*TIME_COLUMNS, "model", "version", "batch"}
    try:
        with pyarrow.parquet.ParquetFile(pyarrow.BufferReader(raw)) as file:
            if file.metadata.num_rows > MOST_ROWS:
                raise BenchError(
                    f"trace {path}: {file.metadata.num_rows:,} rows, at most {MOST_ROWS:,} are read; cut it in parts"
                )
            names = [name for name in file.schema_arrow.names if name in wanted]
            table = file.read(columns=names)
        columns = {name: _plain(table.column(name)) for name in names}
    except (pyarrow.ArrowException, OSError) as error:
        raise BenchError(f"trace {path}: not a Parquet file with such columns ({error})") from error
    per_second = stored_per_second(table.schema.metadata)
    if per_second is not None and "due" in columns:
        columns["due"] = np.asarray(columns["due"]) / per_second  # type: ignore[assignment]  # arrays are no Sequence
    return columns


def _plain(column: Any) -> Column:
    """numpy for instants, so that ten million of them stay cheap; Python values for the rest."""
    import pyarrow

    if pyarrow.types.is_temporal(column.type):
        return column.cast(pyarrow.timestamp("ns")).to_numpy()  # type: ignore[no-any-return]  # pyarrow has no types
    if pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type):
        return column.to_pylist() if column.null_count else column.to_numpy()  # type: ignore[no-any-return]  # as above
    return column.to_pylist()  # type: ignore[no-any-return]  # as above


def _seconds(path: Path, name: str, column: Column) -> NDArray[np.float64]:
    """Numbers as they are; dates and times as seconds since the first of them."""
    array = np.asarray(column)
    if array.dtype.kind in "US":
        seconds = _parsed(path, name, array)
    elif array.dtype.kind == "M":
        seconds = _since_first(array)
    else:
        seconds = _floats(path, name, array)
    wrong = np.flatnonzero(~np.isfinite(seconds))
    if len(wrong):
        where = int(wrong[0])
        raise BenchError(
            f"trace {path}: {name} of row {where + 1} is {column[where]!r}; seconds or ISO 8601 expected"
        )
    return seconds


def _parsed(path: Path, name: str, texts: NDArray[np.str_]) -> NDArray[np.float64]:
    try:
        return texts.astype(np.float64)
    except ValueError:
        pass
    try:
        with warnings.catch_warnings():
            # numpy keeps no zone: it warns, and converts the time to UTC, which is what is wanted here
            warnings.simplefilter("ignore", UserWarning)
            return _since_first(np.char.strip(texts).astype("datetime64[ns]"))
    except ValueError as error:
        raise BenchError(f"trace {path}: {name}: {error}; expected seconds or times in ISO 8601") from error


def _since_first(instants: NDArray[np.datetime64]) -> NDArray[np.float64]:
    # a double holds nanoseconds of a day, not those since 1970
    instants = instants.astype("datetime64[ns]")
    unknown = np.isnat(instants)
    if unknown.all():
        return np.full(len(instants), np.nan)
    seconds = (instants - np.nanmin(instants)).astype("timedelta64[ns]").astype(np.float64) / 1e9
    return np.where(unknown, np.nan, seconds)


def _floats(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise BenchError(f"trace {path}: {name}: {error}; seconds or ISO 8601 expected") from error


def _kinds(path: Path, columns: dict[str, Column], rows: int) -> tuple[tuple[Kind, ...], NDArray[np.int32]]:
    """The different things that rows ask for, in the order of their first row, and each row's number of it."""
    if not {"model", "version", "batch"} & set(columns):
        return (Kind(None, None, None),), np.zeros(rows, dtype=np.int32)
    models: Iterable[str | None] = (
        None if value in (None, "") else str(value) for value in columns.get("model", [None] * rows)
    )
    versions, batches = (
        _whole(path, name, columns.get(name, [None] * rows)) for name in ("version", "batch")
    )
    numbers: dict[Kind, int] = {}
    codes = [
        numbers.setdefault(Kind(*kind), len(numbers)) for kind in zip(models, versions, batches, strict=True)
    ]
    return tuple(numbers), np.array(codes, dtype=np.int32)


def _whole(path: Path, name: str, column: Column) -> list[int | None]:
    numbers: list[int | None] = []
    least = 1 if name == "batch" else 0
    for row, value in enumerate(column, 1):
        if value in (None, ""):
            numbers.append(None)
            continue
        try:
            number = int(value) if float(value) == int(float(value)) else least - 1
        except (TypeError, ValueError, OverflowError):
            number = least - 1
        if number < least:
            raise BenchError(
                f"trace {path}: {name} of row {row} is {value!r}; expected an integer >= {least}"
            )
        numbers.append(number)
    return numbers
