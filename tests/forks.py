"""`python -m bench` and `python -m locust` of tests as forks of processes that have imported what these import.

The imports of a short load, a server or a command are most of what it takes. `install` makes `subprocess.Popen` order
such a process where it would start one. What comes is as good: it has its own arguments, environment, folder, session,
group, CPUs, limits and files, a process id that signals go to, and an exit code; only its parent is another one. What
cannot be had so is started as ever: another program (`bin/bench`, `-c`, what is not in PROGRAMS), another environment for Python itself, another
session's group. So is all that is started within `as_users_do`.

`tests/forking.py` is the other side.
"""

import atexit
import contextlib
import inspect
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PLACE: Final = "BENCH_TESTS_FORKS"
"""Environment variable: the session of the processes that are forked, and the folder of the sockets where forks are ordered.

They have a path: abstract ones would belong to a network namespace, and there are tests with several.
"""
KINDS: Final = ("bench", "tensorflow", "locust", "training")
PROGRAMS: Final = {
    "scenario": "locust",
    "tests.wire.conformance": "locust",
    "tests.launch.known_server": "bench",
    "tests.launch.model_server": "bench",
    "tests.runs.killed_writer": "bench",
    "tests.wire.peer": "bench",
    "tests.models": "training",
    "tests.cli.interrupted_export": "training",
    "tests.export.several": "training",
    "tests.server.from_proto": "training",
    "tests.wire.beside_tensorflow": "training",
    "export_ranker": "training",
}
"""Programs of tests, and of the tutorial, and the kind that has imported what they need."""
LARGEST: Final = 1 << 20
"""Bytes of an order: an environment is the most of it."""
LIMITS: Final = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
LONGEST: Final = 8192
"""Bytes of a command line that is shown of a fork."""
AT_START: Final = ("LD_", "PYTHON", "OMP_", "OPENBLAS_")
"""Variables that are read when a process starts, or imports: a fork is too late for another value."""
OF_TENSORFLOW: Final = ("TF_",)
"""The same, where TensorFlow has been imported."""
SET_BY_SERVERS: Final = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_OVERRIDE_GLOBAL_THREADPOOL": "1"}
"""As a server sets them where they are not set, which it does in tests too."""
_USUAL: Final = subprocess.Popen
_SIGNATURE: Final = inspect.signature(_USUAL._execute_child)  # type: ignore[attr-defined]
_PIPES: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_USERS: Final = ("user", "group", "extra_groups", "uid", "gid", "gids")
_DEFAULTS: Final[dict[str, Any]] = {
    name: parameter.default for name, parameter in inspect.signature(_USUAL).parameters.items()
}
_KILLED: Final = -signal.SIGKILL


class Order(NamedTuple):
    """What is to be started."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    imports_folder: bool
    fails_on_warnings: bool
    """As with `-W error`."""
    group: int
    """Process group that it joins; 0: one of its own; -1: a session of its own."""
    ends_with_orderer: bool
    cpus: Sequence[int]
    limits: Sequence[Sequence[int]]
    """Soft and hard one, as LIMITS has them."""
    network: str
    """Its namespace; empty: that of who orders it."""
    ahead: int
    """Seconds by which its monotonic clock is ahead of that of who orders it."""
    terminal: bool
    """Whether its standard input becomes its controlling terminal, as by `setsid --ctty`."""


class Popen(subprocess.Popen[Any]):
    """A process that is ordered where it can be, and started otherwise."""

    tells_of_ends = False
    """Whether this process gets the signal that a child has ended: programs look for it, tests do not."""
    _codes: int | None = None
    """Descriptor at which the exit code comes."""
    of_tests: ClassVar["weakref.WeakSet[Popen]"] = weakref.WeakSet()
    """Those that a test, or what it imports of tests, has started in the main thread."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        by_test = Path(sys._getframe(1).f_code.co_filename).is_relative_to(ROOT / "tests")
        if by_test and threading.current_thread() is threading.main_thread():
            self.of_tests.add(self)

    def _execute_child(self, *values: Any) -> None:
        given = _SIGNATURE.bind(self, *values).arguments
        kind, order = _order(given)
        if order is None:
            super()._execute_child(*values)  # type: ignore[misc]
            return
        files = [
            standard if given[name] == -1 else given[name]
            for standard, name in enumerate(("p2cread", "c2pwrite", "errwrite"))
        ]
        line = _line(kind)
        socket.send_fds(line, [json.dumps(order).encode()], [*files, *given["pass_fds"]])
        self.pid = int(line.recv(64))
        self._codes = line.detach()
        self._child_created = True
        self._close_pipe_fds(*(given[name] for name in _PIPES))  # type: ignore[attr-defined]
        if self.tells_of_ends:
            threading.Thread(target=_signal_end, args=(self._codes,), daemon=True).start()

    def _try_wait(self, flags: int) -> tuple[int, int]:
        """As `os.waitpid`."""
        if self._codes is None:
            return super()._try_wait(flags)  # type: ignore[no-any-return, misc]
        if not _readable(self._codes, 0 if flags & os.WNOHANG else None):
            return 0, 0
        code = int(os.read(self._codes, 64) or _KILLED)
        os.close(self._codes)
        return self.pid, code << 8 if code >= 0 else -code

    def _internal_poll(self, *values: Any, **named: Any) -> int | None:
        if self._codes is None:
            return super()._internal_poll(*values, **named)  # type: ignore[no-any-return, misc]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._wait(0)  # type: ignore[attr-defined]
        return self.returncode


