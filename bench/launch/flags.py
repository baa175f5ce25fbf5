"""Flags and environment variables for a declared server.

The first-class keys of servers.toml, in the flags of each kind. What a kind cannot do is an error, never ignored.
"""

import re
from typing import Final, NamedTuple

from bench.config.servers import Batching, Declared, Flag, Started

_PLAIN: Final = {
    "session_parallelism": "tensorflow_session_parallelism",
    "intra_op": "tensorflow_intra_op_parallelism",
    "inter_op": "tensorflow_inter_op_parallelism",
    "max_threads": "grpc_max_threads",
}
"""Key -> flag, the same for all kinds."""

_SET_BY: Final = {flag: key for key, flag in _PLAIN.items()} | {
    "port": "port (binary), else chosen",
    "rest_api_port": "the launcher, which takes a free one",
    "model_name": "the experiment's models",
    "model_base_path": "the experiment's models",
    "model_config_file": "the experiment's models",
    "monitoring_config_file": "the launcher, which always enables metrics",
    "enable_batching": "batching",
    "batching_parameters_file": "batching",
    "ssl_config_file": "ssl_config_file (binary)",
    "xla_cpu_compilation_enabled": "xla",
    "xla_gpu_compilation_enabled": "xla",
    "exit_with_parent": "the launch",
    "remove_with_parent": "the launch",
    "shared_port": "flags.processes",
    "siblings_folder": "flags.processes",
}
"""Flags that `flags` must not hold, and what sets them."""

_UNKNOWN: Final = re.compile(r"unknown argument: *(\S+)")
_AUTO_CLUSTERING: Final = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"
"""Lets TensorFlow choose what XLA compiles, on CPUs too (tensorflow/compiler/jit/flags.cc)."""


class Settings(NamedTuple):
    """The settings with which a server is started."""

    flags: dict[str, Flag]
    environment: dict[str, str]
    batching: Batching | None
    """Written to a file of its own where it is not None."""

    def arguments(self, **further: Flag) -> list[str]:
        """--name=value for each flag; `further` ones first, so that they can be overridden."""
        return [f"--{name}={_text(value)}" for name, value in {**further, **self.flags}.items()]


def settings(server: Declared) -> Settings:
    """Flags and environment of a server that is started here. Raises BenchError for what its kind cannot do."""
    spec = server.spec
    assert isinstance(spec, Started)  # noqa: S101 - for the type checker; remote servers get no flags
    for name, value in spec.flags.items():
        if name in _SET_BY:
            raise server.refusal(f"flags.{name}", value, f"is set by {_SET_BY[name]}")
        problem = spec.flag_problem(name, value)
        if problem is not None:
            raise server.refusal(f"flags.{name}", value, problem)
    if spec.session_parallelism and (spec.intra_op or spec.inter_op):
        raise server.refusal(
            "session_parallelism",
            spec.session_parallelism,
            "the server would ignore it next to intra_op or inter_op; omit one of them",
        )
    flags: dict[str, Flag] = {
        flag: value for name, flag in _PLAIN.items() if (value := getattr(spec, name)) is not None
    }
    # an inherited level must not empty the log from which a failed start is explained
    environment = {"TF_CPP_MIN_LOG_LEVEL": "0", **spec.environment}
    flags |= _batching(server, spec)
    if spec.xla:
        flags |= {} if spec.xla_flag is None else {spec.xla_flag: True}
        own = environment.get("TF_XLA_FLAGS")
        environment["TF_XLA_FLAGS"] = " ".join(filter(None, (_AUTO_CLUSTERING, own)))
    batching = spec.batching if isinstance(spec.batching, Batching) else None
    return Settings({**flags, **spec.flags}, environment, batching)


def refuse_unknown(server: Declared, program: str, log: str) -> None:
    """Raise BenchError for a flag of which the log of TensorFlow Serving says that it is unknown."""
    unknown = _UNKNOWN.search(log)
    if unknown is not None:
        raise server.refusal(
            "flags", unknown[1], f"{program} does not know this flag and would ignore it; leave it out"
        )


def _batching(server: Declared, spec: Started) -> dict[str, Flag]:
    if spec.batching is None:
        return {}
    if isinstance(spec.batching, Batching):
        return {"enable_batching": True}
    if spec.batching == "none":
        return {spec.continuous_flag or "enable_batching": False}
    if spec.continuous_flag is None:
        raise server.refusal(
            "batching",
            spec.batching,
            f'a server of kind {spec.kind} cannot do that; expected "none" or a table of batching parameters',
        )
    return {spec.continuous_flag: True}


def _text(value: Flag) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
