"""Loading of versions, with retries and reasons to give up."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench.server.models.servable import Loader, Servable
from bench.server.models.states import Version
from bench.server.refusal import Code, Refusal
from bench.server.unforeseen import unforeseen

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepositoryOptions:
    """Options by which a repository watches and loads; the defaults are the original's, except for `load_threads`."""

    poll_wait: float = 1.0
    """Seconds between two looks at the directories; 0: look once, negative: never."""
    load_threads: int = 2
    """Versions that are loaded at the same time."""
    max_load_retries: int = 5
    """Further attempts after the first has failed."""
    load_retry_interval: float = 60.0
    """Seconds between two attempts."""
    labels_for_unavailable: bool = False
    """Whether a new label may point to a version that does not serve yet."""


def attempt(
    loader: Loader, version: Version, options: RepositoryOptions, permits: threading.Semaphore
) -> Servable | Refusal | None:
    """The loaded version, the last reason why it cannot be loaded, or None when it is not wanted any more.

    A permit is held while the loader runs, not while the next attempt is waited for.
    """
    refusal = None
    for number in range(1 + options.max_load_retries):
        if number and version.unwanted.wait(max(0.0, options.load_retry_interval)):
            return None
        with permits:
            result = outcome(lambda: loader(version.name, version.number, version.path))
        if not isinstance(result, Refusal):
            return result
        refusal = result
        log.warning("model %s version %d, attempt %d: %s", version.name, version.number, number + 1, refusal)
    return refusal


def outcome(action: Callable[[], T]) -> T | Refusal:
    """What a loader's call gives, or why it gives nothing; its own memory and file errors are reasons too."""
    try:
        return action()
    except Refusal as refusal:
        return refusal
    except (OSError, MemoryError, ValueError, RuntimeError) as error:
        return Refusal(Code.UNKNOWN, f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - the thread that keeps the versions must go on
        return unforeseen(error, "loading or unloading")
