from __future__ import annotations

from collections.abc import Sequence

import pytest

from options.errors import UserError
from tools.arguments import ToolParser, exit_codes


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("a size must be even: 3; write 4"), 2, "error: a size must be even: 3; write 4"),
        (ModuleNotFoundError("none", name="numpy"), 2, "must be installed, numpy is not"),
        (KeyboardInterrupt(), 130, "stopped: nothing was written"),
    ],
)
def test_what_ends_a_program_is_one_line(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_codes(stopped="stopped: nothing was written")
    def main(argv: Sequence[str] | None = None) -> int:
        raise error

    assert main() == code
    printed = capsys.readouterr()
    assert said in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def test_other_codes_flags_and_faults_pass() -> None:
    @exit_codes(stopped="stopped")
    def main(argv: Sequence[str] | None = None) -> int:
        """What the program does."""
        return int((argv or ["1"])[0])

    assert (main(), main(["7"])) == (1, 7)
    assert main.__doc__ == "What the program does."
    with pytest.raises(ValueError, match="invalid literal"):
        main(["seven"])


def test_a_wrong_flag_of_a_tool_raises_one_line() -> None:
    with pytest.raises(UserError, match="unrecognized arguments: --sizes; --help lists the flags"):
        ToolParser("name", "What it does.").parse_args(["--sizes"])
