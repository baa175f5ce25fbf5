"""Paths of files that may be in the package."""

from pathlib import Path
from typing import Any

import click

from bench import packaged


class PackagedPath(click.Path):
    """A path; where nothing is there, that of the package's file which it names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path as `click.Path` checks it."""
        return super().convert(packaged.resolved(Path(value)), param, ctx)
