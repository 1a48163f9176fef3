"""The one error that the person at the keyboard can mend."""

from __future__ import annotations


class UserError(ValueError):
    """A rule that the user's input broke, said in one line: the rule, the value, the mend.

    The entry points print it as `error: ...` to stderr and leave with exit code 2.
    """


def missing_package(error: ModuleNotFoundError) -> str:
    """What to say where a package of requirements.txt is not installed."""
    return (
        f"the packages of requirements.txt must be installed, {error.name} is not: bash train.sh "
        "sets them up by itself, and .venv/bin/python has them then"
    )
