"""The command line of a tool: its docstring is the help, and a wrong flag is one line."""

from __future__ import annotations

import argparse

from options.errors import UserError


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
