from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from options.errors import UserError
from tools.arguments import ToolParser, exit_codes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("a size must be even: 3; write 4"), 2, "error: a size must be even: 3; write 4"),
        (ModuleNotFoundError("none", name="numpy"), 2, "must be installed, numpy is not"),
        (
            RuntimeError("[Reason]: GPU memory is overflow, please"),
            2,
            "error: the GPU's memory must",
        ),
        (
            OSError(28, "No space left", "a/b.png"),
            1,
            "error: a/b.png: No space left; what is saved",
        ),
        (OSError(122, "Disk quota exceeded"), 1, "error: Disk quota exceeded; what is saved"),
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


def test_a_gpu_that_failed_ends_the_process_and_the_work_is_started_again(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tools.arguments import exit_codes
from tools.supervise import supervise

@exit_codes(stopped="stopped")
def main(argv=None):
    with Path(sys.argv[1]).open("a") as starts:
        starts.write("x")
    if Path(sys.argv[1]).read_text() == "x":
        raise RuntimeError("[f] CUDA error at op.cc:8 code=719( cudaErrorLaunchFailure ) sync")
    return 0

sys.exit(supervise(main))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "starts")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "starts").read_text() == "xx"
    first, second = done.stderr.splitlines()
    assert first.startswith("error: the GPU failed with cudaErrorLaunchFailure;")
    assert "starting again" in second


def test_other_codes_flags_and_faults_pass() -> None:
    @exit_codes(stopped="stopped")
    def main(argv: Sequence[str] | None = None) -> int:
        """What the program does."""
        return int((argv or ["1"])[0])

    assert (main(), main(["7"])) == (1, 7)
    assert main.__doc__ == "What the program does."
    with pytest.raises(ValueError, match="invalid literal"):
        main(["seven"])

    @exit_codes(stopped="stopped")
    def fails(argv: Sequence[str] | None = None) -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        fails()

    @exit_codes(stopped="stopped")
    def asks(argv: Sequence[str] | None = None) -> int:
        raise FileNotFoundError(2, "No such file", "a.txt")

    with pytest.raises(FileNotFoundError):
        asks()


def test_a_wrong_flag_of_a_tool_raises_one_line() -> None:
    with pytest.raises(UserError, match="unrecognized arguments: --sizes; --help lists the flags"):
        ToolParser("name", "What it does.").parse_args(["--sizes"])
