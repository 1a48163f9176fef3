"""Compiles Jittor's core in a child process, with one line of progress.

A note in the set-up's folder records each environment for which this has succeeded.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from options.errors import UserError
from runtime.machine import digest, toolchain, write_atomically
from runtime.onednn import OneDNN
from runtime.settings import operator_header

PROGRESS = "Jittor compiles its core once (about 2 minutes on two cores) ..."
PROGRESS_DELAY = 4.0  # seconds; an import of a compiled Jittor is quicker and needs no line
_IMPORT = (
    "import glob, json, jittor; folder = jittor.compiler.cache_path; "
    "core = glob.glob(glob.escape(folder) + '/jittor_core*.so')[0]; "
    "result = dict(cache=folder, core=core, flags=jittor.flags.cc_flags); "
    "print('\\nCOMPILED ' + json.dumps(result))"
)


def compiled_cache(environ: Mapping[str, str], onednn: OneDNN | None, own: Path) -> Path | None:
    """Jittor's cache folder for these settings, None if its core is not compiled yet."""
    try:
        note = json.loads(_note(environ, onednn, own).read_text())
        cache, core = Path(note["cache"]), Path(note["core"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return cache if core.is_file() else None


def compile_core(
    environ: Mapping[str, str],
    settings: Mapping[str, str],
    onednn: OneDNN | None,
    own: Path,
    quiet: bool,
) -> Path:
    """Compiles Jittor's core by a first import, unless it is compiled; returns its cache folder.

    The import runs in a child process because it prints hundreds of lines, and because after some
    changes it exits with 0 and expects to be started again.

    Args:
        environ: the user's environment variables.
        settings: those of `settings_for`, already applied to os.environ.
        onednn: the oneDNN that Jittor uses, None for none.
        own: the set-up's folder.
        quiet: print no progress.

    Raises:
        UserError: the compilation fails; the whole log is kept.
    """
    everything = {**environ, **settings}
    cache = compiled_cache(everything, onednn, own)
    if cache:
        return cache
    note = _note(everything, onednn, own)
    log = note.with_suffix(".log")
    # with MPI's operators, but not as a rank of the parent's MPI job
    job = ("OMPI_", "PMIX_", "PMI_", "PRTE_")
    child = {name: value for name, value in os.environ.items() if not name.startswith(job)}
    child.update(log_silent="0", PYTHONUNBUFFERED="1")
    for _ in range(3):
        status, output = _run_with_progress([sys.executable, "-c", _IMPORT], child, own, quiet)
        found = re.search(r"^COMPILED (.*)$", output, re.MULTILINE)
        if found:
            compiled = json.loads(found[1])
            if "kernel_flags" in settings:
                compiler = environ.get("cc_path") or "g++"
                _precompile(compiler, operator_header(environ, own), compiled["flags"])
            write_atomically(note, found[1])
            log.unlink(missing_ok=True)
            return Path(compiled["cache"])
        if status:
            break
    write_atomically(log, output.replace("\r", "\n"))
    raise UserError(
        f"Jittor: compilation failed: {telling_line(output)} (whole log: {log}). "
        "Run `python -m tools.doctor` to check the requirements"
    )


def telling_line(output: str) -> str:
    """The most informative line of a failed program's output, without colors."""
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", output).replace("\r", "\n")
    lines = [line.strip() for line in plain.splitlines() if line.strip()] or ["no output"]
    # a compiler's first error causes the others; an exception comes last
    errors = [line for line in lines if re.search(r"error:|CUDA error", line)]
    exceptions = [line for line in lines if re.search(r"Error|Exception|Killed|No space", line)]
    return (errors[:1] or exceptions[-1:] or lines[-1:])[0][:300]


def _note(environ: Mapping[str, str], onednn: OneDNN | None, own: Path) -> Path:
    """The file that records a successful import under exactly these conditions."""
    switches = ("cache_name", "nvcc_path", "use_mkl", "use_mpi")
    flags = ("cc_flags", "nvcc_flags", "kernel_flags", "debug", "enable_lto", "use_data_gz")
    library = (onednn.folder / "lib/libmkldnn.so").stat() if onednn else None
    conditions = [
        toolchain(environ),
        [environ.get(name) for name in switches + flags],
        [library.st_size, library.st_mtime_ns] if library else None,
    ]
    return own / f"core-{digest(json.dumps(conditions))}.json"


def _precompile(compiler: str, header: Path, flags: str) -> None:
    """Compiles the operators' header once, which halves the compile time of each operator.

    Args:
        flags: those that Jittor compiles an operator with, to which its asm_tuner adds -g. If the
            flags differ, or if this fails, GCC reads the header's text instead, and the operators
            are the same.
    """
    compiled = header.with_name(header.name + ".gch")
    if compiled.is_file():
        return
    words = iter(shlex.split(flags))
    kept = []
    for word in words:
        if word == "-include":
            next(words)
        elif not word.startswith(("-l", "-L", "-Wl,", "-shared")):
            kept.append(word)
    draft = header.with_name("unfinished")
    command = [compiler, *kept, "-g", "-x", "c++-header", str(header), "-o", str(draft)]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, capture_output=True, check=True, timeout=300)
        os.replace(draft, compiled)


def _run_with_progress(
    command: list[str], environ: Mapping[str, str], folder: Path, quiet: bool
) -> tuple[int, str]:
    """Runs Jittor's compilation with one line of progress; returns exit code and output.

    It runs in `folder`, so that Python imports no module from the caller's folder.
    """
    progress = _Progress(quiet)
    output = bytearray()
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            is_open = True
            while is_open:
                if selector.select(timeout=1.0):
                    part = os.read(process.stdout.fileno(), 65536)
                    is_open = bool(part)
                    output += part
                progress.update(output)
        status = process.wait()
    finally:
        # after Ctrl-C Jittor's compile workers would otherwise wait forever
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    progress.end(status)
    return status, output.decode(errors="replace")


class _Progress:
    """The line of progress on stderr: rewritten on a terminal, printed once in a log file."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = False

    def update(self, output: bytes | bytearray) -> None:
        """Show how far the compilation is, by its output."""
        if self._quiet or time.monotonic() - self._started < PROGRESS_DELAY:
            return
        if self._terminal:
            steps = re.findall(rb"Compiling (\w+)\((\d+)/(\d+)\)", output[-4000:])
            step = b"%s %s of %s" % steps[-1] if steps else b""
            line = f"\r{PROGRESS} {step.decode()[:60]:60}"
            print(line, end="", file=sys.stderr, flush=True)
        elif not self._shown:
            print(PROGRESS, file=sys.stderr, flush=True)
        self._shown = True

    def end(self, status: int) -> None:
        """Show the outcome, if anything was shown before."""
        if not self._shown:
            return
        seconds = time.monotonic() - self._started
        outcome = f"done in {seconds:.0f} s" if status == 0 else f"failed after {seconds:.0f} s"
        line = f"\r{PROGRESS} {outcome:60}" if self._terminal else f"{PROGRESS} {outcome}"
        print(line, file=sys.stderr)
