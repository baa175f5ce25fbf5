"""Is the new version better than the old one, and as fast? Both get the same digits, in turn."""

from bench.scenario import Pool, PredictUser, ScenarioOptions, Served, Site, defaults, digits, option

defaults(users=8, spawn_rate=8, run_time="30s")
option("--arms", "1,2,stable,canary", "version numbers and labels; each is compared with the first")


class Versions(PredictUser):
    """Sends each digit to all arms, one after the other, so that whatever disturbs one disturbs all."""

    question = "versions"
    keep_choices = True

    @classmethod
    def payload(cls, options: ScenarioOptions) -> dict[str, Pool]:
        """The same digits in the same order for each arm."""
        pools = {}
        for arm in options.own["arms"].split(","):
            pin = {"version": int(arm), "label": None} if arm.isdigit() else {"version": None, "label": arm}
            name = f"version {arm}" if arm.isdigit() else f"label {arm}"
            pools[name] = digits(options, **pin)
        return pools

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """Both versions, each with a label."""
        return site.serving(Served("mnist", site.mnist(), labels={"stable": 1, "canary": 2}))
