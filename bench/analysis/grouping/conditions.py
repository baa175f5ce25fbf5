"""Under which conditions runs were made, and whether two sides are alike in all that is not declared to differ.

Conditions decide what is measured: the load, the payload, the model, the server, the commit. A difference in one of
them that nobody declared makes a comparison meaningless, and is refused. Surroundings (the machine, its packages) only
disturb it: they are warned about, see `bench.analysis.reading.environment`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench import BenchError
from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial, Trials
from bench.analysis.reading import environment
from bench.analysis.reading.cells import UNKNOWN
from bench.runs.manifest import Manifest

INFERRED: Final = ("version", "build", "server", "commit")
"""What may differ without being declared, where it is the only one of them."""
DECLARABLE: Final = (
    *INFERRED,
    "batch",
    "model",
    "load",
    "protocol",
    "request",
    "scenario",
    "payload",
    "options",
    "duration",
)
BRINGS: Final[dict[str, tuple[str, ...]]] = {
    "version": ("model.files", "payload", "target.label"),
    "model": ("model.files", "payload", "payload.messages", "target.signature", "target.label"),
    "batch": ("payload", "payload.messages", "load.batch"),
    "server": ("build", "server", "tls", "target.parameters"),
    "build": ("server",),
    "protocol": (
        *("target.protocol", "target.signature", "target.label", "target.metadata_keys"),
        "target.parameters",
        *("load.transport", "load.connections", "payload", "tls", "server"),
    ),
    "request": ("payload", "payload.messages", "target.signature", "load.turns", "load.user_classes"),
    "scenario": ("payload", "payload.messages", "target.signature", "load", "options", "warm-up"),
    "payload": ("payload.messages",),
    "load": ("load",),
    "options": ("options", "warm-up"),
    "duration": ("load.run_time", "warm-up"),
    "commit": (),
}
"""What differs because of what is declared: facts by key, or by the first part of their key."""
_SEEN: Final = frozenset({"server.devices", "server.onednn", "server.xla", "server.cpu_features"})
"""Facts of a server that its log and its machine tell, which may say more in one start than in the next."""
_OF_THE_MACHINE: Final = frozenset({"processes"})
"""Facts of the load that are surroundings: as many load processes as the machine needs."""


@environment.once
def conditions(manifest: Manifest) -> Mapping[str, str]:
    """What a run's manifest says of its conditions, by key; what it does not know is left out."""
    facts = environment.facts(manifest)
    values = {
        key: value
        for key, value in facts.items()
        if key in ("commit", "model.files", "tls") or (key.split(".")[0] == "server" and key not in _SEEN)
    }
    for part, leave in (("load", _OF_THE_MACHINE), ("options", frozenset())):
        for name, value in (manifest.raw.get(part) or {}).items():
            if name not in leave and value is not None:
                values[f"{part}.{name}"] = environment.text(value)
    target = manifest.raw.get("target") or {}
    for name in ("signature", "label", "metadata_keys", "parameters"):
        if target.get(name) not in (None, "", []):
            values[f"target.{name}"] = environment.text(target[name])
    values["target.protocol"] = manifest.target.protocol
    sizes = [(each.messages, each.batch) for each in manifest.payload.values()]
    if sizes:
        values["payload.messages"] = environment.text(sorted(sizes, key=str))
    seconds = manifest.warmup.seconds
    values["warm-up"] = "by rule" if seconds is None else f"{seconds:g} s"
    return values


def declared(before: Sequence[Trial], after: Sequence[Trial], by: Iterable[str] = ()) -> tuple[str, ...]:
    """What may differ between two sides: what was declared, else the one thing that does. Raises BenchError."""
    names = tuple(dict.fromkeys(by))
    if names:
        return names
    differing = [name for name in INFERRED if _differs(before, after, name)]
    if "server" in differing and "build" in differing:
        differing.remove("build")  # each server has its build: the server is the one with a name
    if len(differing) > 1:
        named = "; ".join(_sides(before, after, name) for name in differing)
        options = " ".join(f"--by {name}" for name in differing)
        raise BenchError(
            f"baseline and candidate differ in more than one thing: {named}; declare it: {options}"
        )
    return tuple(differing)


