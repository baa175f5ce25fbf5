"""How fast is any model, with your own requests or random ones?"""

from bench.scenario import Pool, ScenarioOptions, ScheduledUser, Site, model_options, model_pool, model_server

model_options()


class Model(ScheduledUser):
    """Sends the requests in --requests, else random ones that the server's metadata allow (closed loop, or --schedule)."""

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """Requests for the signature that the server reports."""
        return model_pool(options)

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """The SavedModel at --model-path."""
        return model_server(site)
