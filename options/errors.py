"""The errors that the entry points print in one line: the user's, and the program's own."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What Jittor's message says of a card without room, and of one that has stopped answering.
NO_ROOM = re.compile(
    r"Unable to alloc cuda device memory[^\n\x1b]*|GPU memory is overflow"
    r"|cudaErrorMemoryAllocation|\w*STATUS_ALLOC_FAILED"
)
FAULT = re.compile(r"CUDA error at[^(]*\(\s*(cudaError\w+|\w+_(?:EXECUTION_FAILED|INTERNAL_ERROR))")


class UserError(ValueError):
    """A rule that the user's input broke, said in one line: the rule, the value, the mend.

    The entry points print it as `error: ...` to stderr and leave with exit code 2.
    """


class Failure(Exception):
    """The program could not do its work, through no fault of the user's input; one line.

    The entry points print it as `error: ...` to stderr and leave with exit code 1.
    """


def quote(text: str, most: int = 80) -> str:
    """A person's text inside an error: in quotes, on one line, and cut where it is a wall."""
    shown = repr(text)
    if len(shown) <= most:
        return shown
    return f"{shown[: most - 20]}{shown[0]}... ({len(text)} characters)"


def cut(text: str, most: int = 200) -> str:
    """A text that argparse or another library has made, where a person's may be a wall in it."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def missing_package(error: ModuleNotFoundError) -> str:
    """What to say where a package of requirements.txt is not installed."""
    return (
        f"the packages of requirements.txt must be installed, {error.name} is not: bash train.sh "
        "sets them up by itself, and .venv/bin/python has them then"
    )


def broken_package(error: ImportError) -> str:
    """What to say where a package is there and cannot be imported; in one line."""
    reason = " ".join(str(error).split())[:200]
    place = f", {error.path}" if error.path else ""
    return (
        f"the packages must fit this Python, {error.name or 'one of them'} does not ({reason}"
        f"{place}): python -m tools.doctor says more, and bash train.sh makes .venv anew where it "
        "is removed"
    )


def no_home(error: RuntimeError) -> str | None:
    """What to say where pathlib knows no home folder; None where it is something else."""
    if "home directory" not in str(error):
        return None
    return (
        "there must be a home folder, for Jittor's cache and for paths that begin with ~, and none "
        "is known: name one that you can write to, such as HOME=/tmp/home bash train.sh, and write "
        "paths in full"
    )


def gpu_without_room(error: RuntimeError) -> str | None:
    """What to say where Jittor found no memory on the GPU; None where it is something else."""
    found = NO_ROOM.search(str(error))
    return found and (
        f"the GPU's memory must hold a batch, and does not ({found[0].strip()}): take smaller "
        "batches (in training: a schedule of your own), smaller pictures or several GPUs; "
        "docs/gpu.md says what fits, and what is saved stays"
    )


def gpu_fault(error: RuntimeError) -> str | None:
    """What to say where the GPU or its driver failed; None where it is something else.

    Nothing more can be computed in that process. Another one may find the card well again.
    """
    found = FAULT.search(str(error))
    return found and f"the GPU failed with {found[1]}; nvidia-smi and dmesg may tell why"


def list_names(names: Iterable[str], most: int = 10) -> str:
    """Names for one line: the first `most`, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
