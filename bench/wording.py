"""Numbers of things in a sentence."""


def counted(number: int, one: str, many: str = "") -> str:
    """Such as `1 request`, `1,234 requests`; `many` where the plural is not made with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