class Cooperative(Popen):
    """The same where gevent has patched all: what has to be started is gevent's, and what is ordered is waited for as all else."""

    usual: Any = None

    def __new__(cls, command: Sequence[str], **given: Any) -> Any:
        kind, _ = _order(_DEFAULTS | {"args": command} | given)
        return super().__new__(cls) if kind else cls.usual(command, **given)


def run(usual: Callable[..., Any], command: Sequence[str], **given: Any) -> Any:
    """As `subprocess.run` where gevent has patched all; usual: gevent's own, where it has to be."""
    kind, order = _order(_DEFAULTS | {"args": command} | given)
    if order is None or not (given.get("capture_output") and given.get("text")):
        return usual(command, **given)
    with _line(kind) as line, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        line.settimeout(given.get("timeout"))
        files = [0, output.fileno(), errors.fileno()]
        socket.send_fds(line, [json.dumps(order).encode()], files)
        try:
            line.recv(64)
            code = int(line.recv(64) or _KILLED)
        except TimeoutError:
            raise subprocess.TimeoutExpired(command, line.gettimeout() or 0.0) from None
        sizes = [os.fstat(file.fileno()).st_size for file in (output, errors)]
        texts = [
            os.pread(file.fileno(), size, 0).decode()
            for file, size in zip((output, errors), sizes, strict=True)
        ]
        return subprocess.CompletedProcess(command, code, *texts)