def stripped(identity: Identity, by: Iterable[str]) -> Identity:
    """An identity without what may differ."""
    names = {part for name in by for part in (name, *BRINGS[name]) if part in Identity._fields}
    return identity.without(*names)


def check_alike(before: Sequence[Trial], after: Sequence[Trial], by: Sequence[str], *, paired: bool) -> None:
    """Raise BenchError where trials of one cell differ in a condition that may not differ."""
    different = {
        key: f"{environment.title(key)}: {_shown(old)} and {_shown(new)}"
        for key, old, new in unlike(before, after, paired=paired)
        if not brought(key, by)
    }
    if different:
        raise refused(different, by)


def refused(different: Mapping[str, str], by: Sequence[str]) -> BenchError:
    """The refusal of a comparison, and how its differences are declared. different: by key, in words."""
    compared = f" beside {', '.join(by)}, which is compared" if by else ""
    names = _declaring(different, by)
    options = " ".join(f"--by {name}" for name in names) if names else f"--by ({', '.join(DECLARABLE)})"
    return BenchError(
        f"baseline and candidate differ{compared}: {'; '.join(different.values())}; "
        f"measure both under the same conditions, or declare the difference with {options}"
    )


def _declaring(keys: Iterable[str], by: Iterable[str]) -> list[str]:
    """What is declared with what else has to be; nothing where that does not do."""
    names = list(by)
    possible = {key: [name for name in DECLARABLE if brought(key, (name,))] for key in keys}
    if not all(possible.values()):
        return []
    for key in sorted(possible, key=lambda key: len(possible[key])):
        if not brought(key, names):
            names.append(next((name for name in possible[key] if name in key.split(".")), possible[key][0]))
    return names


def unlike(
    before: Sequence[Trial], after: Sequence[Trial], *, paired: bool
) -> list[tuple[str, set[str], set[str]]]:
    """Conditions that both sides know and that have other values on one side than on the other."""
    old, new = _values(before), _values(after)
    differences = [(key, old[key], new[key]) for key in old if key in new and old[key] != new[key]]
    payloads = [_payloads(side) for side in (before, after)]
    seeds = payloads[0].keys() & payloads[1].keys()
    if not paired or seeds:  # each block of an experiment has its own seed, and so its own payload
        for seed in sorted(seeds):
            if payloads[0][seed] != payloads[1][seed]:
                return [*differences, ("payload", payloads[0][seed], payloads[1][seed])]
    return differences


def half_known(before: Sequence[Trial], after: Sequence[Trial]) -> dict[str, str]:
    """Conditions that one side knows and the other does not: whether they are alike there is not known."""
    old, new = _values(before), _values(after)
    return {
        key: " and ".join(_shown(side[key]) if key in side else "unknown" for side in (old, new))
        for key in sorted(old.keys() ^ new.keys(), key=environment.title)
    }


def partly_known(trials: Sequence[Trial]) -> list[str]:
    """Conditions that some trials of a cell know and others do not: whether they are alike there is not known.

    Not the commit, which all cells of a side have in common. Nor is a cell one of a known server where others are of an
    unknown one.
    """
    keys = _unknown_servers(trials)
    first: dict[Identity, set[str]] = {}
    for trial in trials:
        known = set(conditions(trial.manifest)) - {"commit"}
        keys |= first.setdefault(trial.identity, known) ^ known
    return sorted(keys, key=environment.title)


