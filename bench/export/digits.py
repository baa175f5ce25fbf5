"""Training and export of a digit classifier."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import BenchError, mnist
from bench.export import saved_model
from bench.export.networks import PIXELS, Progress, Recipe, train
from bench.export.placement import Destination, VersionExists
from bench.mnist import Digits

PAIR: Final = {1: 1, 2: 1000}
"""Version -> training steps of the pair that scenarios compare: the first visibly bad, the second good."""


@dataclass(frozen=True)
class Warmup:
    """Warm-up records to put beside a model."""

    records: int = 0
    batch: int = 1
    """Images in each record; a server's first request of each batch size is slow."""

    def __post_init__(self) -> None:
        if not 0 <= self.records <= saved_model.MOST_WARMUP_RECORDS:
            raise BenchError(
                f"--warmup {self.records}: TensorFlow Serving takes 0 to {saved_model.MOST_WARMUP_RECORDS} records"
            )


class Exported(NamedTuple):
    """A version that is on disk now."""

    path: Path
    accuracy: float
    """On the digits for testing, by the model as loaded from disk."""
    digits: int
    """How many digits that are."""


def export_digits(
    destination: Destination,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    warmup: Warmup = Warmup(),
    progress: Progress = lambda _: None,
) -> Exported:
    """Train by the recipe and put the version at its destination.

    folder: MNIST files to train and test on; None for the bundled digits. Raises BenchError.
    """
    destination.check()
    training, testing = mnist.load("train", folder), mnist.load("test", folder)
    with destination.writing() as temporary:
        saved_model.save(train(recipe, training, progress), temporary)
        accuracy = saved_model.measure_accuracy(temporary, _shaped(testing.images, recipe), testing.labels)
        if warmup.records:
            batches = _batches(_shaped(training.images, recipe), warmup)
            saved_model.write_warmup(temporary, destination.model, batches)
        saved_model.write_facts(
            temporary, _facts(destination, recipe, training, testing, accuracy=accuracy, warmup=warmup)
        )
    return Exported(destination.path, accuracy, len(testing.labels))


def export_pair(
    models: Path,
    model: str,
    recipe: Recipe,
    *,
    force: bool = False,
    folder: Path | None = None,
    warmup: Warmup = Warmup(),
    progress: Callable[[int], Progress] = lambda _: lambda _: None,
) -> Iterator[tuple[int, Exported | None]]:
    """Versions 1 and 2 of the pair, one after the other; None for one that was there already.

    progress: version -> the function to call with its steps done. Raises BenchError.
    """
    for version, steps in PAIR.items():
        stepped = replace(recipe, steps=steps)
        destination = Destination(models, model, version, force)
        try:
            destination.check()
            done = export_digits(
                destination, stepped, folder=folder, warmup=warmup, progress=progress(version)
            )
        except VersionExists:  # from an earlier export, or from one that ran at the same time
            yield version, None
        else:
            yield version, done


def _shaped(images: npt.NDArray[np.float32], recipe: Recipe) -> npt.NDArray[np.float32]:
    return images.reshape(-1, PIXELS) if recipe.flat else images


def _batches(images: npt.NDArray[np.float32], warmup: Warmup) -> Iterator[npt.NDArray[np.float32]]:
    """The first images, then again from the start."""
    for record in range(warmup.records):
        yield images[np.arange(record * warmup.batch, (record + 1) * warmup.batch) % len(images)]


def _facts(
    destination: Destination,
    recipe: Recipe,
    training: Digits,
    testing: Digits,
    *,
    accuracy: float,
    warmup: Warmup,
) -> dict[str, object]:
    return {
        "model": destination.model,
        "version": destination.version,
        "arch": recipe.arch,
        "steps": recipe.steps,
        "seed": recipe.seed,
        "accuracy": accuracy,
        "data": training.source,
        "data_sha256": hashlib.sha256(training.images.tobytes() + training.labels.tobytes()).hexdigest(),
        "train_examples": len(training.labels),
        "test_examples": len(testing.labels),
        "warmup_records": warmup.records,
        "warmup_batch": warmup.batch if warmup.records else None,
    }
