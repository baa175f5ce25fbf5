"""What do clients notice when a new model version is rolled out under load: failures, slow answers, for how long?"""

import shutil
from itertools import cycle, islice
from pathlib import Path

from bench import BenchError
from bench.scenario import ArrivalUser, Pool, Rollout, ScenarioOptions, Served, Site, Stage, digits, option

option("--how", "place", "place (in the watched directory), flip (a label) or rollback (by configuration)")
option("--swaps", "2", "number of version changes; the run ends after the last one")
option("--settle", "3", "seconds before the first change, and after each")
option("--arch", "softmax", "network of the embedded server's versions: softmax or cnn")
option("--warmup", "0", "warm-up records in each of its versions")
option("--watched", "", "model folder of the server at --host, with version 1 (and 2 to flip)", private=True)
option("--server-path", "", "the name of that folder on the server, if it is another one", private=True)


class Mnist(ArrivalUser):
    """Digits at a steady rate, while the versions that answer them change."""

    question = "rollout"
    schedule = "poisson:1000"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Digits for whatever version is served; for a label where labels are flipped."""
        if (how := options.own["how"]) not in ("place", "flip", "rollback"):
            raise BenchError(f"--how {how}: expected place, flip or rollback")
        return digits(options, label="stable" if how == "flip" else options.asked.label)

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """A separate folder: with version 1 if others are placed later, else with both versions."""
        how, watched = site.options.own["how"], site.folder / "mnist"
        for version in ("1",) if how == "place" else ("1", "2"):
            shutil.copytree(trained(site) / version, watched / version)
        pinned = {"place": [], "flip": [1, 2], "rollback": [1]}.get(how, [])
        labels, latest = {"stable": 1} if how == "flip" else {}, 1 if how == "place" else None
        model = Served("mnist", watched, pinned, labels, latest)
        return [*site.serving(model), "--file_system_poll_wait_seconds=0.1"]

    @classmethod
    def prepare(cls, stage: Stage) -> None:
        """Begin with version 1, and train nothing while the load runs."""
        if stage.options.own["how"] == "place":
            trained(stage.site)
        Rollout.of(stage).begin(stage.options.own["how"])

    @classmethod
    def script(cls, stage: Stage) -> None:
        """Change the version as often as requested; every second time back to the model of version 1."""
        own, rollout = stage.options.own, Rollout.of(stage)
        stage.wait(max(3.0, float(own["settle"])))  # a baseline
        for like in islice(cycle((2, 1)), int(own["swaps"])):
            if own["how"] == "place":
                rollout.place(trained(stage.site) / str(like))
            elif own["how"] == "flip":
                rollout.flip("stable", like, [1, 2])
            else:
                rollout.pin(like)
            stage.wait(float(own["settle"]))


def trained(site: Site) -> Path:
    """Versions 1 and 2, of the network and with as many warm-up records as asked for."""
    arch, records = site.options.own["arch"], site.options.own["warmup"]
    if (arch, records) == ("softmax", "0"):
        return site.mnist()
    flags = ("--pair", "--arch", arch, "--warmup", records)
    return site.exported("mnist", *flags, versions=(1, 2), kept=f"{arch}-warmup-{records}")
