"""Turns errors of packages, of the home folder and of CUDA into one line with a fix.

    gpu_out_of_memory(error)     # the line, or None if the error is another one

Standard library only: a package may be missing.
"""

from __future__ import annotations

import re

# How Jittor 1.3.11 words an allocation that failed, and a GPU that no longer answers.
OUT_OF_MEMORY = re.compile(
    r"Unable to alloc cuda device memory[^\n\x1b]*|GPU memory is overflow"
    r"|cudaErrorMemoryAllocation|\w*STATUS_ALLOC_FAILED"
)
FAULT = re.compile(r"CUDA error at[^(]*\(\s*(cudaError\w+|\w+_(?:EXECUTION_FAILED|INTERNAL_ERROR))")


def missing_package(error: ModuleNotFoundError) -> str:
    """The line for a package of requirements.txt that is not installed."""
    return (
        f"packages: expected those of requirements.txt, got no {error.name}. "
        "Run `bash train.sh`, which installs them, and use .venv/bin/python"
    )


def broken_package(error: ImportError) -> str:
    """The line for a package that is installed and fails to import."""
    reason = " ".join(str(error).split())[:200]
    place = f", {error.path}" if error.path else ""
    return (
        f"packages: expected builds for this Python, got {error.name or 'one'} that fails to "
        f"import ({reason}{place}). Run `python -m tools.doctor` for details, or remove .venv and "
        "run `bash train.sh`"
    )


def no_home(error: RuntimeError) -> str | None:
    """The line if pathlib finds no home folder; None for any other error."""
    if "home directory" not in str(error):
        return None
    return (
        "HOME: expected a home folder, for Jittor's cache and for paths that start with ~, got "
        "none. Name one that you can write to, e.g. HOME=/tmp/home bash train.sh, and write paths "
        "in full"
    )


def gpu_out_of_memory(error: RuntimeError) -> str | None:
    """The line if Jittor's allocation on the GPU failed; None for any other error."""
    found = OUT_OF_MEMORY.search(str(error))
    return found and (
        f"GPU: out of memory, one batch does not fit ({found[0].strip()}). Use smaller batches (in "
        "training: your own schedule), smaller images or several GPUs (see docs/gpu.md); saved "
        "checkpoints are kept"
    )


def gpu_fault(error: RuntimeError) -> str | None:
    """The line if the GPU or its driver failed; None for any other error.

    The process can compute nothing more on the GPU; a new process often can.
    """
    found = FAULT.search(str(error))
    return found and f"GPU: failed with {found[1]}. See nvidia-smi and dmesg for the cause"
