"""The command line of a program: a tool's docstring is its help, and a wrong flag is one line."""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from options.errors import (
    Failure,
    UserError,
    broken_package,
    cut,
    gpu_fault,
    gpu_without_room,
    missing_package,
    no_home,
    quote,
)
from options.run import MOST, read_number
from tools.process import check_surroundings, prepare_process
from training.stop import Interrupted, interrupt_on_signal

Main: TypeAlias = Callable[..., int]
# the project's own packages, whose faults are the program's
FLOORS = ("options", "data", "models", "training", "tools")


class ToolParser(argparse.ArgumentParser):
    """Parses the flags of `python -m tools.NAME`; a wrong one raises UserError.

    `prog` is for argparse, which makes the parsers of a tool's commands with it.
    """

    def __init__(
        self, name: str = "", description: str | None = None, *, prog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog or f"python -m tools.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # as the flags of train.py are read: digits 0 to 9, and nothing that is not finite
        self.register("type", None, _text)
        self.register("type", int, _whole_number)
        self.register("type", float, _finite_number)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{cut(' '.join(message.split()))}; --help lists the flags")


def _text(text: str) -> str:
    if "\0" in text or not text:
        raise argparse.ArgumentTypeError("a text that is not empty must follow")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{quote(text)} is not UTF-8; rename it") from None
    return text


def _whole_number(text: str) -> int:
    try:
        value: int = read_number(int, text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quote(text)} is no whole number") from None
    if abs(value) > MOST:
        raise argparse.ArgumentTypeError(f"{quote(text)} is not from {-MOST} to {MOST}")
    return value


def _finite_number(text: str) -> float:
    try:
        value: float = read_number(float, text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{quote(text)} is no finite number")
    return value


def _tell(text: str) -> None:
    """Print an error: in one line, whatever a file's name or a library has put into it."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split("\n")))
    print(f"error: {shown}", file=sys.stderr, flush=True)


def exit_codes(stopped: str) -> Callable[[Main], Main]:
    """Make the exit codes of a `main`: 2 for what the user must mend, 130 or 143 for a signal.

    Either is one line on stderr; `stopped` is what to say at Ctrl-C, SIGTERM and SIGHUP. A disk or
    a folder that fails is 1. Where the GPU has failed, the process ends at once, as in a crash,
    with 1: tools.supervise starts the work again.
    """

    def wrap(main: Main) -> Main:
        @functools.wraps(main)
        def told(argv: Sequence[str] | None = None) -> int:
            prepare_process()
            try:
                with interrupt_on_signal():
                    check_surroundings()
                    return main(argv)
            except (UserError, Failure) as error:
                _tell(str(error))
                return 2 if isinstance(error, UserError) else 1
            except ModuleNotFoundError as error:
                _tell(missing_package(error))
                return 2
            except ImportError as error:
                if (error.name or "").partition(".")[0] in FLOORS:
                    raise
                _tell(broken_package(error))
                return 2
            except OSError as error:
                place = f"{error.filename}: " if error.filename else ""
                _tell(f"{place}{error.strerror or error}; what is saved stays")
                return 1
            except RuntimeError as error:
                mend, fault = no_home(error) or gpu_without_room(error), gpu_fault(error)
                if not (mend or fault):
                    raise
                _tell(mend or fault or "")
                if mend:
                    return 2
                sys.stdout.flush()
                # what gives the GPU's memory back would wait for it
                os._exit(1)
            except KeyboardInterrupt as error:
                print(stopped, file=sys.stderr)
                return error.exit_code if isinstance(error, Interrupted) else 130

        return told

    return wrap
