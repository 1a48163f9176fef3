"""The frame of every program: its flags, its one-line errors and its exit codes.

@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    parser = ToolParser("tools.name", __doc__)
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from options.errors import Failure, UserError, cut, quote
from options.fields import MOST, read_number
from runtime.failures import (
    broken_package,
    gpu_fault,
    gpu_out_of_memory,
    missing_package,
    no_home,
)
from runtime.process import check_surroundings, prepare_process
from runtime.stop import Interrupted, interrupt_on_signal

Main: TypeAlias = Callable[..., int]
# The project's own packages: their import errors are bugs, not missing requirements.
OWN_PACKAGES = (
    "options", "runtime", "data", "models", "weights", "metrics", "inference", "training", "tools",
)  # fmt: skip


class ToolParser(argparse.ArgumentParser):
    """Parses the flags of `python -m NAME`; an invalid flag raises UserError.

    `prog` is for argparse, which creates the parsers of subcommands with it.
    """

    def __init__(
        self, name: str = "", description: str | None = None, *, prog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog or f"python -m {name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # as for the flags of train.py: only the digits 0 to 9, and only finite numbers
        self.register("type", None, _text)
        self.register("type", int, _integer)
        self.register("type", float, _finite_number)

    def error(self, message: str) -> None:  # type: ignore[override]
        text = cut(" ".join(message.split())).removeprefix("argument ")
        raise UserError(f"{text}. See --help")


def _text(text: str) -> str:
    if "\0" in text or not text:
        raise argparse.ArgumentTypeError("expected a text that is not empty, got none")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"expected UTF-8, got {quote(text)}") from None
    return text


def _integer(text: str) -> int:
    try:
        value: int = read_number(int, text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, got {quote(text)}") from None
    if abs(value) > MOST:
        raise argparse.ArgumentTypeError(
            f"expected an integer from {-MOST} to {MOST}, got {quote(text)}"
        )
    return value


def _finite_number(text: str) -> float:
    try:
        value: float = read_number(float, text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {quote(text)}")
    return value


def _print_error(text: str) -> None:
    """Prints an error on one line, even if a file name or a library put other characters in it."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split("\n")))
    print(f"error: {shown}", file=sys.stderr, flush=True)


def exit_codes(stopped: str) -> Callable[[Main], Main]:
    """Decorates a `main` with the exit codes: 2 for a user error, 1 for a failure, 130 or 143.

    Each of them prints one line on stderr. `stopped` is the line for Ctrl-C and SIGTERM (130 and
    143) and SIGHUP (143). An error of a disk or a folder exits with 1. After a GPU fault the
    process ends at once with 1, as in a crash, so that runtime.supervise restarts it.
    """

    def wrap(main: Main) -> Main:
        @functools.wraps(main)
        def framed(argv: Sequence[str] | None = None) -> int:
            prepare_process()
            try:
                with interrupt_on_signal():
                    check_surroundings()
                    return main(argv)
            except (UserError, Failure) as error:
                _print_error(str(error))
                return 2 if isinstance(error, UserError) else 1
            except ModuleNotFoundError as error:
                _print_error(missing_package(error))
                return 2
            except ImportError as error:
                if (error.name or "").partition(".")[0] in OWN_PACKAGES:
                    raise
                _print_error(broken_package(error))
                return 2
            except OSError as error:
                place = f"{error.filename}: " if error.filename else ""
                _print_error(f"{place}{error.strerror or error}. Saved files are kept")
                return 1
            except RuntimeError as error:
                users = no_home(error) or gpu_out_of_memory(error)
                fault = gpu_fault(error)
                if not (users or fault):
                    raise
                _print_error(users or fault or "")
                if users:
                    return 2
                sys.stdout.flush()
                # an orderly exit would wait for the GPU to release its memory
                os._exit(1)
            except KeyboardInterrupt as error:
                print(stopped, file=sys.stderr)
                return error.exit_code if isinstance(error, Interrupted) else 130

        return framed

    return wrap
