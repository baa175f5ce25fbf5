"""Conclude a run that has ended: its single requests in one file, and checksums of all its files."""

from pathlib import Path

from bench import BenchError, extras
from bench.runs import checksums, parquet
from bench.runs.recording import SAMPLES, SHARDS


def conclude(folder: Path) -> str | None:
    """Pack a run's requests and seal the run; gives why requests stay unpacked. Raises BenchError where it cannot be sealed."""
    unpacked = None
    if (folder / SHARDS).is_dir() and extras.lacking("pyarrow") is None:
        try:
            parquet.pack(folder / SHARDS, folder / SAMPLES)
        except Exception as error:  # noqa: BLE001 - whatever it is, the requests are read from their records
            unpacked = f"{folder}: the samples stay unpacked in {SHARDS}/ ({type(error).__name__}: {error})"
    try:
        checksums.seal(folder)
    except OSError as error:
        raise BenchError(f"{folder / checksums.FILE}: {error.strerror}; the run is not sealed") from error
    return unpacked
