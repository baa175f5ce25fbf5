"""A program in a terminal of 80 columns: what stays on the screen when it has ended."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

COLUMNS, ROWS = 80, 24
SECONDS = 120.0
_PART = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[\r\n]|[^\x1b\r\n]")
_BEGUN = re.compile(r"\x1b(\[[0-9;?]*)?\Z")


class Screen:
    """What a terminal shows of a text, as far as it is scrolled up."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0
        self.cursor = True

    def show(self, text: str) -> None:
        """Take in text with what moves the cursor, erases and colours in it."""
        for part in _PART.findall(text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self._down()
            elif part[0] != "\x1b":
                self._put(part)
            elif part.startswith("\x1b["):
                self._obey(part[2:-1], part[-1])

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _put(self, character: str) -> None:
        if self.column == COLUMNS:  # the line is full: the next character begins another one
            self.column = 0
            self._down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    def _obey(self, values: str, command: str) -> None:
        if command == "A":
            self.row = max(0, self.row - int(values or 1))
        elif command == "K":
            assert values == "2", "whole lines are erased"
            self.lines[self.row] = ""
        elif command in "hl":
            self.cursor = command == "h"
        else:
            assert command == "m", f"this terminal does not know ESC[{values}{command}"


def typed(
    command: list[str], cwd: Path, enough: Callable[[Screen], object], keys: bytes
) -> tuple[int, Screen, Screen]:
    """The exit code of a command, the terminal when its keys were typed, and as the command left it.

    enough: says of the terminal whether the keys are to be typed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    program = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=environment | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # as Linux ends it
            while part := os.read(ours, 65536):
                shown.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        end = time.monotonic() + SECONDS
        while not enough(before := _screen(shown)):
            assert program.poll() is None, before.lines
            assert time.monotonic() < end, before.lines
            time.sleep(0.05)
        os.write(ours, keys)
        code = program.wait(timeout=100)
    finally:
        if program.poll() is None:
            program.kill()
        reading.join(timeout=20)
        os.close(ours)
    return code, before, _screen(shown)


def _screen(shown: bytearray) -> Screen:
    """The terminal that shows this; a sequence that has only begun is left out."""
    screen = Screen()
    screen.show(_BEGUN.sub("", bytes(shown).decode(errors="ignore")))
    return screen
