"""Networks that classify digits, and their training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from bench.export.quiet import tensorflow
from bench.mnist import CLASSES, SIZE, Digits

Arch = Literal["softmax", "cnn", "null"]
ARCHS: Final[tuple[Arch, ...]] = get_args(Arch)
BATCH: Final = 100

PIXELS: Final = SIZE * SIZE
_LEARNING_RATE: Final[dict[Arch, float]] = {"softmax": 3e-3, "cnn": 1e-3}

Progress = Callable[[int], None]
"""Called with the number of steps done."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """The recipe of a digit reader; equal recipes on equal digits give equal weights."""

    arch: Arch = "softmax"
    """softmax: one matrix. cnn: two convolutions and two dense layers. null: ten pixels are the scores,
    nothing is computed, so that a server's own time can be seen."""
    steps: int = 1000
    """Of 100 images each."""
    seed: int = 0
    flat: bool = False
    """The input is [N, 784], as in TensorFlow Serving's own MNIST example, instead of [N, 28, 28, 1]."""


def train(recipe: Recipe, digits: Digits, progress: Progress = lambda _: None) -> Any:
    """A tf.Module with `predict_images`: `images` float -> `scores` [N, 10].

    Mini-batches of 100 from seeded shuffles, Adam, cross entropy.
    """
    tf = tensorflow()
    rng = np.random.default_rng(recipe.seed)
    weights = [tf.Variable(array) for array in _initial(recipe.arch, rng)]
    if weights:
        _fit(recipe, weights, digits, rng, progress)
    module = tf.Module()
    module.weights = weights
    shape = [None, PIXELS] if recipe.flat else [None, SIZE, SIZE, 1]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="images")])  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def predict_images(images: Any) -> dict[str, Any]:
        logits = _logits(recipe.arch, weights, images)
        return {"scores": logits if recipe.arch == "null" else tf.nn.softmax(logits)}

    module.predict_images = predict_images
    return module


def _fit(
    recipe: Recipe, weights: list[Any], digits: Digits, rng: np.random.Generator, progress: Progress
) -> None:
    tf = tensorflow()
    # Gradients of convolutions are summed by several threads, in an order that differs from run to run.
    tf.config.experimental.enable_op_determinism()
    images, labels = tf.constant(digits.images), tf.constant(digits.labels)
    optimizer = tf.keras.optimizers.Adam(_LEARNING_RATE[recipe.arch])
    optimizer.build(weights)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def step(rows: Any) -> None:
        with tf.GradientTape() as tape:
            logits = _logits(recipe.arch, weights, tf.gather(images, rows))
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.gather(labels, rows), logits=logits)
            )
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    for number, rows in enumerate(_batches(len(digits.labels), recipe.steps, rng)):
        step(tf.constant(rows))
        progress(number + 1)


def _batches(count: int, steps: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers for each step: shuffled passes over all examples; a rest smaller than a batch is left out."""
    batch = min(BATCH, count)
    rest = rng.permutation(count)
    for _ in range(steps):
        if len(rest) < batch:
            rest = rng.permutation(count)
        yield rest[:batch]
        rest = rest[batch:]


def _initial(arch: Arch, rng: np.random.Generator) -> list[Floats]:
    """Weights before the first step: zeros for softmax, He's normal distribution with zero biases for the net."""
    if arch == "null":
        return []
    if arch == "softmax":
        return [np.zeros((PIXELS, CLASSES), np.float32), np.zeros(CLASSES, np.float32)]
    side = SIZE // 4  # after two poolings
    shapes = [(5, 5, 1, 32), (5, 5, 32, 64), (side * side * 64, 128), (128, CLASSES)]
    arrays: list[Floats] = []
    for shape in shapes:
        spread = np.sqrt(2 / np.prod(shape[:-1]))
        arrays += [rng.normal(0, spread, shape).astype(np.float32), np.zeros(shape[-1], np.float32)]
    return arrays


def _logits(arch: Arch, weights: list[Any], images: Any) -> Any:
    tf = tensorflow()
    if arch == "null":
        return tf.reshape(images, [-1, PIXELS])[:, :CLASSES]
    if arch == "softmax":
        return tf.reshape(images, [-1, PIXELS]) @ weights[0] + weights[1]
    hidden = tf.reshape(images, [-1, SIZE, SIZE, 1])
    for kernel, bias in (weights[0:2], weights[2:4]):
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, kernel, strides=1, padding="SAME") + bias)
        hidden = tf.nn.max_pool2d(hidden, 2, 2, "VALID")
    hidden = tf.reshape(hidden, [-1, weights[4].shape[0]])
    hidden = tf.nn.relu(hidden @ weights[4] + weights[5])
    return hidden @ weights[6] + weights[7]
