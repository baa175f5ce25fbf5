"""Check that the report of a run names each fault with its time and length, and none of a clean run.

    python -m tests.benchmarks.faults FOLDER [--rounds N] [--only NAME] [--server embedded|binary] [--clean N]

Each fault happens at a known instant of a short load of 500 requests/s (20 ms each) to a synthetic server: `embedded` is
`bench serve`, `binary` what `bench.launch` starts as a tensorflow_model_server, here the stand-in of the launch tests around
the same server: the original was not run. `bench report --json` must name the fault, its begin within 0.1 s and its
length within 50 ms. The results are lines of FOLDER/results.jsonl; a further call goes on where the last has ended.

The disk is a tmpfs, which takes the rights to mount one, and is filled to its last byte. The wall clock of a worker is
stepped by an hour through a library that is loaded before all others, which takes a C compiler.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.faults.kinds import CLEAN, FAULTS, clean, inject
from tests.benchmarks.faults.scenery import scenery

SERVERS = ("embedded", "binary")
STARVED = "the load generator was CPU-starved"
"""What an interruption says where the machine was busy with something else: it happened, and is not invented."""


def main() -> None:
    """Parse, run what is missing, print all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=[*FAULTS], action="append", help="default: all faults")
    parser.add_argument("--server", choices=SERVERS, help="default: both")
    parser.add_argument("--clean", type=int, default=0, metavar="N", help="runs without a fault, instead")
    parser.add_argument("--seconds", type=int, default=6, help="of a run without a fault (6)")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / "results.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for server, name in missing(asked, known):
        with scenery(server) as (target, proxy), tempfile.TemporaryDirectory() as results:
            if name in FAULTS:
                row = inject(name, target, proxy, Path(results))
            else:
                row = clean(name, target, Path(results), asked.seconds)
        row["server"] = server
        known.append(row)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(shown(row), flush=True)
    print(summary(known))


def missing(asked: argparse.Namespace, known: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The runs that are still to be made, the servers in turn: server, and fault or load without one."""
    servers = [asked.server] if asked.server else SERVERS
    done = Counter((row["server"], row.get("load", row["fault"])) for row in known)
    if asked.clean:
        loads = [(server, load) for load in CLEAN for server in servers]
        wanted = Counter(loads[number % len(loads)] for number in range(asked.clean))
    else:
        wanted = Counter({(s, name): asked.rounds for name in asked.only or FAULTS for s in servers})
    left = wanted - done
    while left:
        for each in list(left):
            yield each
            left[each] -= 1
        left = +left


def shown(row: dict[str, Any]) -> str:
    """A line for a run."""
    off = [
        f"{1e3 * row[key]:+.0f} ms" if row.get(key) is not None else "-"
        for key in ("begin_off", "length_off")
    ]
    others = [
        f"{each['kind']} {each['begin']:.2f}+{each['seconds']:.2f}: {each['text']}" for each in row["others"]
    ]
    return (
        f"{row['server']:<9} {row.get('load', row['fault']):<17} {'right' if row['right'] else 'WRONG':<6} "
        f"begin {off[0]:>9}, length {off[1]:>9}; others {others}; starved {row.get('starved', {})}"
    )


def summary(known: list[dict[str, Any]]) -> str:
    """Counts by fault and server, and what was invented beside or without one."""
    lines = []
    for server in SERVERS:
        for name in ["none", *FAULTS]:
            rows = [row for row in known if row["fault"] == name and row["server"] == server]
            if not rows:
                continue
            right = sum(row["right"] for row in rows)
            beside = sum(bool(row["others"]) for row in rows)
            starved = sum(
                bool(row["others"]) and all(STARVED in each["text"] for each in row["others"]) for row in rows
            )
            worst = [
                f"{1e3 * max((abs(row[key]) for row in rows if row.get(key) is not None), default=0):.0f} ms"
                for key in ("begin_off", "length_off")
            ]
            lines.append(
                f"{server:<9} {name:<17} {right} of {len(rows)} right; off by at most {worst[0]}, {worst[1]}; "
                f"{beside} named something else, {starved} of these a starved load generator"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
