"""The command lines of the programs in this folder: each has --help, which shows what the program's module says of itself."""

import argparse


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser without arguments of its own. doc: of the program's module."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