def _line(kind: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(f"{_place.partition(' ')[2]}/{kind}")
    return line


def _readable(descriptor: int, milliseconds: int | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _signal_end(codes: int) -> None:
    if _readable(codes, None):
        os.kill(os.getpid(), signal.SIGCHLD)


_suspended = False
_place = ""
_started_with: Mapping[str, str] = {}


@contextlib.contextmanager
def as_users_do() -> Iterator[None]:
    """Have all processes started in the block, and what they start."""
    global _suspended
    before, _suspended = _suspended, True
    try:
        yield
    finally:
        _suspended = before


def _kind(command: Sequence[str]) -> str | None:
    """What has imported most of what a command does; None: it is none of ours."""
    match command[1:] if command[:1] == [sys.executable] else []:
        case ["-m", "locust", *_]:
            return "locust"
        case ["-m", "bench", "serve", *flags]:
            named = " ".join(flags).replace("=", " ")
            light = ("--backend synthetic", "--backend null", "--help", "--version")
            return "bench" if any(flag in named for flag in light) else "tensorflow"
        case ["-m", "bench", "export", *_]:
            return "training"
        case ["-m", "bench", *_] | ["-P", "-m", "bench.supervisor" | "bench.launch.containers", *_]:
            return "bench"
        case ["-m", program, *_]:
            return PROGRAMS.get(program)
    return None


def _host(command: Sequence[str]) -> tuple[str, int, list[str]]:
    """The network and the time in which a command is to be started, and the rest of it."""
    network, ahead = "", 0
    if command[:3] == ["ip", "netns", "exec"]:
        network, command = command[3], command[4:]
    if command[:3] == ["unshare", "--time", "--monotonic"]:
        ahead, command = int(command[3]), command[4:]
    return network, ahead, list(command)


def _order(given: Mapping[str, Any]) -> tuple[str, Order | None]:
    """The order of what `Popen` was given, of which kind; None: it has to be started."""
    none = "", None
    if _suspended or isinstance(given["args"], str | bytes | os.PathLike) or not given["args"]:
        return none
    network, ahead, command = _host([os.fsdecode(part) for part in given["args"]])
    terminal = command[:3] == ["setsid", "--ctty", "--wait"]
    if terminal:
        del command[:3]
    strict = command[1:3] == ["-W", "error"]
    if strict:
        del command[1:3]
    kind = _kind(command)
    # a supervisor holds files open, whatever their numbers are; and what it prepares, it has from its own order
    supervisor = "bench.supervisor" in command
    supervised = getattr(given["preexec_fn"], "__qualname__", "") == "_preparation.<locals>.prepare"
    if kind is None or given["shell"] or given["executable"] or (given["pass_fds"] and not supervisor):
        return none
    if given["preexec_fn"] and not supervised:
        return none
    if any(given.get(name) not in (None, -1) for name in (*_USERS, "umask")):
        return none
    folder = Path(given["cwd"] or ".").absolute()
    joined = given["process_group"] in (None, -1)
    group = -1 if given["start_new_session"] or terminal else os.getpgid(0) if joined else 0
    if not folder.is_dir() or not (joined or given["process_group"] == 0):
        return none
    if group > 0 and os.getsid(0) != int(_place.partition(" ")[0]):
        return none
    variables = os.environ if given["env"] is None else given["env"]
    environment = {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()}
    read = AT_START + (OF_TENSORFLOW if kind in ("tensorflow", "training") else ())
    if any(n.startswith(read) and _started_with.get(n) != value for n, value in environment.items()):
        return none
    cpus = inspect.getclosurevars(given["preexec_fn"]).nonlocals["cpus"] if supervised else None
    module = command.index("-m") + 1
    return kind, Order(
        module=command[module],
        arguments=command[module + 1 :],
        environment=environment,
        folder=str(folder),
        imports_folder="-P" not in command[:module],
        fails_on_warnings=strict,
        group=group,
        ends_with_orderer=supervised,
        cpus=sorted(cpus or os.sched_getaffinity(0)),
        limits=[resource.getrlimit(number) for number in LIMITS],
        network=network,
        ahead=ahead,
        terminal=terminal,
    )


def install() -> None:
    """From here on this process orders its processes; only Linux has all that this takes."""
    if sys.platform != "linux":
        return
    connect()
    subprocess.Popen = Popen  # type: ignore[misc]


def connect() -> None:
    """Know where to order."""
    global _place, _started_with
    if PLACE not in os.environ:
        folder = tempfile.mkdtemp(prefix="bench-forks-")
        os.environ[PLACE] = f"{os.getsid(0)} {folder}"
        _listen(Path(folder))
    _place = os.environ[PLACE]
    _started_with = SET_BY_SERVERS | {
        name: value for name, value in os.environ.items() if name.startswith(AT_START + OF_TENSORFLOW)
    }


def _listen(folder: Path) -> None:
    """Start the processes that are forked, which end with this one."""
    alive, ours = os.pipe()  # its end of file tells that this process is gone
    with contextlib.ExitStack() as stack:
        numbers = [alive]
        for kind in KINDS:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            listening.bind(str(folder / kind))
            listening.listen(256)
            numbers.append(listening.fileno())
        command = [sys.executable, "-m", "tests.forking", " " * LONGEST, *map(str, numbers)]
        process = _USUAL(command, pass_fds=numbers, cwd=ROOT, stdin=subprocess.DEVNULL)
    os.close(alive)

    def end() -> None:
        os.close(ours)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
