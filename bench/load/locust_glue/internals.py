"""All that is used of Locust beyond its documentation.

Another version of Locust may have it otherwise: tests/load/test_locust_internals.py runs against the lowest and the
newest version that are supported.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, Final

import gevent
from locust import runners
from locust.env import Environment
from locust.rpc import Message, zmqrpc
from locust.user.task import LOCUST_STATE_STOPPING

__all__ = [
    "MASTER_SECONDS",
    "BaseSocket",
    "Message",
    "UserState",
    "alive",
    "filter_tasks_by_tags",
    "give_up",
    "given_up",
    "in_start",
    "leave_start",
    "listen_first",
    "miss_workers_after",
    "never_miss_master",
    "on_new_web_interface",
    "outlast_form",
    "outlast_run_time",
    "quit_with_workers",
    "request_listeners",
    "send_home",
    "spawn_no_more",
    "start_from_form",
    "starts",
    "stop_without_missing",
    "stopping",
    "timed",
    "timed_by_command_line",
    "use_sockets",
]

BaseSocket: Any = zmqrpc.BaseSocket
MASTER_SECONDS: Final[float] = runners.MASTER_HEARTBEAT_TIMEOUT
"""A worker gives its master up after so long without a heartbeat."""
LEAVE_SECONDS = 1.0
"""A master that quits waits so long at the most for its workers to leave."""
_timers: Final[list[Any]] = []
"""Of the command line's run time."""


class UserState:
    """The attributes that the constructor of Locust's `User` sets, for classes whose own does not call it."""

    _state: str | None = None
    _cp_last_run: float = 0.0
    _cp_last_wait_time: float = 0.0


def stopping(user: Any) -> bool:
    """Whether a user has been told to stop."""
    return bool(user._state == LOCUST_STATE_STOPPING)


def request_listeners(environment: Any) -> Iterable[Callable[..., Any]]:
    """Who listens to the request event of an environment, its runner among them."""
    listeners: Iterable[Callable[..., Any]] = environment.events.request._handlers
    return listeners


def listen_first(hook: Any, listener: Callable[..., object]) -> None:
    """Have an event call a listener before all that it has."""
    hook._handlers.insert(0, listener)


def filter_tasks_by_tags(environment: Any) -> None:
    """Leave the tasks that --tags and --exclude-tags choose, as Locust does when a test starts."""
    environment._filter_tasks_by_tags()


def use_sockets(server: type[Any], client: type[Any]) -> None:
    """Have masters and workers that Locust makes from now on connect by these sockets."""
    zmqrpc.Server, zmqrpc.Client = server, client  # type: ignore[misc]  # what Locust looks up


def never_miss_master() -> None:
    """Have Locust's workers of this process never give their master up."""
    runners.MASTER_HEARTBEAT_TIMEOUT = math.inf  # type: ignore[assignment]  # it is compared only


def miss_workers_after(seconds: int, master: Any) -> None:
    """Have masters of this process, and this one from now on, give a worker up after so long without a heartbeat."""
    runners.HEARTBEAT_LIVENESS = seconds
    for client in master.clients.all:
        client.heartbeat = seconds


def give_up(master: Any, client: str) -> None:
    """Have a master give a worker up within a second, unless it hears of it; a test that has no other ends then."""
    master.clients[client].heartbeat = -1


def given_up(client: Any) -> bool:
    """Whether a master is about to give a worker up."""
    return bool(client.heartbeat < 0)


def stop_without_missing(master: Any) -> None:
    """Have a test have stopped when the workers that are there have: Locust waits a minute more for each that it has given up."""
    check = master.check_stopped

    def check_stopped() -> None:
        check()
        states = (runners.STATE_INIT, runners.STATE_MISSING)
        if master.state == runners.STATE_STOPPING and all(
            client.state in states for client in master.clients.all
        ):
            master.update_state(runners.STATE_STOPPED)

    master.check_stopped = check_stopped


def alive(runner: Any) -> bool:
    """Whether a runner has not been told to quit."""
    return bool(runner.greenlet)


