"""Models for the embedded server: where they come from, and how they are served."""

import fcntl
import hashlib
import logging
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from bench import BenchError
from bench.extras import need
from bench.load.options import ScenarioOptions
from bench.wire import messages

log = logging.getLogger("bench")

LOOK_SECONDS = 0.1
METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class Served:
    """One model of a server: an entry of its model config."""

    name: str
    base_path: Path
    versions: Sequence[int] = ()
    """Those to serve, and no others; empty: as `policy` says."""
    labels: Mapping[str, int] = field(default_factory=dict)
    latest: int | None = None
    """Serve so many of the highest versions; None: all."""


def tree_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def config_of(models: Sequence[Served]) -> Any:
    """The ModelServerConfig that serves these models."""
    config = messages.ModelServerConfig()
    for model in models:
        entry = config.model_config_list.config.add(
            name=model.name, base_path=str(model.base_path), model_platform="tensorflow"
        )
        policy = entry.model_version_policy
        if model.versions:
            policy.specific.versions.extend(model.versions)
        elif model.latest is not None:
            policy.latest.num_versions = model.latest
        else:
            policy.all.SetInParent()
        entry.version_labels.update(model.labels)
    return config


@dataclass(frozen=True)
class Site:
    """Models that are made once and kept, and a folder of this run's own."""

    options: ScenarioOptions
    say: Callable[[str], None]
    own_folder: Path | None = None
    """None: the server was started by somebody else."""

    @property
    def folder(self) -> Path:
        """The embedded server's own: empty at first, removed after the last test. Raises BenchError where it is not ours."""
        if self.own_folder is None:
            raise BenchError("the server at --host has no folder of this run")
        return self.own_folder

    def mnist(self) -> Path:
        """The folder of MNIST's versions 1 (one training step) and 2 (a thousand)."""
        return self.exported("mnist", "--pair", versions=(1, 2))

    def exported(self, model: str, *flags: str, versions: Sequence[int] = (1,), kept: str = "models") -> Path:
        """As `exported`, below."""
        return exported(model, flags, versions=versions, kept=kept, say=self.say)

    def serving(self, *models: Served) -> list[str]:
        """Arguments of `bench serve` for these models; labels may be there before their versions."""
        path = self.folder / "models.config"
        path.write_text(str(config_of(models)))
        labels = ["--allow_version_labels_for_unavailable_models"] if any(m.labels for m in models) else []
        return ["--model_config_file", str(path), *labels]

    def monitored(self) -> list[str]:
        """Arguments of `bench serve` for a REST port and the counters of a Prometheus page on it."""
        path = self.folder / "monitoring.config"
        path.write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}')
        return ["--monitoring_config_file", str(path), "--rest_api_port=0"]


def exported(
    model: str,
    flags: Sequence[str],
    *,
    versions: Sequence[int],
    say: Callable[[str], None],
    kept: str = "models",
) -> Path:
    """The folder of a model's versions, made by `bench export` with these flags where they are missing.

    kept: the folder below the cache; a folder in it stands for the flags and for the exporter, so that another
    exporter makes models anew. Raises BenchError where the export fails.
    """
    folder = cache_folder() / kept / fingerprint(flags)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        _take(lock, lambda: say(f"waiting for another program that exports {model} into {folder}"))
        for number in (None,) if "--pair" in flags else tuple(versions):
            wanted = tuple(versions) if number is None else (number,)
            if all((folder / model / str(each) / "saved_model.pb").is_file() for each in wanted):
                continue
            choice = [] if number is None else ["--version", str(number)]
            _export(folder, model, [*choice, *flags], say)
    return folder / model


def fingerprint(flags: Sequence[str]) -> str:
    """Of everything that decides what an export makes: its flags, the files that they name, its code, the digits.

    The code holds network, steps, seed and learning rate as far as the flags do not. 5 ms.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in (*sorted((package / "export").glob("*.py")), package / "mnist.py", package / "mnist_5k.npz"):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    for flag in flags:
        digest.update(flag.encode() + b"\0")
        named = Path(flag)
        if named.is_file():  # weights are hundreds of megabytes: not read for this
            about = named.stat()
            digest.update(f"{about.st_size} {about.st_mtime_ns}".encode() + b"\0")
    return digest.hexdigest()[:12]


def _take(lock: IO[str], wait: Callable[[], None]) -> None:
    """Lock a file; `wait` is called once where somebody else has locked it, who is then waited for."""
    reported = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not reported:
                wait()
                reported = True
            time.sleep(LOOK_SECONDS)  # a call that blocks would keep Ctrl-C from the event loop
        else:
            return


def _export(folder: Path, model: str, flags: Sequence[str], say: Callable[[str], None]) -> None:
    need(
        "tensorflow",
        f"{model} has to be trained for a server that is started here (to use a running one: --host HOST:PORT)",
    )
    say(f"exporting {model} into {folder} (once)")
    command = [sys.executable, "-m", "bench", "export", str(folder), "--model", model, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"the export of {model} into {folder} failed: {last}")
    for line in done.stdout.strip().splitlines():
        say(line)


def cache_folder() -> Path:
    """Where what can be made again is kept between runs (XDG base directory specification).

    Without a home that can be written, a folder of this user's own below the system's temporary ones, which is said once.
    """
    folder: Path | None = None
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serving-bench"
        folder.mkdir(parents=True, exist_ok=True)
        problem = "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder}: not writable"
    except (OSError, RuntimeError) as error:  # RuntimeError: no HOME, and nobody knows this user
        problem = f"{folder}: {error.strerror}" if isinstance(error, OSError) else f"HOME: {error}"
    if not problem and folder is not None:
        return folder
    other = _temporary_cache()
    if other not in _warned_about:
        _warned_about.add(other)
        log.warning(
            "%s; models and calibrations are stored in %s instead; set XDG_CACHE_HOME for another folder",
            problem,
            other,
        )
    return other


_warned_about: Final[set[Path]] = set()


def _temporary_cache() -> Path:
    """The same folder each time, if it is this user's alone; models of somebody else would be executed."""
    folder = Path(tempfile.gettempdir()) / f"serving-bench-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022:
            return folder
    except OSError as error:
        raise BenchError(
            f"{folder}: {error.strerror}; set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    raise BenchError(
        f"{folder}: not this user's own folder; set XDG_CACHE_HOME to a folder that can be written"
    )
