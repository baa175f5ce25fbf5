"""bench.server.net.allocation: a large block that is freed is there for the next one."""

import platform
import resource
import subprocess
import sys

import pytest

from bench.server.net import allocation

TRIAL = """
import resource, sys
from bench.server.net import allocation
if sys.argv[1] == "keep":
    assert allocation.keep_freed_memory()
def faults(size, times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        block = bytes(size); block = None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
size = 20 << 20
faults(size, 2)
print(faults(size, 10))
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", TRIAL, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_pages_of_a_large_block_are_not_asked_for_again() -> None:
    pages = (20 << 20) // resource.getpagesize()
    assert faults("keep") < pages / 10, "none of ten blocks"
    assert allocation.KEPT_BYTES > allocation.LARGEST_FROM_HEAP
