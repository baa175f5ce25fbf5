"""Read files that anybody may have written: regular ones only, and none larger than a reader can hold.

What is refused is an `OSError` whose `strerror` says why, so that a reader reports it as it reports a file that it may
not open. A named pipe would block the reader, a device would never end.
"""

import errno
import functools
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
_KERNEL: Final = ("/proc", "/sys", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/cgroup")
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@functools.cache
def _kernel() -> frozenset[int]:
    """Devices whose files look regular, yet block whoever reads them, or have no end."""
    return frozenset(os.stat(place).st_dev for place in _KERNEL if os.path.isdir(place))  # noqa: PTH112, PTH116


def open_file(path: Path, most: int) -> BufferedReader:
    """Open a regular file of at most so many bytes. Raises OSError."""
    # O_NONBLOCK: opening a pipe without a writer would wait for one
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            kind = _KINDS.get(stat.S_IFMT(seen.st_mode), "no file")
            raise OSError(errno.EINVAL, f"{kind}, expected a file", str(path))
        if seen.st_dev in _kernel():
            raise OSError(errno.EINVAL, "a file of the kernel's, which may never end", str(path))
        if seen.st_size > most:
            text = f"a file of {_size(seen.st_size)}, where at most {_size(most)} are read"
            raise OSError(errno.EFBIG, text, str(path))
    except OSError:
        os.close(descriptor)
        raise
    # by the path, so that errors name it
    return open(path, "rb", opener=lambda *_: descriptor)


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes. Raises OSError."""
    with open_file(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown meanwhile, or says nothing of its size, as files of /proc
        raise OSError(errno.EFBIG, f"more than {_size(most)}, the maximum", str(path))
    return content


def _size(size: int) -> str:
    return f"{size / MIB:,.0f} MiB" if size >= MIB else f"{size:,} bytes"
