"""The example answers in docs/scenarios.md, by the commands that stand before them.

    python -m tests.benchmarks.scenario_examples [NAME...]     all, or those of some scenarios; 15 min in all

An example is a comment `<!-- answers: scenario.py ARGUMENTS -->` with the answers of that run quoted below. Each command is
run anew, and what `bench report` answers replaces the quotation. Nothing else should be running on the machine.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.benchmarks.arguments import parser

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs" / "scenarios.md"
EXAMPLE: Final = re.compile(r"^(<!-- answers: (\S+?)( [^\n]*?)? -->\n)((?:>[^\n]*\n)*)", re.MULTILINE)


def answers(scenario: str, arguments: list[str]) -> list[str]:
    """The sentences of a new run."""
    with tempfile.TemporaryDirectory() as results:
        command = [
            str(Path(sys.executable).parent / "locust"),
            "-f",
            f"scenarios/{scenario}",
            "--headless",
            *arguments,
        ]
        done = subprocess.run(
            [*command, "--results", results], cwd=ROOT, capture_output=True, text=True, check=False
        )
        report = [sys.executable, "-m", "bench", "report", results, "--json"]
        told = subprocess.run(report, cwd=ROOT, capture_output=True, text=True, check=False)
        if told.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}\n{told.stderr}")
        (run,) = json.loads(told.stdout)["runs"]
        for warning in run["doubts"]:
            print(f"  {warning['check']}: {warning['reason']}", flush=True)
        return [answer["text"] for answer in run["answers"]]


def quoted(texts: list[str]) -> str:
    """As Markdown."""
    return "\n>\n".join(f"> {text}" for text in texts) + "\n"


def main(names: list[str]) -> None:
    """Run the examples one after the other; each is written when it has ended."""
    for found in list(EXAMPLE.finditer(DOCS.read_text())):
        marker, scenario, arguments, _ = found.groups()
        if names and scenario.removesuffix(".py") not in names:
            continue
        print(f"{scenario}{arguments or ''}", flush=True)
        quotation = quoted(answers(scenario, (arguments or "").split()))

        def replaced(each: "re.Match[str]", marker: str = marker, quotation: str = quotation) -> str:
            return marker + quotation if each[1] == marker else each[0]

        DOCS.write_text(EXAMPLE.sub(replaced, DOCS.read_text()))


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("names", nargs="*", metavar="NAME", help="scenarios (default: all)")
    main(command.parse_args().names)