def send_home(runner: Any, client: str) -> None:
    """Have a worker that this master does not know leave."""
    runner.server.send_to_client(Message("quit", None, client))


def quit_with_workers(master: Any, finished: Callable[[], object]) -> None:
    """Have a master that quits wait until its workers have left, which say so last, and do it once.

    Locust's sleeps half a second each time, and its command line has it quit twice. finished: waits until no test is being
    finished, for as long as that takes (workers, counters and the reading of the run each have their time): quitting kills
    the greenlet that does it, where the last worker is gone.
    """

    def leave() -> None:
        if not alive(master):
            return
        master.stop(send_stop_to_client=False)
        for client in master.clients.all:
            send_home(master, client.id)
        with gevent.Timeout(LEAVE_SECONDS, False):
            while any(client.state != runners.STATE_MISSING for client in master.clients.all):
                gevent.sleep(0.005)
        finished()
        master.greenlet.kill(block=True)

    master.quit = leave


def outlast_run_time(wait: Callable[[], object]) -> None:
    """Have a test of the command line whose run time is over end when `wait()` returns: Locust counts from when it was asked to start it."""

    def spawn_later(seconds: float, end: Callable[[], object]) -> Any:
        timer = gevent.spawn_later(seconds, lambda: (wait(), end()))
        _timers.append(timer)
        return timer

    main = sys.modules.get("locust.main")  # None in a program that uses Locust as a library
    if main is not None:
        main.gevent = SimpleNamespace(**{**vars(gevent), "spawn_later": spawn_later})  # type: ignore[attr-defined]  # what Locust calls


def timed(environment: Environment) -> bool:
    """Whether a timer ends the test that begins: no other test has a run time, whatever the options say."""
    return getattr(environment.web_ui, "_run_time_greenlet", None) is not None or timed_by_command_line()


def timed_by_command_line() -> bool:
    """Whether the timer of the command line is to end a test."""
    return not all(timer.ready() for timer in _timers)


def outlast_form(web: Any, wait: Callable[[], object]) -> None:
    """Have tests of a web form whose run time is over end when `wait()` returns; called before there are any: Locust's timer has the method."""
    end = web._stop_runners
    web._stop_runners = lambda: (wait(), end())


def spawn_no_more(environment: Environment) -> None:
    """End a start from the web form that still spawns users, as the form's own stop does: workers would start some after they stopped."""
    spawning = start_from_form(environment)
    if spawning is not None and spawning is not gevent.getcurrent():
        spawning.kill(block=True)
        gevent.sleep(0.01)  # what it has begun to send is sent first


def leave_start(environment: Environment) -> None:
    """End a start from the web form, from within its `test_start`: before Locust asks anybody for users."""
    environment.runner._users_dispatcher = None  # type: ignore[union-attr]  # a start has a runner; made for this one
    raise gevent.GreenletExit


def in_start(environment: Environment) -> bool:
    """Whether this greenlet is a start from the web form."""
    return start_from_form(environment) is gevent.getcurrent()


def starts(environment: Environment) -> bool:
    """Whether a start from the web form is under way, or users are spawned after it."""
    start, spawning = start_from_form(environment), getattr(environment.runner, "spawning_greenlet", None)
    return any(each is not None and not each.ready() for each in (start, spawning))


def start_from_form(environment: Environment) -> Any:
    """The greenlet of the latest start, or change of users, from the web form; None: there was none."""
    return getattr(environment.web_ui, "_swarm_greenlet", None)


def on_new_web_interface(call: Callable[[Any, Any], object]) -> None:
    """Have `call(environment, web)` called for each web interface that an environment makes from now on."""
    create = Environment.create_web_ui

    @functools.wraps(create)
    def create_web_ui(environment: Any, *arguments: Any, **named: Any) -> Any:
        web = create(environment, *arguments, **named)
        call(environment, web)
        return web

    Environment.create_web_ui = create_web_ui  # type: ignore[method-assign,assignment]  # what Locust calls
