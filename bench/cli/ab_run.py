"""What `bench ab` does once everything was looked at: answers, load, verdict."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from rich.text import Text

import bench
from bench import BenchError
from bench.analysis.agreement.compare import Differences, Rule
from bench.analysis.agreement.summary import different, paired_accuracy, summary
from bench.analysis.grouping.trials import Trials, read_trials
from bench.analysis.judging.change import Change
from bench.analysis.judging.compare import Comparison, compare_by
from bench.analysis.judging.gate import Judgement
from bench.analysis.judging.limit_of_share import of_answers
from bench.analysis.showing import comparison_table, gate_text, verdict
from bench.analysis.statistics.intervals import ERROR_RATE
from bench.analysis.statistics.sequential import LEAST, Look
from bench.cli.ab_conditions import Looked
from bench.cli.ab_limits import Limits
from bench.cli.blocks import Seen, run_blocks
from bench.cli.gate import put, show_judgement, write_judgement
from bench.cli.gate_run import LEAST_OVERHEAD, Sides, decided, judge
from bench.cli.output import note
from bench.cli.run import INTERRUPTED, NOT_ALL, ended_in_order
from bench.cli.run_display import Lines
from bench.cli.tables import hanging, show_table, warning
from bench.cli.terminal import console
from bench.config.experiment import Load
from bench.escape import one_line
from bench.experiment.beginning import Prepared, begin
from bench.experiment.folder import Folder
from bench.experiment.preflight import refused
from bench.experiment.runner import Runner
from bench.experiment.trial import Local
from bench.launch.remote import described
from bench.load.both_answers import Both, ask_both, distinct, labels_met
from bench.payload.arrays import Array
from bench.runs.answers import DIFFERENT, Answers, PairedAccuracy
from bench.runs.jsonl import json_text
from bench.runs.run import find_runs
from bench.wording import counted

SPEED: Final = ("p50", "p99")
RATES: Final = ("requests_per_second", "inferences_per_second")
"""Compared where both do not get the same number of requests by design."""
FAILURES: Final = ("error_share", "mismatch_share")
_SHARE_OF_ANSWERS: Final = 0.25
"""Of the time, for sending each example to both; the load gets the rest."""
_BLOCKS: Final = 16
"""As many are aimed at: two metrics are decided by fewer where trials differ by a few percent."""
_LONGEST: Final = 30
"""Seconds of a trial."""


class Outcome(NamedTuple):
    """What a look at the trials gave."""

    comparison: Comparison | None
    """None: a side has no trial."""
    failures: list[Change]
    judged: Judgement | None
    trials: Trials


@dataclass
class Run:
    """One comparison."""

    looked: Looked
    requests: str | None
    """The file; None: random inputs."""
    server: Mapping[str, Any]
    limits: Limits | None
    options: Mapping[str, Any]
    _answers: Answers | None = field(default=None, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    def everything(self, *, answers: bool, load: bool) -> int:
        """Compare and show it; gives the exit code."""
        for text in self.looked.warnings:
            click.echo(one_line(f"warning: {text}"), err=True)
        prepared = self._prepared()
        if load:
            self._look_as_the_load_does(prepared)
        folder = begin(prepared if load else prepared._replace(plan=[]), self.options["results"], None)
        try:
            with ended_in_order():
                if answers:
                    share = _SHARE_OF_ANSWERS if load else 1.0
                    self._compare_answers(folder, share * self.options["seconds"])
                outcome = self._measure(prepared, folder) if load else None
        except KeyboardInterrupt:
            folder.tidy()
            note(f"interrupted; what was measured is in {folder.path}")
            return INTERRUPTED
        return self._conclude(folder, outcome)

    def _prepared(self) -> Prepared:
        two, options = self.looked.two, self.options
        left = options["seconds"] * (1 - _SHARE_OF_ANSWERS)
        in_block = 1 if two.duet else 2
        seconds = max(1, min(_LONGEST, round(left / (_BLOCKS * in_block) - LEAST_OVERHEAD)))
        own: dict[str, Any] = {"transport": self.server["transport"]}
        own |= {"max-answer-bytes": self.server["max_answer_bytes"]}
        own |= (
            {"requests": str(Path(self.requests).resolve())}
            if self.requests
            else {"shape": self.looked.shape}
        )
        return two.prepared(
            _scenario(),
            load=Load(users=options["users"], schedule=options["schedule"]),
            blocks=max(LEAST, int(options["seconds"] // ((seconds + LEAST_OVERHEAD) * in_block))),
            seconds=seconds,
            server=self._server(),
            signature=self.looked.signature,
            seed=options["seed"],
            deadline=options["deadline"],
            options={name: value for name, value in own.items() if value not in (None, "")},
        )

    def _server(self) -> dict[str, Any]:
        """How the servers are called, as keys of a servers file."""
        given = self.server
        tls = {
            "ca": given["grpc_tls_ca"],
            "certificate": given["grpc_tls_cert"],
            "key": given["grpc_tls_key"],
            "server_name": given["grpc_tls_server_name"],
        }
        found: dict[str, Any] = {}
        if any(tls.values()):
            found["tls"] = {name: value for name, value in tls.items() if value}
        elif given["grpc_tls"]:
            found["tls"] = True
        if given["authority"]:
            found["authority"] = given["authority"]
        if given["pairs"]:
            found["metadata"] = dict(each.split("=", 1) for each in given["pairs"].split(","))
        return found

    def _look_as_the_load_does(self, prepared: Prepared) -> None:
        """Raise BenchError for what the load processes would refuse."""
        for server in prepared.servers:
            planned = [trial for trial in prepared.plan if trial.cell.server == server.name]
            for reason in refused(prepared.study, planned, described(server)).values():
                raise BenchError(reason)

    def _compare_answers(self, folder: Folder, seconds: float) -> None:
        looked, options = self.looked, self.options
        two, examples = looked.two, looked.examples
        numbers = distinct(examples)
        click.echo(
            one_line(f"answers: {counted(len(numbers), 'different example')} of {examples.origin}"), err=True
        )

        def ask(chosen: Sequence[int], share: float) -> Both:
            return ask_both(
                looked.sides,
                examples,
                chosen,
                in_flight=options["users"],
                deadline=options["deadline"],
                seconds=share * seconds,
                seed=options["seed"],
            )

        both = ask(numbers, 0.6)
        asked = [number for number in numbers if number in both]
        before, after = ([both[number][side] for number in asked] for side in (0, 1))
        rule = Rule(options["tolerance"], options["top"], options["outputs"])
        found = Differences(before, after, rule, seed=options["seed"])
        place = {number: at for at, number in enumerate(asked)}
        found.repeat(
            lambda chosen: {place[n]: pair for n, pair in ask([asked[at] for at in chosen], 0.2).items()}
        )
        titles = (two.before.title(two.part), two.after.title(two.part))
        self._answers = summary(
            found,
            before=titles[0],
            after=titles[1],
            origin=examples.origin,
            examples=len(numbers),
            accuracy=self._accuracy(asked, before, after),
        )
        inputs: list[Mapping[str, Array]] = []
        if options["save_inputs"]:
            inputs = [{name: each[number] for name, each in examples.inputs.items()} for number in asked]
        self._answers.write(folder.path, different(found, asked, *titles, inputs))

    def _accuracy(self, asked: Sequence[int], before: Any, after: Any) -> PairedAccuracy | None:
        labels, output = self.looked.examples.labels, self.looked.output
        if labels is None or output is None:
            return None
        try:
            met = [labels_met(side, labels[list(asked)], output) for side in (before, after)]
        except ValueError as unfit:
            note(f"labels are not compared: {unfit}")
            return None
        return paired_accuracy(*met)

    def _measure(self, prepared: Prepared, folder: Folder) -> Outcome:
        two = self.looked.two
        sides = Sides(two.part, two.baseline, two.also)
        most = max(trial.block for trial in folder.trials)
        display = Lines()
        left = max(1.0, self.options["seconds"] - (time.monotonic() - self._began))
        servers = {server.name: server for server in prepared.servers}
        with folder.locked() as lock, display.showing(len(folder.trials), 0, left):
            runner = Runner(prepared.study, servers, folder, Local(), display)
            return run_blocks(
                runner, lock, left, lambda look: self._look(folder, sides, look, most), option="--time"
            )

    def _look(self, folder: Folder, sides: Sides, look: Look, most: int) -> Seen[Outcome]:
        trials = read_trials(find_runs([folder.path]))
        measured = {str(getattr(trial.identity, sides.part)) for trial in trials.trials}
        judged = None if self.limits is None else judge(trials, sides, self.limits, look, most)
        if len(measured) < 2:  # each trial of a side has failed
            return Seen(Outcome(None, [], judged, trials), "a side has no trial that was measured", True)

        def compared(metrics: Sequence[str]) -> Comparison:
            by = {"baseline": sides.baseline, "also": sides.also, "rate": look.rate}
            return compare_by(trials.trials, sides.part, metrics=metrics, **by).found[0]  # type: ignore[arg-type]

        found = compared((*SPEED, *(() if self.looked.two.duet else RATES)))
        outcome = Outcome(found, compared(FAILURES).changes, judged, trials)
        open_ = [each for each in found.changes if each.verdict == "unknown" and each.estimate is not None]
        text = verdict.sentences(self._title, found.changes, None)
        over = not open_ if judged is None else decided(judged)
        return Seen(outcome, " ".join(text) if judged is None else judged.verdict, over)

    @property
    def _title(self) -> str:
        return self.looked.two.after.title(self.looked.two.part)

    def _conclude(self, folder: Folder, outcome: Outcome | None) -> int:
        """Show what came out, write the files that are asked for; gives the exit code."""
        comparison = outcome.comparison if outcome else None
        changes = [] if outcome is None or comparison is None else [*comparison.changes, *outcome.failures]
        told = verdict.sentences(self._title, changes, self._answers)
        screen = console()
        for number, text in enumerate(told):
            hanging(screen, Text(text, style="bold" if not number else ""))
        if comparison is not None:
            screen.print(Text(f"\n{comparison.title}  {comparison_table.how(comparison)}", style="dim"))
            show_table(screen, comparison_table.changes_table(comparison))
        table = verdict.outputs_table(self._answers) if self._answers else None
        if table is not None:
            screen.print()
            show_table(screen, table)
        judged = self._judged(outcome)
        if judged is not None:
            screen.print()
            show_judgement(screen, judged)
            write_judgement(
                judged, "ab", junit=self.options["junit"], markdown=self.options["markdown"], as_json=None
            )
        elif comparison is not None:
            for doubt in comparison.doubts:
                hanging(screen, warning(doubt))
        if self.options["as_json"] is not None:
            put(self.options["as_json"], json_text(self._plain(folder, told, changes, judged)) + "\n")
        self._lead_on(folder)
        failed = [] if outcome is None else outcome.trials.failed
        for each in failed:
            click.echo(one_line(f"failed: {each}"), err=True)
        if judged is not None:
            return judged.code
        return NOT_ALL if failed or (outcome is not None and comparison is None) else 0

    def _judged(self, outcome: Outcome | None) -> Judgement | None:
        if self.limits is None or outcome is not None:
            return outcome.judged if outcome else None
        if self._answers is None:
            return None
        findings = [of_answers(limit, None, self._answers, ERROR_RATE) for limit in self.limits.limits]
        return Judgement(findings, [], [], 0)

    def _lead_on(self, folder: Folder) -> None:
        if self._answers is not None and self._answers.differing:
            click.echo(one_line(f"the examples that differ most: {folder.path / DIFFERENT}"), err=True)
        click.echo(
            one_line(f"everything is in {folder.path}: bench report, compare and gate read it"), err=True
        )

    def _plain(
        self, folder: Folder, told: Sequence[str], changes: Sequence[Change], judged: Judgement | None
    ) -> dict[str, Any]:
        return {
            "schema": 1,
            "folder": str(folder.path),
            "sentences": list(told),
            "changes": [comparison_table.plain_change(each) for each in changes],
            "answers": None if self._answers is None else self._answers.model_dump(by_alias=True),
            "gate": None if judged is None else gate_text.plain(judged),
        }


def _scenario() -> Path:
    """The locustfile for any model."""
    package = Path(bench.__file__).parent
    found = [place / "scenarios" / "model.py" for place in (package, package.parent)]
    return next((path for path in found if path.is_file()), found[-1])
