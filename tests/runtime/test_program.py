from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from options.errors import Failure, UserError
from runtime.program import ToolParser, exit_codes
from runtime.stop import Interrupted

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("--size: expected 4, got 3"), 2, "error: --size: expected 4, got 3"),
        (
            ModuleNotFoundError("none", name="numpy"),
            2,
            "error: packages: expected those of requirements.txt, got no numpy",
        ),
        (
            RuntimeError("[Reason]: GPU memory is overflow, please"),
            2,
            "error: GPU: out of memory",
        ),
        (UserError("a\nb.png: expected"), 2, "error: a b.png: expected"),
        (Failure("image: not finite"), 1, "error: image: not finite"),
        (
            OSError(28, "No space left", "a/b.png"),
            1,
            "error: a/b.png: No space left. Saved files",
        ),
        (OSError(122, "Disk quota exceeded"), 1, "error: Disk quota exceeded. Saved files"),
        (KeyboardInterrupt(), 130, "stopped: nothing was written"),
        (Interrupted(signal.SIGTERM), 143, "stopped: nothing was written"),
        (Interrupted(signal.SIGHUP), 143, "stopped: nothing was written"),
        (
            ImportError("libGL.so.1: no\nsuch file", name="cv2"),
            2,
            "got cv2 that fails to import (libGL.so.1: no such file)",
        ),
        (RuntimeError("Could not determine home directory."), 2, "HOME: expected a home folder"),
        (OSError(28, "No space left on device", "a/b"), 1, "error: a/b: No space left on device"),
        (UserError("a\nb\x1b[31m\udcb7 is odd"), 2, r"error: a b\x1b[31m\udcb7 is odd"),
    ],
)
def test_every_error_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_codes(stopped="stopped: nothing was written")
    def main(argv: Sequence[str] | None = None) -> int:
        raise error

    assert main() == code
    printed = capsys.readouterr()
    assert line in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def test_a_gpu_fault_ends_the_process_and_starts_the_work_again(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from runtime.program import exit_codes
from runtime.supervise import supervise

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
    assert first.startswith("error: GPU: failed with cudaErrorLaunchFailure.")
    assert "starting again" in second


def test_other_codes_flags_and_errors_pass() -> None:
    @exit_codes(stopped="stopped")
    def main(argv: Sequence[str] | None = None) -> int:
        """Does some work."""
        return int((argv or ["1"])[0])

    assert (main(), main(["7"])) == (1, 7)
    assert main.__doc__ == "Does some work."
    with pytest.raises(ValueError, match="invalid literal"):
        main(["seven"])

    @exit_codes(stopped="stopped")
    def fails(argv: Sequence[str] | None = None) -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        fails()


def test_an_invalid_flag_of_a_tool_raises_one_line() -> None:
    with pytest.raises(UserError, match=r"unrecognized arguments: --sizes\. See --help"):
        ToolParser("name", "Does some work.").parse_args(["--sizes"])


TOOLS = [
    "runtime.set_up",
    *(
        f"tools.{name}"
        for name in (
            *("convert_checkpoint", "doctor", "evaluate_filter", "filter_dataset"),
            *("make_demo_data", "dev.benchmark", "dev.cuda_build", "dev.gpu_acceptance"),
            "dev.imitate_gpu",
        )
    ),
]


class Parsed(Exception):
    """The flags are valid; the tool itself does not run."""


VALUES = [
    *("", " ", "-", "--", "-1", "0", "3", "0.5", "1e30", "nan", "-inf", "9" * 400, "9" * 5000),
    *(
        "1_0",
        "٣",
        "true",
        "..",
        "/",
        "~nobody/x",
        "x" * 5000,
        "a\0b",
        "a\nb",
        "\udcb7",
        "风景",
        "%s",
    ),
    *("speed", "loader", "timing", "ema", "torch", "cpu", "spade", "@file"),
]


@pytest.mark.parametrize("name", TOOLS)
def test_any_input_is_flags_or_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = importlib.import_module(name)
    flags: set[str] = set()
    parse = ToolParser.parse_args

    def parse_args(parser: ToolParser, argv: Any = None, namespace: Any = None) -> Any:
        flags.update(flag for action in parser._actions for flag in action.option_strings)
        parse(parser, argv)
        raise Parsed

    monkeypatch.setattr(ToolParser, "parse_args", parse_args)
    random = Random(7)
    for _ in range(400):
        argv = []
        for _ in range(random.randrange(4)):
            flag = random.choice([*sorted(flags), "--input_path", "--nothing"])
            value = random.choice(VALUES)
            argv += random.choice(([flag, value], [f"{flag}={value}"], [flag], [value]))
        try:
            code = tool.main(argv)
        except Parsed:
            continue
        except SystemExit as done:
            assert done.code == 0 and {"-h", "--help"} & set(argv), argv
            capsys.readouterr()
            continue
        errors = capsys.readouterr().err
        assert code == 2 and errors.startswith("error: "), argv
        assert len(errors.splitlines()) == 1 and len(errors) < 500, argv


def test_a_path_of_any_bytes_is_printed() -> None:
    code = """
from runtime.program import exit_codes

@exit_codes(stopped="stopped")
def main(argv=None):
    print("written: \\udcba\\udcfe \\u6e56")
    return 0

raise SystemExit(main())
"""
    for encoding, shown in (("utf-8", "\\udcba\\udcfe 湖"), ("ascii", "\\udcba\\udcfe \\u6e56")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
        assert done.stdout.decode() == f"written: {shown}\n", done.stderr
