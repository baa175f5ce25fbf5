"""`bench export`: train a model and put it where a server looks for it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import click
from click.core import ParameterSource
from rich.progress import Progress

from bench.cli.numbers import Number
from bench.cli.terminal import console
from bench.export.applications import VGG16, Application, export_application
from bench.export.digits import PAIR, Exported, Warmup, export_digits, export_pair
from bench.export.networks import ARCHS, Arch, Recipe
from bench.export.placement import Destination
from bench.extras import need

Bar = Callable[[str, int], Callable[[int], None]]
"""(what is trained, steps) -> the function to call with the steps done."""


@click.command(context_settings={"show_default": True})
@click.argument("models_dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", help="Name of the model, and of its folder.  [default: mnist, or that of --keras]")
@click.option("--version", type=click.IntRange(0), help="Version to export: the number of its folder.")
@click.option("--steps", type=click.IntRange(1), default=1000, help="Training steps of 100 images each.")
@click.option("--pair", is_flag=True, help="Versions 1 (1 step) and 2 (1000 steps), those that are missing.")
@click.option(
    "--arch", type=click.Choice(ARCHS), default="softmax", help="Kind of network; null computes nothing."
)
@click.option("--flat", is_flag=True, help="Input images [N, 784] instead of [N, 28, 28, 1].")
@click.option("--seed", type=int, default=0, help="Seed of the weights and of the order of the images.")
@click.option(
    "--mnist", type=click.Path(path_type=Path), help="MNIST files or PNGs.  [default: bundled digits]"
)
@click.option("--warmup", type=int, default=0, help="Warm-up records to write into assets.extra/.")
@click.option("--warmup-batch", type=click.IntRange(1), default=1, help="Images in each warm-up record.")
@click.option("--keras", type=click.Choice([VGG16]), help="Export this Keras application instead, untrained.")
@click.option("--image-size", type=int, default=224, help="With --keras: rows and columns of an image.")
@click.option(
    "--width", type=Number(0, min_open=True), default=1.0, help="With --keras: factor on filters and units."
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="With --keras: weights file.  [default: random]"
)
@click.option("--force", is_flag=True, help="Replace an existing version.")
def export(
    models_dir: Path,
    *,
    model: str | None,
    version: int | None,
    steps: int,
    pair: bool,
    arch: str,
    flat: bool,
    seed: int,
    mnist: Path | None,
    warmup: int,
    warmup_batch: int,
    keras: str | None,
    image_size: int,
    width: float,
    weights: Path | None,
    force: bool,
) -> None:
    """Train a digit classifier on MNIST and export it to MODELS_DIR/MODEL/VERSION.

    \b
    bench export models --model mnist --version 1 --steps 1
    bench export models --model mnist --version 2 --steps 1000
    """
    model = model or keras or "mnist"
    if pair == (version is not None):
        raise click.UsageError("give --version N, or --pair for versions 1 and 2 of a digit reader")
    if keras:
        _refuse("with --keras", "pair", "steps", "arch", "flat", "mnist", "warmup", "warmup_batch")
    else:
        _refuse("without --keras", "image_size", "width", "weights")
    if pair:
        _refuse("with --pair", "steps")
    if arch == "null":
        _refuse("with --arch null", "pair", "steps")
        steps = 0
    need("tensorflow", "bench export")
    recipe = Recipe(arch=cast("Arch", arch), steps=steps, seed=seed, flat=flat)
    records = Warmup(warmup, warmup_batch)
    if version is None:
        _export_pair(models_dir, model, recipe, force=force, mnist=mnist, warmup=records)
        return
    destination = Destination(models_dir, model, version, force)
    destination.check()  # before anything is announced
    if keras:
        _export_application(destination, Application(keras, image_size, width, seed, weights))
    else:
        _export_digits(destination, recipe, mnist, records)


def _export_digits(destination: Destination, recipe: Recipe, mnist: Path | None, warmup: Warmup) -> None:
    with _bar() as bar:
        progress = bar(f"{destination.model} version {destination.version}", recipe.steps)
        done = export_digits(destination, recipe, folder=mnist, warmup=warmup, progress=progress)
    _say(destination.model, destination.version, recipe, done)


def _export_application(destination: Destination, application: Application) -> None:
    click.echo(f"building {application.name}", err=True)
    parameters = export_application(destination, application)
    click.echo(
        f"{destination.model} version {destination.version}: {parameters:,} parameters "
        f"({application.name}) -> {destination.path}"
    )


def _refuse(where: str, *names: str) -> None:
    """Raise UsageError for the options that were given although they would do nothing."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning {where}")


def _export_pair(
    models_dir: Path, model: str, recipe: Recipe, *, force: bool, mnist: Path | None, warmup: Warmup
) -> None:
    with _bar() as bar:
        pair = export_pair(
            models_dir,
            model,
            recipe,
            force=force,
            folder=mnist,
            warmup=warmup,
            progress=lambda version: bar(f"{model} version {version}", PAIR[version]),
        )
        for version, done in pair:
            if done is None:
                click.echo(f"{model} version {version}: kept, {models_dir / model / str(version)} exists")
            else:
                _say(model, version, replace(recipe, steps=PAIR[version]), done)


def _say(model: str, version: int, recipe: Recipe, done: Exported) -> None:
    how = f"{recipe.arch}, {_steps(recipe.steps)}" if recipe.steps else recipe.arch
    click.echo(
        f"{model} version {version}: accuracy {done.accuracy:.3f} on {done.digits:,} test digits ({how}) -> {done.path}"
    )


def _steps(count: int) -> str:
    return f"{count:,} step{'s' * (count != 1)}"


@contextlib.contextmanager
def _bar() -> Iterator[Bar]:
    """Progress on stderr: a bar on a terminal, a line elsewhere."""
    screen = console(error=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:

        def start(title: str, steps: int) -> Callable[[int], None]:
            if not screen.is_terminal:
                click.echo(f"exporting {title}: {_steps(steps)} of training", err=True)
            task = progress.add_task(title, total=steps)
            return lambda done: progress.update(task, completed=done)

        yield start
