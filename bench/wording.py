"""Numbers in a sentence."""

import math


def counted(number: int, singular: str, plural: str = "") -> str:
    """Such as `1 request`, `1,234 requests`; `plural` where the plural is not made with an s."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def significant(value: float | None) -> str:
    """Three significant digits without an exponent; all digits before the point, thousands separated."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    # rounding up may have added a digit: 9.996 becomes 10.0, not 10.00
    digits = 2 - math.floor(math.log10(abs(rounded)))
    return f"{value:,.{max(0, min(digits, 9))}f}"


def plain(number: float) -> str:
    """Without an exponent; three digits after the point, or six of small ones, but no zero at the end: `2500000`, `0.3`."""
    return f"{number:.{3 if number >= 1 else 6}f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """Three significant digits and the unit that fits: `530 µs`, `1.95 ms`, `2.50 s`."""
    unit, factor = ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)
    return f"{significant(seconds * factor)} {unit}"
