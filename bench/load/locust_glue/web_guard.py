"""Guard Locust's web interface: who may ask it, and which options may be set there.

Locust's own interface answers any Host, lets any page of any site read and start tests, and sets every option that is
named in a form, hidden ones too. Here

- the Host has to be an address, this machine's name or one of `--web-names` (against DNS rebinding);
- whatever changes something has to come from a page of this interface, or from no page at all (against CSRF);
- a form sets the options that it shows, and none that names a file, an environment variable or a URL;
- of a user class it sets how many users there are and what they do, no other attribute;
- the host cannot be changed where secrets of the command line would go there.

A program that sends the value of the environment variable BENCH_WEB_TOKEN, where this process has one, may set every
option: `bench run --master` does.
"""

import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Response, g, jsonify, request
from locust.argument_parser import ui_extra_args_dict
from locust.util.timespan import parse_timespan

from bench.load.arguments import PRIVATE
from bench.runs.sample import LONGEST_RUN
from bench.wire.direct import TOKEN_HEADER, TOKEN_VARIABLE

_CHANGING: Final = ("/stop", "/stats/reset")
"""Paths that change something although they are fetched with GET."""
_FIELDS: Final = frozenset(
    ("user_count", "spawn_rate", "host", "run_time", "user_classes", "shape_class", "profile")
)
_OF_A_CLASS: Final = frozenset(("user_class_name", "tasks", "weight", "fixed_count"))
"""What the interface may set of a user class. Locust sets any attribute: a host, to which secrets would go, or a payload."""
MOST_USERS: Final = 1_000_000
_EXTENSION: Final = "serving-bench-guard"
_SECRETS: Final = ("metadata", "grpc_tls_key")


def guard(environment: Any, web: Any) -> None:
    """Guard a web interface of Locust's, once, from whatever request on it is at."""
    if _EXTENSION not in web.app.extensions:
        web.app.extensions[_EXTENSION] = guarding = WebGuard(environment)
        guarding.listen(web)


