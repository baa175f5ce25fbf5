"""Export of Keras applications."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import BenchError
from bench.export import saved_model
from bench.export.placement import Destination
from bench.export.quiet import tensorflow

VGG16: Final = "vgg16"
_SMALLEST: Final = 32
"""VGG16 halves the image five times."""


@dataclass(frozen=True)
class Application:
    """A network of keras.applications, whole or reduced for a small machine."""

    name: str = VGG16
    image_size: int = 224
    """Rows and columns of the input [N, image_size, image_size, 3]."""
    width: float = 1.0
    """Factor on the number of filters and units of each hidden layer; work falls with its square."""
    seed: int = 0
    """Of the random weights."""
    weights: Path | None = None
    """A Keras weights file (.weights.h5 or .h5) for the whole network; None: random."""

    def __post_init__(self) -> None:
        if self.name != VGG16:
            raise BenchError(f"--keras {self.name}: only {VGG16} is known")
        if self.image_size < _SMALLEST:
            raise BenchError(f"--image-size {self.image_size}: {self.name} needs at least {_SMALLEST} pixels")
        if not 0 < self.width <= 1:
            raise BenchError(f"--width {self.width}: a factor above 0 and up to 1")
        if self.weights is not None and self.width != 1:
            raise BenchError("--weights: fit the whole network only; leave --width out")


def export_application(destination: Destination, application: Application) -> int:
    """Put the version at its destination: `images` [N, size, size, 3] -> `scores` [N, 1000].

    Gives the number of its parameters. Raises BenchError.
    """
    destination.check()
    tf = tensorflow()
    tf.keras.utils.set_random_seed(application.seed)
    network = _network(application)
    module = tf.Module()
    # The variables themselves, not the Keras network around them: saved as its parts, they would not be restored
    # by a server, which does not know Keras.
    module.weights = [variable.value for variable in network.variables]
    shape = [None, application.image_size, application.image_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=saved_model.INPUT)])  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def predict_images(images: Any) -> dict[str, Any]:
        return {saved_model.OUTPUT: network(images, training=False)}

    module.predict_images = predict_images
    parameters = int(network.count_params())
    with destination.writing() as temporary:
        saved_model.save(module, temporary)
        _compare(network, temporary, application)
        saved_model.write_facts(
            temporary,
            {
                "model": destination.model,
                "version": destination.version,
                "arch": application.name,
                "image_size": application.image_size,
                "width": application.width,
                "seed": application.seed if application.weights is None else None,
                "weights": None if application.weights is None else str(application.weights),
                "parameters": parameters,
            },
        )
    return parameters


def _compare(network: Any, folder: Path, application: Application) -> None:
    """Raise RuntimeError where the SavedModel loaded from disk computes something else."""
    size = application.image_size
    image = np.random.default_rng(0).random((1, size, size, 3), dtype=np.float32)
    expected = network(image, training=False).numpy()
    with saved_model.reloaded(folder) as answer:
        outputs = answer(image)
    if not np.allclose(outputs, expected, rtol=1e-3, atol=1e-6):
        raise RuntimeError(f"{folder}: the saved network computes something else than the one in memory")


def _network(application: Application) -> Any:
    keras = tensorflow().keras
    size = application.image_size
    whole = keras.applications.VGG16(weights=None, input_shape=(size, size, 3), classes=1000)
    if application.weights is not None:
        try:
            whole.load_weights(str(application.weights))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BenchError(
                f"--weights {application.weights}: not weights of {application.name} ({reason})"
            ) from error
    if application.width == 1:
        return whole
    last = whole.layers[-1].name

    def narrower(layer: Any) -> Any:
        config = layer.get_config()
        for key in ("filters", "units"):
            if key in config and layer.name != last:
                config[key] = max(1, round(config[key] * application.width))
        return layer.__class__.from_config(config)

    return keras.models.clone_model(whole, clone_function=narrower)
