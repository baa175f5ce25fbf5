"""What does JSON over HTTP/1.1 cost against gRPC? The same digits over both APIs, in turn."""

from bench.scenario import Pool, PredictUser, ScenarioOptions, Site, defaults, digits

defaults(users=4, spawn_rate=4, run_time="30s")


class GrpcVsRest(PredictUser):
    """Each user asks over gRPC and then over REST, again and again; at a real server `--rest` says where."""

    question = "apis"
    over_rest = ("REST",)

    @classmethod
    def payload(cls, options: ScenarioOptions) -> dict[str, Pool]:
        """The same requests twice."""
        pool = digits(options)
        return {"gRPC": pool, "REST": pool}

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """With a REST port."""
        return [*super().server(site), "--rest_api_port=0"]