def _unknown_servers(trials: Sequence[Trial]) -> set[str]:
    """Whether the kind or build of the server is known of some trials that are otherwise of one cell, and not of others."""
    cells: dict[Identity, list[Trial]] = {}
    for trial in trials:
        if trial.manifest.cell.server is None:  # else it is what its experiment calls it
            cells.setdefault(trial.identity.without("server", "build"), []).append(trial)
    return {
        key
        for same in cells.values()
        for key, field in (("server", "kind"), ("server.build", "build"))
        if len({getattr(trial.manifest.target, field) is None for trial in same}) > 1
    }


def check_homogeneous(trials: Sequence[Trial], side: str, *, one_commit: bool) -> None:
    """Raise BenchError where trials of one cell were made under different conditions.

    one_commit: all cells together must be of one commit; else each by itself.
    """
    groups: dict[Identity, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.identity, []).append(trial)
    if one_commit:
        _refuse_mixture("commit", _values(trials).get("commit", set()), side)
    for group in groups.values():
        for key, values in _values(group).items():
            _refuse_mixture(key, values, side)
        for values in _payloads(group).values():
            _refuse_mixture("payload", values, side)


def _refuse_mixture(key: str, values: set[str], side: str) -> None:
    if len(values) > 1:
        remedy = "judge the newest with --latest"
        if key == "commit":
            remedy += ", or those of one commit with --commit REV"
        if side == "baseline":
            remedy += ", or record a new baseline with bench baseline set"
        raise BenchError(f"{side}: its runs differ in {environment.title(key)}: {_shown(values)}; {remedy}")


def check_distinct(sides: Mapping[str, Sequence[Trial]]) -> None:
    """Raise BenchError where a run is there twice: a copy is no new measurement."""
    seen: dict[str, tuple[str, Trial]] = {}
    for side, trials in sides.items():
        for trial in trials:
            for identity in filter(None, (trial.run_id, trial.content)):
                known_side, known = seen.setdefault(identity, (side, trial))
                conditions_of_one = known.path.absolute() == trial.path.absolute()
                if conditions_of_one and (known_side == side or known.identity != trial.identity):
                    continue
                both = "" if known_side == side else f" ({known_side} and {side})"
                raise BenchError(
                    f"{known.path} and {trial.path}{both} are the same run ({identity[:12]}): a run counts once; "
                    "measure again, or omit the copy"
                )


def without_copies(trials: Trials) -> Trials:
    """Each run once, as it was found first; the copies are counted in what is left out."""
    seen: dict[str, Path] = {}
    copies: dict[Path, Path] = {}
    for trial in sorted(trials.trials, key=lambda trial: str(trial.path)):
        for identity in filter(None, (trial.run_id, trial.content)):
            first = seen.setdefault(identity, trial.path)
            if first.absolute() != trial.path.absolute():
                copies[trial.path] = first
    left_out = [f"{path}: a copy of {first}, which counts once" for path, first in sorted(copies.items())]
    originals = [trial for trial in trials.trials if trial.path not in copies]
    return replace(trials, trials=originals, left_out=trials.left_out + left_out)


def newest(trials: Sequence[Trial]) -> list[Trial]:
    """The trials made under the conditions of the newest one, and of each cell under those of its newest.

    Of several that began at the same instant all are the newest, whatever they differ in.
    """
    revisions = {commit(trial) for trial in _last(trials)}
    cells: dict[Identity, list[Trial]] = {}
    for trial in trials:
        if commit(trial) in revisions:
            cells.setdefault(trial.identity, []).append(trial)
    latest = {
        identity: [conditions(trial.manifest) for trial in _last(of_cell)]
        for identity, of_cell in cells.items()
    }
    return [
        trial
        for trial in trials
        if commit(trial) in revisions and conditions(trial.manifest) in latest[trial.identity]
    ]


def _last(trials: Sequence[Trial]) -> list[Trial]:
    """Those that began last."""
    instant = max((trial.started for trial in trials), default="")
    return [trial for trial in trials if trial.started == instant]


