"""How many images per second does a large network classify, and what takes the time, the network or the payload?"""

import numpy as np

from bench.scenario import Pool, PredictUser, ScenarioOptions, Served, Site, defaults, option

defaults(users=2, spawn_rate=2, run_time="30s", model_name="vgg16")
option("--image-size", "224", "rows and columns of an image")
option("--width", "0.25", "factor on the filters of the embedded server's VGG16; 1 is the whole network")
option("--weights", "", "Keras weights file for the whole network; random weights take as long", private=True)


class KerasVgg16(PredictUser):
    """Random images of 600 kB each; which class they get is of no interest."""

    question = "bound"

    @classmethod
    def payload(cls, options: ScenarioOptions) -> Pool:
        """32 images [size, size, 3] of random numbers."""
        size = int(options.own["image-size"])
        images = np.random.default_rng(options.seed).random((32, size, size, 3), dtype=np.float32)
        return Pool.of(
            {"images": images}, None, output="scores", **options.asked.request(), seed=options.seed
        )

    @classmethod
    def server(cls, site: Site) -> list[str]:
        """VGG16 in the size asked for."""
        own, model = site.options.own, site.options.asked.model
        flags = ["--keras", "vgg16", "--image-size", own["image-size"], "--width", own["width"]]
        flags += ["--weights", own["weights"]] if own["weights"] else []
        folder = f"vgg16-{own['image-size']}-{own['width']}" + ("-weights" if own["weights"] else "")
        return site.serving(Served(model, site.exported(model, *flags, kept=folder)))
