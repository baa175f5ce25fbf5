"""Rich's tables and styles on our standard streams."""

import sys
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

from bench import escape
from bench.cli.output import Printable


class _Escaped:
    """Rich's drawing with its text escaped: styles are kept beside it until they are written."""

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for each in console.render(self._drawn, options):
            yield each if each.control else Segment(escape.lines(each.text), each.style)


class _Escaping(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(each) for each in renderables]


def console(*, error: bool = False) -> Console:
    """A Rich console on standard output or error; text in brackets is text, and no markup."""
    stream: Any = sys.stderr if error else sys.stdout
    file: Any = stream.styled() if isinstance(stream, Printable) else stream
    screen = Console(file=file, highlight=False, markup=False, emoji=False)
    screen.push_render_hook(_Escaping())
    return screen