def of_revision(trials: Sequence[Trial], revision: str) -> list[Trial]:
    """The trials of a commit, by the beginning of its hash. Raises BenchError where there are none."""
    matching = [
        trial
        for trial in trials
        if len(revision) >= 4 and (trial.manifest.git.commit or "").startswith(revision)
    ]
    if not matching:
        commits = sorted({commit(trial) or "unknown" for trial in trials})
        raise BenchError(f"--commit {revision}: no run is of it; there are {', '.join(commits) or 'none'}")
    return matching


def selected(trials: Trials, *, latest: bool = False, revision: str | None = None) -> Trials:
    """Only the trials of a commit, or those like the newest; what is left out is counted. Raises BenchError.

    Failed trials of an experiment go with its runs: those of one of which no run is left are left out too.
    """
    chosen = list(trials.trials) if revision is None else of_revision(trials.trials, revision)
    chosen = newest(chosen) if latest else chosen
    if len(chosen) == len(trials.trials):
        return trials
    before, after = ({trial.block[0] for trial in some if trial.block} for some in (trials.trials, chosen))
    gone = before - after
    failed = [each for each in trials.failed if each.block is None or each.block[0] not in gone]
    option = " and ".join([f"--commit {revision}"] * (revision is not None) + ["--latest"] * latest)
    left_out = [f"{len(trials.trials) - len(chosen)} of {len(trials.trials)} trials, with {option}"]
    if len(failed) < len(trials.failed):
        left_out.append(f"{len(trials.failed) - len(failed)} failed trials, with {option}")
    return replace(trials, trials=chosen, failed=failed, left_out=trials.left_out + left_out)


def commit(trial: Trial) -> str | None:
    """The commit that a trial was measured with, and whether there were changes; None: not known."""
    return environment.facts(trial.manifest).get("commit")


def brought(key: str, by: Sequence[str]) -> bool:
    """Whether a fact differs because of what is declared."""
    names = {name for each in by for name in (each, *BRINGS[each])}
    return key in names or (key.split(".", maxsplit=1)[0] in names and key != "payload.messages")


def _differs(before: Sequence[Trial], after: Sequence[Trial], name: str) -> bool:
    old, new = (_of(side, name) for side in (before, after))
    if name == "server" and not all(_of(side, "build") for side in (before, after)):
        # a server is called by its build where that is known: one of an unknown build may be the same
        old, new = (
            {kind for trial in side if (kind := trial.manifest.target.kind)} for side in (before, after)
        )
    return bool(old) and bool(new) and not old & new


def _of(trials: Sequence[Trial], name: str) -> set[str]:
    """The values that are known; what one side does not know is no difference."""
    value: Callable[[Trial], Any] = (
        commit if name == "commit" else lambda trial: getattr(trial.identity, name)
    )
    return {str(known) for trial in trials if (known := value(trial)) not in (None, "", UNKNOWN)}


def _sides(before: Sequence[Trial], after: Sequence[Trial], name: str) -> str:
    return f"{name} {_shown(_of(before, name))} and {_shown(_of(after, name))}"


def _values(trials: Sequence[Trial]) -> dict[str, set[str]]:
    by_key: dict[str, set[str]] = {}
    for trial in trials:
        for key, value in conditions(trial.manifest).items():
            by_key.setdefault(key, set()).add(value)
    return by_key


def _payloads(trials: Sequence[Trial]) -> dict[str, set[str]]:
    """Hashes of what was sent, by the seed that it was drawn with."""
    by_seed: dict[str, set[str]] = {}
    for trial in trials:
        sent = environment.facts(trial.manifest).get("payload")
        if sent is not None:
            by_seed.setdefault(str(trial.manifest.seed), set()).add(sent)
    return by_seed


def _shown(values: set[str]) -> str:
    most = sorted(values)[:3]
    return ", ".join(each if len(each) <= 60 else each[:57] + "..." for each in most) + (
        ", ..." if len(values) > 3 else ""
    )
