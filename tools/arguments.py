"""The command line of a program: a tool's docstring is its help, and a wrong flag is one line."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from options.errors import (
    UserError,
    broken_package,
    gpu_fault,
    gpu_without_room,
    missing_package,
    no_home,
)
from tools.process import check_surroundings, prepare_process
from training.stop import Interrupted, interrupt_on_signal

Main: TypeAlias = Callable[..., int]
# the project's own packages, whose faults are the program's
FLOORS = ("options", "data", "models", "training", "tools")


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
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            except ModuleNotFoundError as error:
                print(f"error: {missing_package(error)}", file=sys.stderr)
                return 2
            except ImportError as error:
                if (error.name or "").partition(".")[0] in FLOORS:
                    raise
                print(f"error: {broken_package(error)}", file=sys.stderr)
                return 2
            except OSError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            except RuntimeError as error:
                mend, fault = no_home(error) or gpu_without_room(error), gpu_fault(error)
                if not (mend or fault):
                    raise
                print(f"error: {mend or fault}", file=sys.stderr, flush=True)
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
