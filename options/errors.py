"""The errors that the programs print in one line: the user's, and the program's own."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """An error caused by user input, in one line: `flag or file: expected X, got Y. Fix.`

    The programs print it as `error: ...` to stderr and exit with code 2.
    """


class Failure(Exception):
    """An error that no user input caused, in one line.

    The programs print it as `error: ...` to stderr and exit with code 1.
    """


def quote(text: str, most: int = 80) -> str:
    """Quotes the user's text for an error: on one line, cut after about `most` characters."""
    shown = repr(text)
    if len(shown) <= most:
        return shown
    return f"{shown[: most - 20]}{shown[0]}... ({len(text)} characters)"


def cut(text: str, most: int = 200) -> str:
    """Cuts a message of argparse or another library, which may repeat a long user input."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def list_names(names: Iterable[str], most: int = 10) -> str:
    """Joins the first `most` names for one line, and counts the rest."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
