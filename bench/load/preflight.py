"""Preflight of a load: one request of each pool is sent and its answer checked before anything is measured."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench import BenchError
from bench.load.checking.checker import NAN, Checker, Declared
from bench.load.engine.encoding import expected_of
from bench.load.options import ScenarioOptions, read_options
from bench.load.patience import awaited
from bench.load.sources import NoServerYetError, Source, make_pools
from bench.load.target import CONNECT_SECONDS, EmbeddedServer, Target, address_of, connect, specs_of
from bench.payload import Pool
from bench.protocol.api import Unreadable
from bench.protocol.hints import explained, hint
from bench.runs.sample import outcome
from bench.target.inquiry import Inquiry
from bench.target.preflight import MENDABLE, Preflight, PreflightResult
from bench.wire.dial import NoServer
from bench.wire.dtypes import dtype_number
from bench.wire.http_channel import check_scheme
from bench.wire.http_connection import HttpConnection

log = logging.getLogger("bench")


def look(
    address: str, options: ScenarioOptions, pools: Mapping[Source, Pool], *, own: EmbeddedServer | None = None
) -> Target:
    """Connect, compare the requests with the models' signatures, and send one of each pool.

    own: the server that was started here. Raises BenchError for what the user can mend, as
    `bench.target.preflight.Preflight.check` does, and for answers that no load would find right: of another version
    than asked for, without the output, or not to be compared with the labels. A server that refuses a request for other
    reasons is still a target: what it answers to the load is what is measured.
    """
    with awaited(f"a connection to {address}", CONNECT_SECONDS):
        channel = connect(address, options, connections=1)
    preflight = Preflight()
    results: dict[Source, PreflightResult] = {}
    try:
        for source, pool in pools.items():
            if not getattr(source.user, "preflight", True):
                results[source] = PreflightResult(None, None, None, (), ())
                continue
            inquiry = Inquiry(
                channel, address, options.api, pool.model, pool.version, pool.label, CONNECT_SECONDS, awaited
            )
            results[source] = preflight.check(
                inquiry, pool.messages[0], expected_of(pool), options.asked.deadline
            )
    finally:
        channel.close()
    declared = {
        source: each for source in pools if (each := _declared(results[source], source, pools[source]))
    }
    warnings = [line for each in results.values() for line in each.warnings]
    for source, pool in pools.items():
        answer = results[source].answer
        if answer is not None:
            where = f"{address}, requests {source.name}"
            warnings += _checked(where, pool, answer, declared.get(source), options.protocol)
    versions = {each.version for each in results.values()}
    version = next(iter(versions)) if len(versions) == 1 else None
    return Target(
        address,
        "embedded" if own else "remote",
        version,
        names_version=all(_names_version(options, each.answer) for each in results.values()),
        model_path=_model_path(own, pools, results),
        notes=tuple(dict.fromkeys(line for each in results.values() for line in each.notes)),
        warnings=tuple(dict.fromkeys(warnings)),
        declared=declared,
        specs=specs_of(pools, options),
    )


def _names_version(options: ScenarioOptions, answer: bytes | None) -> bool:
    """Whether an answer names the version that gave it."""
    try:
        return answer is not None and options.api.decode(answer).version is not None
    except Unreadable:
        return False


def show(target: Target) -> None:
    """What was found and stops no load."""
    for note in target.notes:
        log.info("%s", note)
    for warning in target.warnings:
        log.warning("%s", warning)


def look_over_rest(rest: str | None, options: ScenarioOptions, pools: Mapping[Source, Pool]) -> None:
    """Send one request of each pool that is asked over REST beside the run's own protocol.

    Raises BenchError where it is refused or not right.
    """
    for source, pool in pools.items():
        if not source.api.over_http or options.api.over_http:
            continue
        if rest is None:
            raise BenchError(
                "--rest: this scenario sends over REST too; give HOST:PORT of the server's REST API"
            )
        read = partial(source.api.read, expected=expected_of(pool))
        connection = HttpConnection(rest, read, largest=options.max_answer_bytes)
        try:
            with awaited(f"the answer of {rest} to a first request over REST", options.asked.deadline):
                reply = connection.ask((pool.encoded or ())[0], options.asked.deadline)
                check_scheme(reply, rest)
        finally:
            connection.close()
        where = f"--rest {rest}, requests {source.name}"
        code = outcome(reply.status)
        if code in MENDABLE or code == "UNAVAILABLE":
            known = hint(code, reply.details, source.protocol)
            remedy = f"; {known.remedy}" if known else ""
            text = explained(code, reply.details, source.protocol)
            raise BenchError(f"{where}: a first request was answered {text}{remedy}")
        if not reply.status:
            _checked(where, pool, reply.message, None, source.protocol)


def answer_cells(environment: Any, path: Path | None) -> None:
    """Look at each cell of an experiment as if it was to be measured, and write why not: a list of texts and nulls.

    Ends the program, unless path is None. path: a JSON file with the options of each cell; beside it comes `.answer`. Without a host, payloads are made and
    held against the options, and that is all.
    """
    if path is None:
        return
    reasons: list[str | None] = []
    nobody: str | None = None
    plain = vars(environment.parsed_options)
    for cell in json.loads(path.read_text()):
        changed = {name.replace("-", "_"): "" if value is None else value for name, value in cell.items()}
        try:
            options = read_options(SimpleNamespace(**(plain | changed)))
            place = address_of(environment.host, options.api.port) if environment.host else ""
            pools = make_pools(environment.user_classes, options, place)
            if place and nobody is None:
                look(place, options, pools)
        except NoServer as error:
            nobody = str(error)
        except NoServerYetError:  # its server is not running: its trials say what is wrong with it
            pass
        except BenchError as error:
            reasons.append(str(error))
            continue
        reasons.append(nobody)
    path.with_suffix(".answer").write_text(json.dumps(reasons))
    raise SystemExit(0)


def _declared(result: PreflightResult, source: Source, pool: Pool) -> Declared | None:
    signature = result.signature
    if signature is None or result.version is None or pool.output not in signature.outputs:
        return None
    tensor = signature.outputs[pool.output]
    dtype = dtype_number(tensor.dtype) if source.api.typed else 0
    return Declared(result.version, dtype, tensor.shape)


def _checked(where: str, pool: Pool, answer: bytes, declared: Declared | None, protocol: str) -> list[str]:
    """Warnings about an answer. Raises BenchError where none of its kind would count as right."""
    checker = Checker(replace(pool, rows=None), pool.output, pool.version, protocol=protocol)
    checker.check([answer], [0])
    for cause, text in checker.examples.items():
        if cause not in ("unreadable", NAN):
            raise BenchError(f"{where}: {text}")
    checker.declared = declared
    checker.check([answer], [0])
    return [f"{where}: {text}" for text in checker.examples.values()]


def _model_path(
    own: EmbeddedServer | None, pools: Mapping[Source, Pool], results: Mapping[Source, PreflightResult]
) -> Path | None:
    """The SavedModel's folder of the first pool, where its server was started here."""
    source = next(iter(pools))
    return own.model_path(pools[source].model, results[source].version) if own else None
