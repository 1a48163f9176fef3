"""The command line of a program: a tool's docstring is its help, and a wrong flag is one line."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from options.errors import Failure, UserError, gpu_fault, gpu_without_room, missing_package

Main: TypeAlias = Callable[..., int]


class ToolParser(argparse.ArgumentParser):
    """Parses the flags of `python -m tools.NAME`; a wrong one raises UserError."""

    def __init__(self, name: str, description: str | None) -> None:
        super().__init__(
            prog=f"python -m tools.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message}; --help lists the flags")


def exit_codes(stopped: str) -> Callable[[Main], Main]:
    """Make the exit codes of a `main`: 2 for a UserError, 1 for a Failure, 130 for Ctrl-C.

    Each is one line on stderr; `stopped` is what to say at Ctrl-C. Where the GPU has failed, the
    process ends at once, as in a crash, with 1: tools.supervise starts the work again.
    """

    def wrap(main: Main) -> Main:
        @functools.wraps(main)
        def told(argv: Sequence[str] | None = None) -> int:
            # A path may hold what the terminal's encoding has not; stderr escapes that by itself.
            with contextlib.suppress(AttributeError):
                sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            try:
                return main(argv)
            except (UserError, Failure) as error:
                # One line, also with a file's name that has two.
                print("error:", str(error).replace("\n", "\\n"), file=sys.stderr)
                return 2 if isinstance(error, UserError) else 1
            except ModuleNotFoundError as error:
                print(f"error: {missing_package(error)}", file=sys.stderr)
                return 2
            except RuntimeError as error:
                no_room, fault = gpu_without_room(error), gpu_fault(error)
                if not (no_room or fault):
                    raise
                print(f"error: {no_room or fault}", file=sys.stderr, flush=True)
                if no_room:
                    return 2
                sys.stdout.flush()
                # what gives the GPU's memory back would wait for it
                os._exit(1)
            except KeyboardInterrupt:
                print(stopped, file=sys.stderr)
                return 130

        return told

    return wrap
