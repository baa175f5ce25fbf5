"""Model versions that come and go without failing a request.

A thread looks at the model directories and brings what is loaded in line with what should be; each version is
loaded by a thread of its own, so that one broken version holds up nobody else. Requests read one immutable table,
`Repository.serving`, which is replaced whole: a new version is in it before the old one leaves it, and a version
that has left it stays in memory until the last request has released its handle.
"""

import logging
import threading
import time
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions, attempt, outcome
from bench.server.models.policy import aspired, versions_in
from bench.server.models.servable import Handle, Loader, Servable
from bench.server.models.serving import Serving
from bench.server.models.states import History, State, Status, Version, next_unload
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen
from bench.wire.messages import ModelServerConfig

log = logging.getLogger(__name__)

_RECOVERY_SECONDS: Final = 0.5
"""Between an error of ours and the next look at the directories, so that one that lasts does not fill the log."""


class Repository:
    """Versions of models, from directories to handles. Thread-safe; `start` it once, `stop` it once."""

    def __init__(self, loader: Loader, options: RepositoryOptions | None = None) -> None:
        self._loader = loader
        self._options = options or RepositoryOptions()
        self._changed = threading.Condition()
        self._history = History()
        self._models: dict[str, Any] = {}
        self._stored = ModelServerConfig()
        """The last config that passed `model_config.check`, applied or not, as the original keeps it."""
        self._look = False
        """Whether the directories should be looked at, without waiting for the next poll."""
        self._settle = False
        """Whether a load or unload may be due, since another has ended."""
        self._stopping = False
        self._reloading = threading.Lock()
        self._permits = threading.BoundedSemaphore(max(1, self._options.load_threads))
        self._keeper = threading.Thread(target=self._keep, name="repository", daemon=True)
        self._follower: threading.Thread | None = None
        self._loaders: set[threading.Thread] = set()
        self.serving = Serving({}, {}, {}, {}, {})

    def start(self, config: Any) -> None:
        """Begin to serve the models of a ModelServerConfig. Raises `Refusal` where it is not acceptable."""
        with self._changed:
            self._apply(self._accepted(config))
        self._keeper.start()

    def stop(self) -> None:
        """Unload everything that nobody holds and end all threads; loads under way are waited for."""
        with self._changed:
            self._stopping = True
            for version in self._history.every():
                version.unwanted.set()
            self._changed.notify_all()
            threads = [self._keeper, *self._loaders, *([self._follower] if self._follower else [])]
        for thread in threads:
            if thread.is_alive():
                thread.join()
        with self._changed:
            self.serving = Serving({}, {}, {}, {}, {})
            left = [v for v in self._history.every() if v.handle is not None and not v.handle.held]
        for version in left:
            self._close(version)

    def acquire(self, spec: Any) -> Handle:
        """The version that a ModelSpec asks for, held until its `release`. Raises `Refusal`."""
        while True:
            serving = self.serving
            handle = serving.find(spec)
            handle.hold()
            if serving is self.serving:
                return handle
            # a version that was unloaded in between must not be used; the new table knows better
            handle.release()

    def statuses(self, name: str, number: int | None = None) -> list[Status]:
        """The versions of a model ever seen, highest first; of one number only where given. Empty: none."""
        with self._changed:
            return [v.status() for v in self._history.of(name) if number is None or v.number == number]

    def serves(self, name: str) -> bool:
        """Whether a model of this name is configured."""
        return name in self._models

    def models(self) -> list[str]:
        """Names of the configured models."""
        with self._changed:
            return sorted(self._models)

    def reload(self, config: Any, timeout: float | None = None) -> None:
        """Serve the models of another ModelServerConfig instead; return when each new one is available.

        Raises `Refusal` where the config is not acceptable, a new model fails, or `timeout` seconds pass (the
        config stays applied then). A new model without any version is waited for, as the original does.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if not self._reloading.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            with self._changed:
                models = self._accepted(config)
                added = [name for name in models if name not in self._models]
                self._apply(models)
                log.info("configuration of %d models applied, %d of them new", len(models), len(added))
                self._wait_for(added, until, "model")
        finally:
            self._reloading.release()

    def follow(self, path: Path, seconds: float) -> None:
        """Read a model config file again every so many seconds and apply it; one that is no good is logged."""
        self._follower = threading.Thread(
            target=self._follow, args=(path, seconds), name="config", daemon=True
        )
        self._follower.start()

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Return when each configured model has a version that serves.

        Raises `Refusal`: UNKNOWN when a model's versions have failed for good, DEADLINE_EXCEEDED on `timeout`.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._wait_for(list(self._models), until, "servable")

    def wait_for(self, name: str, number: int, state: State, timeout: float) -> bool:
        """Whether a version reached a state within `timeout` seconds; returns as soon as it did."""
        with self._changed:
            return self._changed.wait_for(
                lambda: bool((version := self._history.find(name, number)) and version.state is state),
                timeout,
            )

    def _follow(self, path: Path, seconds: float) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, seconds):
                    return
            try:
                self.reload(model_config.read_models(path))
            except (BenchError, Refusal) as error:
                log.error("the model config is left as it is: %s", error)
            except Exception as error:  # noqa: BLE001 - the next look may be better
                unforeseen(error, "a look at the model config")

    # everything below runs with self._changed held, unless it says otherwise

    def _accepted(self, config: Any) -> dict[str, Any]:
        def available(name: str, number: int) -> bool:
            return (name, number) in self.serving.versions

        model_config.check(config, self._stored)
        self._stored = config
        return model_config.accepted(config, self._models, available, self._options.labels_for_unavailable)

    def _apply(self, models: dict[str, Any]) -> None:
        self._models = models
        self._publish()
        self._look = self._options.poll_wait >= 0
        self._changed.notify_all()

    def _publish(self) -> None:
        """Replace the table of what can be asked by one of the versions that are available now."""
        versions = {
            (version.name, version.number): version.handle
            for version in self._history.every()
            if version.state is State.AVAILABLE and version.handle is not None
        }
        latest: dict[str, Handle] = {}
        for (name, number), handle in versions.items():
            if name not in latest or number > latest[name].version:
                latest[name] = handle
        labels = {name: dict(model.version_labels) for name, model in self._models.items()}
        self.serving = Serving(versions, latest, labels, {}, {})

    def _wait_for(self, names: list[str], until: float | None, noun: str) -> None:
        def settled(name: str) -> bool:
            wanted = [v for v in self._history.of(name) if v.aspired]
            served = any(v.state is State.AVAILABLE for v in wanted)
            return name not in self._models or served or (bool(wanted) and all(v.settled for v in wanted))

        left = None if until is None else max(0.0, until - time.monotonic())
        if not self._changed.wait_for(lambda: self._stopping or all(map(settled, names)), left):
            raise Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if self._stopping:
            raise Refusal(Code.UNAVAILABLE, "the server is shutting down")
        broken = []
        for name in names:
            wanted = [v for v in self._history.of(name) if v.aspired]
            if not any(v.state is State.AVAILABLE for v in wanted):
                broken += [v for v in wanted if v.failed][:1]
        if broken:
            raise Refusal(
                Code.UNKNOWN,
                f"{len(broken)} {noun}(s) did not become available: "
                f"{{{''.join(f'{{{version} due to error: {version.error}}}, ' for version in broken)}}}",
            )

    def _keep(self) -> None:
        """The thread that brings what is loaded in line with disk and configuration. Takes the lock itself."""
        while not self._stopping:
            try:
                self._bring_in_line()
            except Exception as error:  # noqa: BLE001 - without this thread no version would ever come or go again
                unforeseen(error, "the watch over the versions")
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, _RECOVERY_SECONDS)
                    self._look, self._settle = self._options.poll_wait >= 0, True

    def _bring_in_line(self) -> None:
        """Whenever something has changed or it is time to look, until the end. Takes the lock itself."""
        wait = self._options.poll_wait
        due: float | None = None
        while True:
            with self._changed:
                while not (self._stopping or self._look or self._settle or self._idle()):
                    left = None if due is None else due - time.monotonic()
                    if left is not None and left <= 0:
                        self._look = True
                        break
                    self._changed.wait(left)
                if self._stopping:
                    return
                look, self._look, self._settle = self._look, False, False
                models = dict(self._models)
            if look:
                # the directories are read without the lock: a file system may be slow
                versions = {name: _versions_of(model) for name, model in models.items()}
                due = time.monotonic() + wait if wait > 0 else None
            with self._changed:
                if look:
                    self._aspire(models, versions)
                idle = self._idle()
                self._start_due()
            for version in idle:
                self._close(version)

    def _aspire(self, models: dict[str, Any], versions: dict[str, dict[int, Path] | None]) -> None:
        """Note which versions should be served, after a look at the directories."""
        for name in {*self._history.names(), *self._models}:
            model = self._models.get(name)
            if model is not models.get(name):
                continue  # reconfigured while we looked; another look is due
            paths = {} if model is None else versions[name]
            if paths is None:
                continue  # the directory could not be read: nothing is known, so nothing changes
            wanted = {} if model is None else aspired(paths, model.model_version_policy)
            for version in self._history.of(name):
                if version.number in wanted:
                    continue
                version.aspired = False
                version.unwanted.set()
                if version.state is State.START:
                    version.state = State.END
            for number, path in wanted.items():
                known = self._history.find(name, number)
                if known is None or (known.state is State.END and not known.aspired):
                    self._history.add(Version(name, number, path))
                elif not known.aspired:
                    known.aspired = True
                    known.unwanted.clear()
        self._changed.notify_all()

    def _start_due(self) -> None:
        """Start the unloads and loads that are due."""
        for name in self._history.names():
            while (version := next_unload(self._history.of(name))) is not None:
                self._unload(version)
            for version in self._history.of(name):
                if not version.aspired:
                    continue
                due = version
                if version.state is State.END and version.error is None:
                    due = Version(name, version.number, version.path)  # wanted again while it was going
                    self._history.add(due)
                if due.state is State.START:
                    due.state = State.LOADING
                    thread = threading.Thread(target=self._load, args=(due,), name=f"load {due}", daemon=True)
                    self._loaders.add(thread)
                    thread.start()
        self._changed.notify_all()

    def _unload(self, version: Version) -> None:
        log.info("model %s version %d unloading", version.name, version.number)
        version.state = State.UNLOADING
        self._publish()
        if version.handle is not None:
            version.handle.retire(self._wake)

    def _wake(self) -> None:
        """Called by the request that releases a retired version last. Takes the lock itself."""
        with self._changed:
            self._changed.notify_all()

    def _idle(self) -> list[Version]:
        """The versions that are to go and that nobody holds any more."""
        return [
            version
            for version in self._history.every()
            if version.state is State.UNLOADING and version.handle is not None and not version.handle.held
        ]

    def _close(self, version: Version) -> None:
        """Free a version that nobody holds. Takes the lock itself."""
        handle, version.handle = version.handle, None
        refusal = None if handle is None else outcome(handle.close)
        with self._changed:
            version.state = State.END
            self._settle = True
            self._changed.notify_all()
        log.info(
            "model %s version %d unloaded%s",
            version.name,
            version.number,
            f": {refusal}" if refusal else "",
        )

    def _load(self, version: Version) -> None:
        """The life of a loading thread. Takes the lock itself."""
        started = time.monotonic()
        result: Servable | Refusal | None = Refusal(Code.INTERNAL, "loading ended without a result")
        try:
            result = attempt(self._loader, version, self._options, self._permits)
        finally:
            with self._changed:
                if isinstance(result, Refusal):
                    version.error = result
                    version.state = State.END
                elif result is None:
                    version.state = State.END
                else:
                    version.handle = Handle(version.name, version.number, result)
                    version.state = State.AVAILABLE
                    self._publish()
                self._loaders.discard(threading.current_thread())
                self._settle = True
                self._changed.notify_all()
        if version.state is State.AVAILABLE:
            took = time.monotonic() - started
            log.info("model %s version %d available, loaded in %.3f s", version.name, version.number, took)
        else:
            log.error(
                "model %s version %d given up: %s", version.name, version.number, result or "not wanted"
            )


def _versions_of(model: Any) -> dict[int, Path] | None:
    """The versions in a model's directory; None where it cannot be listed."""
    name, base_path = model.name, model.base_path
    try:
        versions = versions_in(Path(base_path))
    except OSError as error:
        log.error(
            "Could not find base path %s for servable %s with error %s", base_path, name, error.strerror
        )
        return None
    if not versions:
        log.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a "
            "number (eg. '/1/')?",
            name,
            base_path,
        )
    return versions
