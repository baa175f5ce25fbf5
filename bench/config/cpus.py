"""CPU numbers as users write them."""

import os
import re


def cpu_numbers(text: str) -> frozenset[int]:
    """The CPUs that "0-3,6" means. Raises ValueError for other texts and for CPUs that are not there."""
    usable = os.sched_getaffinity(0)
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError('expected CPU numbers such as "0" or "0-3,6"')
        wanted = range(int(match[1]), int(match[2] or match[1]) + 1)
        # the ends are no measure of what is held: "0-99999999999" is a short text
        if wanted.stop - wanted.start > len(usable) or not usable.issuperset(wanted):
            shown = ", ".join(map(str, sorted(usable)))
            raise ValueError(f"this process may use the CPUs {shown} only")
        numbers.update(wanted)
    return frozenset(numbers)
