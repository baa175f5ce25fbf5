"""Two conditions in sentences."""

import math
from typing import Any

import pytest

from bench.analysis.grouping.metrics import METRICS
from bench.analysis.judging.change import Change
from bench.analysis.showing.agreement_table import outputs_table
from bench.analysis.showing.verdict import sentences
from bench.analysis.statistics.intervals import alone
from bench.runs.answers import Answers, OutputAgreement, PairedAccuracy

KNOWN = alone([0.0, 0.01])


def change(name: str, size: float, low: float, high: float, verdict: Any, **more: Any) -> Change:
    facts: dict[str, Any] = {"before": 1.0, "after": size, "estimate": KNOWN, "reason": "", **more}
    return Change(
        METRICS[name],
        size=size,
        low=low,
        high=high,
        verdict=verdict,
        tolerance=0.02,
        p=0.5,
        paired=True,
        **facts,
    )


def answers(**more: Any) -> Answers:
    facts = {
        "before": "Version 6",
        "after": "Version 7",
        "origin": "sample.jsonl",
        "examples": 1000,
        "compared": 1000,
        "differing": 0,
        "suspected": 0,
        "repeated": 50,
        "tolerance": 1e-3,
        "rule": "values",
        "outputs": [],
        "notes": [],
    }
    return Answers(**{**facts, **more})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            [change("p50", 1.36, 1.34, 1.38, "worse"), change("p99", 1.12, 1.03, 1.22, "worse")],
            "36 % slower at the median (34 to 38 %) and 12 % at p99 (3 to 22 %)",
        ),
        (
            [change("p50", 0.8, 0.79, 0.81, "better"), change("p99", 0.95, 0.9, 1.01, "unknown")],
            "20 % faster at the median (19 to 21 %) and not significantly different at p99 (-10.0 to +1.0 %)",
        ),
        (
            [change("p50", 1.001, 0.995, 1.007, "same"), change("p99", 1.0, 0.99, 1.01, "same")],
            "as fast at the median (-0.5 to +0.7 %) and at p99 (-1.0 to +1.0 %)",
        ),
        # significant, and yet it may be less than what counts: it is told, with its interval
        ([change("p50", 1.021, 1.012, 1.03, "unknown")], "2.1 % slower at the median (1.2 to 3.0 %)"),
        ([change("p50", 1.0, 1.0, 1.0, "same")], "as fast at the median (+0.0 to +0.0 %)"),
        (
            [change("p99", math.inf, math.inf, math.inf, "worse", estimate=None)],
            "far slower at p99: too many requests got no answer",
        ),
        (
            [change("p99", 0.0, 0.0, 0.0, "better", estimate=None)],
            "far faster at p99: too many requests got no answer",
        ),
        (
            [change("goodput", 0.985, 0.98, 0.99, "worse"), change("goodput_rate", 0.9, 0.89, 0.91, "worse")],
            "1.5 % lower in the share answered rightly in time (1.0 to 2.0 %) and 10.0 % in requests/s answered rightly in "
            "time (9.0 to 11.0 %)",
        ),
        ([change("p99", 1.5, 0.5, 20.0, "unknown")], "not significantly different at p99 (-50.0 to ? %)"),
        (
            [
                change("requests_per_second", 0.74, 0.73, 0.75, "worse"),
                change("p50", 1.36, 1.34, 1.38, "worse"),
            ],
            "26 % lower in requests/s (25 to 27 %) and 36 % slower at the median (34 to 38 %)",
        ),
    ],
)
def test_speed(changes: list[Change], told: str) -> None:
    assert sentences("Version 7", changes, None)[0] == f"Version 7 is {told}."


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (
            {"differing": 3, "largest": 0.0204},
            "differ in 0.3 % of 1,000 examples (0.044 to 1 %; largest relative difference 0.02)",
        ),
        (
            {"differing": 0, "largest": 3e-5},
            "agree in all 1,000 examples (at most 0.46 % differ; largest relative difference 3e-05)",
        ),
        ({"differing": 1000}, "differ in 100 % of 1,000 examples (99.5 to 100 %)"),
        ({"differing": 1, "compared": 1, "examples": 1}, "differ in 100 % of 1 example (1 to 100 %)"),
    ],
)
def test_answers(facts: dict[str, Any], told: str) -> None:
    assert sentences("Version 7", [], answers(**facts))[0] == f"Version 7: answers {told}."


def test_both_in_one_sentence() -> None:
    told, missing = sentences("Version 7", [change("p50", 1.36, 1.34, 1.38, "worse")], answers(differing=3))
    assert told == (
        "Version 7 is 36 % slower at the median (34 to 38 %), answers differ in 0.3 % of 1,000 examples (0.044 to 1 %)."
    )
    assert missing.startswith("Not compared at p99: trials have too few requests")


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"unsteady_after": 7}, "Version 7 differs from itself in 7 of 50 examples sent again"),
        (
            {"failed_after": 2, "failure_after": "INTERNAL: no"},
            "Version 7 did not answer 2 examples: INTERNAL: no.",
        ),
        ({"notes": ["Version 7 lacks output b, which Version 6 has"]}, "Version 7 lacks output b"),
        ({"compared": 400}, "600 more examples not compared (no time left, or no answer)."),
        ({"compared": 0}, "no example was answered"),
        (
            {
                "accuracy": PairedAccuracy(
                    examples=1000, right_before=446, right_after=931, only_before=10, only_after=495
                )
            },
            "Accuracy 0.9310 against 0.4460 on 1,000 labelled examples: +0.4850 (95 %: +0.45",
        ),
        (
            {
                "accuracy": PairedAccuracy(
                    examples=100, right_before=90, right_after=91, only_before=1, only_after=2
                )
            },
            "no difference shown",
        ),
    ],
)
def test_what_else_there_is(facts: dict[str, Any], told: str) -> None:
    assert told in " ".join(sentences("Version 7", [], answers(**facts)))


def test_failed_requests_and_what_cannot_be_compared() -> None:
    told = sentences(
        "Version 7",
        [
            change("p99", math.nan, -math.inf, math.inf, "unknown", estimate=None, reason="too few requests"),
            change("p50", 1.5, 0.05, 20.0, "unknown"),
            change("error_share", 0.03, 0.02, 0.04, "worse", before=0.0, after=0.032),
            change("mismatch_share", 0.0, 0.0, 0.0, "same", before=0.0, after=0.0),
        ],
        None,
    )
    assert told == [
        "Not compared at p99: too few requests.",
        "Not compared at the median: the trials differ too much, or are too few.",
        "3.20 % of its requests failed under load; of the baseline's 0.",
    ]


def test_a_row_for_each_output_and_columns_only_where_they_say_something() -> None:
    score = OutputAgreement(output="score", kind="numbers", compared=10, differing=1, largest=0.5, mean=0.05)
    ids = OutputAgreement(output="ids", kind="ids", compared=10, differing=2, first=9, top=10, overlap=0.98)
    plain = outputs_table(answers(outputs=[score]))
    assert plain is not None
    assert [column.title for column in plain.columns] == [
        "output",
        "compared as",
        "differ",
        "largest",
        "mean",
    ]
    both = outputs_table(answers(outputs=[score, ids]))
    assert both is not None
    assert [column.texts for column in both.columns[-2:]] == [["–", "90.0 %"], ["–", "98.0 % of 10"]]
    assert outputs_table(answers()) is None
