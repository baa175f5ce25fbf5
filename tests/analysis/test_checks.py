"""Each warning appears for its reason, and a good run has none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.reading.checks import warnings_of
from bench.analysis.reading.run_warning import RunWarning
from bench.runs.chunk import Chunk
from bench.runs.run import Run, RunWriter
from tests.recorded import counts_of, edit, end, requests, write

SECONDS = 30


BURSTS = {"kind": "burst", "schedule": {"kind": "burst", "size": 100, "each": 0.25}, "users": 1}
OPEN = {"kind": "poisson", "rate": 100.0, "users": 4}


def chunks(seconds: int = SECONDS, **changed: Any) -> list[Chunk]:
    """One second after the other of 400 requests at a steady rate; `changed` holds values or functions of the second."""
    made = []
    for second in range(seconds):
        now = {name: value(second) if callable(value) else value for name, value in changed.items()}
        rows = requests(second, **({"count": 400, "rate": 400, "start": float(second)} | now))
        due = second + np.linspace(0, 1, len(rows["due"]), endpoint=False) + 1e-4
        moved = {name: rows[name] + due - rows["due"] for name in ("sent", "done")}
        made.append(Chunk.of(**rows | moved | {"due": due}, keep_samples=False))
    return made


def names(found: list[RunWarning]) -> list[str]:
    return [warning.check for warning in found]


@pytest.mark.parametrize("load", [{"kind": "closed", "users": 16}, OPEN])
def test_a_good_run_has_no_warning(tmp_path: Path, load: dict[str, Any]) -> None:
    run = write(tmp_path, chunks(lag=2e-5), load=load, ceiling={"requests_per_second": 1000.0})
    assert warnings_of(run, percentiles=[50, 99, 99.9]) == []


def test_an_unfinished_run(tmp_path: Path) -> None:
    assert "unfinished" in names(warnings_of(write(tmp_path, chunks(), finish=False)))


@pytest.mark.parametrize(
    ("stopped", "expected"), [(29.9, []), (12.0, ["the load ended after 12.0 s and was to last 30.0 s"])]
)
def test_a_load_that_ends_before_its_time(tmp_path: Path, stopped: float, expected: list[str]) -> None:
    run = write(tmp_path, chunks(int(stopped)), stopped=stopped, planned_end=30.0)
    assert [warning.reason for warning in warnings_of(run) if warning.check == "interrupted"] == expected


def test_an_empty_run(tmp_path: Path) -> None:
    assert names(warnings_of(write(tmp_path, []), percentiles=[99])) == ["empty"]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"sent": 12_000, "recorded": 12_000}, []),
        ({"sent": 11_900, "unsent": 100, "recorded": 12_000}, []),
        ({"sent": 11_900, "unsent": 99, "recorded": 12_000}, ["incomplete"]),
        ({"sent": 12_001, "recorded": 12_001}, ["incomplete"]),
        ({"sent": None, "recorded": 11_000}, ["incomplete"]),
    ],
)
def test_samples_that_are_missing(tmp_path: Path, counts: dict[str, int], expected: list[str]) -> None:
    run = write(tmp_path, chunks())
    edit(run.path, counts=counts)
    found = warnings_of(Run.open(run.path))
    assert names(found) == expected
    if expected and counts["sent"]:
        assert "requests were sent and" in str(found[0])


def test_cut_histograms_are_not_taken_for_the_whole_run(tmp_path: Path) -> None:
    run = write(tmp_path, chunks())
    log = run.path / "histograms.hlog"
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    assert "damaged" in names(warnings_of(Run.open(run.path)))


def test_what_was_never_sent_is_not_missing(tmp_path: Path) -> None:
    made = chunks(unsent=0.005)
    unsent = sum(
        t.requests for chunk in made for (key, _), t in chunk.tallies.items() if key.outcome == "UNSENT"
    )
    assert unsent > 0
    run = write(tmp_path, made, load=OPEN)
    edit(run.path, counts={"sent": 12_000 - unsent, "recorded": 12_000})
    assert warnings_of(Run.open(run.path)) == []


def test_a_lost_load_process(tmp_path: Path) -> None:
    workers = [{"worker": 0, "recorded": 9000, "lost": False}, {"worker": 1, "recorded": 3000, "lost": True}]
    (found,) = warnings_of(write(tmp_path, chunks(), workers=workers))
    assert found.check == "lost worker"
    assert "load process 1 " in found.reason
    assert "25%" in found.reason


@pytest.mark.parametrize(
    ("second", "idle", "expected"),
    [
        ({"joined": 0.4, "left": None}, None, []),
        (
            {"joined": 0.4, "left": 7.25},
            None,
            ["load process 1 left 7.2 s after the start, 12.8 s before the end"],
        ),
        ({"joined": 6.0, "left": None}, None, ["load process 1 joined 6.0 s after the start"]),
        ({"joined": 0.4, "left": None}, 2, ["2 load processes were connected and sent nothing"]),
    ],
)
def test_load_processes_that_were_there_for_a_part_of_the_run(
    tmp_path: Path, second: dict[str, Any], idle: int | None, expected: list[str]
) -> None:
    workers = [
        {"worker": 0, "recorded": 9, "joined": 0.1, "left": None},
        {"worker": 1, "recorded": 9} | second,
    ]
    load = {"kind": "closed", "users": 16} | ({"idle_processes": idle} if idle else {})
    found = warnings_of(write(tmp_path, chunks(), workers=workers, load=load, stopped=20.0))
    assert [warning.reason for warning in found] == expected
    assert {warning.check for warning in found} <= {"load processes"}


def test_a_run_that_did_not_settle(tmp_path: Path) -> None:
    (found,) = warnings_of(write(tmp_path, chunks(service=lambda s: 0.002 + 0.0001 * s)))
    assert found.check == "unsteady"
    assert "median latency changed by +" in found.reason
    falling = chunks(count=lambda s: 400 - 6 * s)
    assert [d.reason[:20] for d in warnings_of(write(tmp_path, falling)) if d.check == "unsteady"] == [
        "requests/s changed b"
    ]
    ramp = write(tmp_path, chunks(count=lambda s: 400 - 6 * s), load={"kind": "ramp"})
    assert warnings_of(ramp) == []


def test_a_run_that_is_too_short(tmp_path: Path) -> None:
    assert names(warnings_of(write(tmp_path, chunks(2)))) == ["short"]
    assert warnings_of(write(tmp_path, chunks(4))) == []


def test_a_warm_up_is_no_trend(tmp_path: Path) -> None:
    run = write(tmp_path, chunks(60, service=lambda s: 0.012 if s < 5 else 0.002))
    assert run.warm_up.seconds == 5
    assert warnings_of(run) == []


def test_what_is_no_transient_in_the_warm_up(tmp_path: Path) -> None:
    """Users that arrive, and in the second second of them a stall: few requests, all of them held."""

    def arriving(second: int) -> dict[str, Any]:
        return {"count": 400 * min(4, 1 + second) // 4, "service": 0.002}

    calm = [arriving(second) for second in range(40)]
    run = write(tmp_path, chunks(40, count=lambda s: calm[s]["count"]))
    assert run.warm_up.seconds == 3
    assert warnings_of(run) == []
    held = chunks(40, count=lambda s: calm[s]["count"])
    rows = requests(1, count=200, start=1.0)
    due = 1 + np.linspace(0, 1, 200, endpoint=False)
    done = np.where(np.arange(200) < 4, due + 1.7, due + 0.002)
    held[1] = Chunk.of(**rows | {"due": due, "sent": due, "done": done}, keep_samples=False)
    (found,) = warnings_of(write(tmp_path, held, warmup={"rule": "given", "seconds": 3}))
    assert found.check == "warm-up"
    assert found.reason.startswith(
        "the warm-up, 3 s, is more than a transient: its slowest request took 1.70 s and its p99 "
    )
    failing = chunks(40, errors=lambda s: 0.05 if s == 0 else 0.0)
    (found,) = warnings_of(write(tmp_path, failing, warmup={"rule": "given", "seconds": 1}))
    assert found.check == "warm-up"


def test_a_run_that_does_not_settle_in_time(tmp_path: Path) -> None:
    run = write(tmp_path, chunks(60, service=lambda s: 0.02 - 0.001 * s if s < 14 else 0.002))
    assert run.warm_up.seconds == 10
    assert "unsteady" in names(warnings_of(run))


def test_too_few_samples_for_what_is_claimed(tmp_path: Path) -> None:
    run = write(tmp_path, chunks(10))
    assert warnings_of(run, percentiles=[50, 99]) == []
    (found,) = warnings_of(run, percentiles=[50, 99, 99.9])
    assert found.check == "too few samples"
    assert "4,000 requests do not support p99.9, 4,603 do" in found.reason


def test_what_was_not_sent_is_no_matter_of_the_server(tmp_path: Path) -> None:
    (found,) = (each for each in warnings_of(write(tmp_path, chunks(unsent=0.05))) if each.check == "errors")
    assert found.remedy.startswith("the server never saw them: ")
    (found,) = warnings_of(write(tmp_path / "other", chunks(errors=0.05)))
    assert "the server never saw them" not in found.remedy


def test_errors(tmp_path: Path) -> None:
    assert warnings_of(write(tmp_path, chunks(errors=0.004))) == []
    (found,) = warnings_of(write(tmp_path, chunks(errors=0.05)))
    assert found.check == "errors"
    assert "UNAVAILABLE" in found.reason
    # also those that fell into the warm-up
    early = write(
        tmp_path, chunks(errors=lambda s: 1.0 if s < 3 else 0.0), warmup={"rule": "seconds", "seconds": 3}
    )
    assert names(warnings_of(early)) == ["warm-up", "errors"]
    assert "errors" in names(warnings_of(write(tmp_path, chunks(errors=1.0))))
    assert warnings_of(write(tmp_path, chunks(cancelled=0.004, errors=0.004))) == []
    (cancelled,) = warnings_of(write(tmp_path, chunks(cancelled=0.3, errors=0.004)))
    assert cancelled.check == "cancelled"
    assert "% of the requests were cancelled by the load generator" in cancelled.reason
    assert names(warnings_of(write(tmp_path, chunks(cancelled=0.9, errors=0.2)))) == ["errors", "cancelled"]


def test_a_first_second_without_an_answer_hides_no_trend(tmp_path: Path) -> None:
    """Its latency is not known, and that of the others was not looked at."""
    load = OPEN | {"rate": 400.0, "users": 1}
    slower = chunks(120, service=lambda s: 0.002 * (1 + s / 60), errors=lambda s: float(s == 0))
    (found,) = warnings_of(write(tmp_path, slower, load=load))
    assert found.check == "unsteady"
    assert found.reason.startswith("median latency changed by +")


def test_answers_that_were_not_asked_for(tmp_path: Path) -> None:
    (found,) = warnings_of(write(tmp_path, chunks(mismatched=0.001)))
    assert found.check == "wrong answers"
    target = {"kind": "remote", "version": 3, "version_asked": 3}
    assert names(warnings_of(write(tmp_path, chunks(version=2), target=target))) == ["other version"]
    assert warnings_of(write(tmp_path, chunks(version=3), target=target)) == []


def test_a_version_that_changes_under_the_load(tmp_path: Path) -> None:
    swapped = chunks(version=lambda s: 2 if s < 12 else 3)
    (found,) = warnings_of(write(tmp_path, swapped))
    assert found.check == "version change"
    assert found.reason.endswith("2, 3")
    assert warnings_of(write(tmp_path, swapped, load={"kind": "trace"})) == []


@pytest.mark.parametrize(
    ("target", "more", "expected"),
    [
        ({"version": 1, "version_after": 2}, {}, ["version change"]),
        ({"version": 1, "version_after": 1}, {}, []),
        ({"version": 1}, {}, []),
        ({"version": 1, "version_after": 2}, {"question": "rollout"}, []),
        ({"version": 2, "version_after": 3}, {"load": {"kind": "trace"}}, []),
    ],
    ids=["changed", "the same", "not known", "a rollout", "a trace"],
)
def test_a_version_that_changes_while_answers_name_none(
    tmp_path: Path, target: dict[str, Any], more: dict[str, Any], expected: list[str]
) -> None:
    """As over REST: the report said that the version of before had answered everything."""
    run = write(tmp_path, chunks(version=-1), target={"kind": "remote", **target}, **more)
    found = warnings_of(run)
    assert names(found) == expected
    assert all("had version 1 before the load and has version 2 after it" in each.reason for each in found)


def test_answers_without_numbers(tmp_path: Path) -> None:
    """They are no wrong ones: a model may mean them, and then they are accepted by a name of their own."""
    causes = {"Predict": {"nan": {"count": 7, "example": "output 'y' holds nan"}}}
    (found,) = warnings_of(write(tmp_path, chunks(), wrong_answers=causes))
    assert found.check == "not a number"
    assert found.reason == "7 answers hold nan: output 'y' holds nan"
    both = {"Predict": causes["Predict"] | {"values": {"count": 12, "example": "other"}}}
    found_names = names(warnings_of(write(tmp_path, chunks(mismatched=0.001), wrong_answers=both)))
    assert set(found_names) == {"wrong answers", "not a number"}


def test_a_server_that_restarted(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {"load": {"kind": "closed"}})
    for chunk in chunks():
        writer.append(0, chunk)
    writer.event(12.3, "restart", "pid 7 -> 8")
    writer.event(13.0, "note", "somebody looked")
    end(writer, counts=counts_of(chunks()))
    (found,) = warnings_of(Run.open(writer.path))
    assert found.reason == "the server restarted at 12.3 s"


def test_warnings_noted_while_the_run_lasted_stay(tmp_path: Path) -> None:
    noted = [{"check": "errors", "reason": "noted", "remedy": "look"}, {"reason": "old"}]
    found = warnings_of(write(tmp_path, chunks(errors=0.5), doubts=noted))
    assert found == [RunWarning("errors", "noted", "look"), RunWarning("noted", "old", "")]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda run: (run / "telemetry.jsonl").write_text("{}"), "telemetry.jsonl added"),
        (lambda run: (run / "counts.jsonl").write_text(""), "counts.jsonl changed"),
        (lambda run: (run / "SHA256SUMS").unlink(), "SHA256SUMS missing"),
        (lambda run: (run / "SHA256SUMS").write_text(""), "SHA256SUMS damaged"),
        (lambda run: (run / "SHA256SUMS").write_text("0  ../../etc/passwd"), "SHA256SUMS damaged"),
        (lambda run: (run / "manifest.json").write_text((run / "manifest.json").read_text() + " "), "manifest.json ch"),
    ],
)  # fmt: skip
def test_files_that_are_not_as_they_were(
    tmp_path: Path, damage: Callable[[Path], object], named: str
) -> None:
    run = write(tmp_path, chunks())
    assert run.altered == []
    damage(run.path)
    again = Run.open(run.path)
    assert any(each.startswith(named) for each in again.altered), again.altered
    assert "files changed" in names(warnings_of(again))


def test_what_the_writer_adds_after_the_end_is_sealed_too(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "mnist", None, {})
    writer.append(0, chunks()[0])
    end(writer, counts=counts_of(chunks()[:1]))
    writer.update(doubts=[])
    writer.event(3.0, "note", "something")
    writer.abandon()
    (writer.path / "notes of mine.txt").write_text("nothing that is read")
    assert Run.open(writer.path).altered == []
    (writer.path / "events.jsonl").unlink()
    assert Run.open(writer.path).altered == ["events.jsonl missing"]


def test_of_runs_from_before_there_were_ids_nothing_is_known_of_copies_and_changes(tmp_path: Path) -> None:
    run = write(tmp_path, chunks())
    (run.path / "SHA256SUMS").unlink()
    edit(run.path, run_id=None)
    old = Run.open(run.path)
    assert (old.altered, names(warnings_of(old))) == ([], ["unidentified"])
    assert old.id == Run.open(run.path.rename(tmp_path / "renamed")).id != run.id


def test_wrong_answers_are_named_by_their_causes(tmp_path: Path) -> None:
    """Issue 13: one sentence named five causes."""
    causes = {
        "Predict": {
            "version": {"count": 9, "example": "version 7 answered instead of version 6"},
            "shape": {"count": 1, "example": "output 'y' has shape [1]"},
        },
        "Other": {"version": {"count": 1, "example": "version 8 answered"}},
    }
    run = write(tmp_path, chunks(mismatched=0.001), wrong_answers=causes)
    count = sum(tally.mismatched for tally in run.tallies.values())
    found = [each for each in warnings_of(run) if each.check == "wrong answers"]
    assert [each.reason.split(" ", 1)[0] for each in found] == [
        "10",
        "1",
        *([str(count - 11)] if count > 11 else []),
    ]
    assert "version 7 answered instead of version 6" in found[0].reason
    assert "output 'y' has shape [1]" in found[1].reason
    assert len({each.remedy for each in found}) == len(found)


def test_a_full_thread_pool_is_named_with_the_flag_and_a_number(tmp_path: Path) -> None:
    """Issue 13: with 16 users on 2 cores TensorFlow Serving refuses a third of the calls, and its log is silent."""
    refused = chunks(errors=0.4)
    for chunk in refused:
        chunk.tallies = {
            (key._replace(outcome="RESOURCE_EXHAUSTED") if key.outcome != "OK" else key, second): tally
            for (key, second), tally in chunk.tallies.items()
        }
        chunk.histograms = {
            (key._replace(outcome="RESOURCE_EXHAUSTED") if key.outcome != "OK" else key, second): three
            for (key, second), three in chunk.histograms.items()
        }
    run = write(tmp_path, refused, load={"kind": "closed", "users": 100})
    (found,) = (each for each in warnings_of(run) if each.check == "errors")
    assert "most with RESOURCE_EXHAUSTED" in found.reason
    assert "--grpc_max_threads=256" in found.remedy
    assert "calls in flight (up to 100)" in found.remedy