class WebGuard:
    """Looks at each request before Locust does."""

    def __init__(self, environment: Any) -> None:
        parsed = environment.parsed_options
        self._environment = environment
        self._prefix = str(parsed.web_base_path or "").rstrip("/")
        self._private = {name: getattr(parsed, name, None) for name in PRIVATE}
        self._of_command_line = dict(vars(parsed))
        self._schedule, self._rest = _text(parsed.schedule), _text(parsed.rest)
        names = (
            *str(parsed.web_names or "").split(","),
            socket.gethostname(),
            socket.getfqdn(),
            parsed.web_host,
        )
        self._names = {str(name).strip().lower() for name in names if name} | {"localhost"}

    def listen(self, web: Any) -> None:
        """Ask before every request, and answer without Locust's permission for other sites."""
        # Flask's own methods refuse to add any once a request has come
        web.app.before_request_funcs.setdefault(None, []).append(self._before)
        web.app.after_request_funcs.setdefault(None, []).append(self._after)
        web.app.wsgi_app = _for_this_site_only(web.app.wsgi_app)

    def _before(self) -> Response | None:
        trusted = _has_token()
        if not self._known_host(request.host):
            return _refused(
                f"unknown host {request.host}: start Locust with --web-names NAME to allow another name"
            )
        path = request.path.removeprefix(self._prefix)
        if trusted:
            if request.method == "POST" and path == "/swarm":
                # it names what differs from the command line; Locust keeps what the form of the test before set
                vars(self._environment.parsed_options).update(self._of_command_line)
            return None
        if (request.method not in ("GET", "HEAD", "OPTIONS") or path in _CHANGING) and not _same_site():
            return _refused("a page of another site sent this request")
        if request.method == "POST" and path == "/swarm":
            return self._swarm()
        if request.method == "POST" and path == "/user":
            return _user_class(self._environment.available_user_tasks)
        return None

    def _known_host(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return name in self._names or name.endswith(".localhost") or _is_address(name)

    def _swarm(self) -> Response | None:
        """Refuse a form that sets what comes from the command line only."""
        form, shown = request.form, ui_extra_args_dict()
        for name in form:
            if name in self._private:
                if form[name] not in ("", _text(self._private[name])):
                    return _not_started(f"{_option(name)} names a file, a variable or a URL")
            elif name not in _FIELDS and name not in shown:
                return _not_started(f"{_option(name[:64])} is not in the web form")
        seconds = _seconds(form.get("run_time", ""))
        if seconds > LONGEST_RUN:
            return _not_started(f"a run time above {LONGEST_RUN // 3600} h")
        schedule = form.get("schedule", "")  # whose reader takes any case, and blanks
        if "trace" in schedule.lower() and schedule != self._schedule:
            return _not_started("--schedule trace:FILE names a file")
        secret = next((name for name in _SECRETS if self._private.get(name)), None)
        elsewhere = form.get("host") not in (None, "", self._environment.host) or (
            form.get("rest", "") not in ("", self._rest)
        )
        if secret is not None and elsewhere:
            return _not_started(f"{_option(secret)} was given for {self._environment.host}, another host")
        g.bench_form = True
        return None

    def _after(self, answer: Response) -> Response:
        if g.get("bench_form"):  # Locust takes an empty field for a new value
            for name, value in self._private.items():
                setattr(self._environment.parsed_options, name, value)
        return answer


def _user_class(tasks_of: Mapping[str, Any]) -> Response | None:
    """Refuse to set other attributes of a user class than how many users it has and what they do.

    tasks_of: the tasks by user class.
    """
    try:
        settings = request.get_json(force=True, silent=True)
    except RecursionError:
        settings = None
    if not isinstance(settings, dict):
        return _refused("expected a JSON object")
    other = sorted(set(settings) - _OF_A_CLASS)
    if other:
        return _refused(f"{other[0][:64]!r} of a user class is set in the locustfile only")
    name = settings.get("user_class_name")
    if not isinstance(name, str) or name not in tasks_of:
        return _refused(f"user_class_name: expected one of {', '.join(tasks_of)}")
    for key in ("weight", "fixed_count"):
        value = settings.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_USERS:
            return _refused(f"{key}: expected a number from 0 to {MOST_USERS:,}")
    tasks, known = settings.get("tasks", []), {task.__name__ for task in tasks_of[name]}
    if not isinstance(tasks, list) or not all(isinstance(task, str) and task in known for task in tasks):
        return _refused(f"tasks: expected a list of {', '.join(sorted(known)) or 'none'}")
    return None


def _seconds(text: str) -> float:
    """The seconds of a run time; 0 of what is none: Locust says so."""
    try:
        return float(parse_timespan(text)) if text else 0.0
    except ValueError:
        return 0.0
    except OverflowError:
        return float("inf")


def _for_this_site_only(application: Any) -> Any:
    """Take back the permission for pages of other sites, which Locust gives to all."""

    def guarded(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            own = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
            own += [
                ("X-Content-Type-Options", "nosniff"),
                ("Content-Security-Policy", "frame-ancestors 'self'"),
            ]
            return start_response(status, own, *rest)

        return application(environ, start)

    return guarded


def _same_site() -> bool:
    """Whether a page of this interface, or no page, made the request. Browsers name the site in one of three ways."""
    fetched = request.headers.get("Sec-Fetch-Site")
    if fetched is not None and fetched not in ("same-origin", "none"):
        return False
    for name in ("Origin", "Referer"):
        source = request.headers.get(name)
        if source is not None:
            try:
                return urlsplit(source).netloc == request.host
            except ValueError:  # no URL
                return False
    return True


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _has_token() -> bool:
    token = os.environ.get(TOKEN_VARIABLE, "")
    return bool(token) and hmac.compare_digest(token.encode(), request.headers.get(TOKEN_HEADER, "").encode())


def _refused(text: str) -> Response:
    return Response(text + "\n", 403, content_type="text/plain; charset=utf-8")


def _not_started(reason: str) -> Response:
    """As Locust tells its form that a test cannot begin."""
    return jsonify(
        {
            "success": False,
            "message": f"{reason}: give it on Locust's command line (`bench run --master` may set it where both have {TOKEN_VARIABLE})",
        }
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)
