"""Locks between processes, on file systems that may lack them (NFS without lockd, some FUSE)."""

from __future__ import annotations

import errno
import sys
from pathlib import Path


def is_held(error: OSError) -> bool:
    """Whether another process holds the lock, as opposed to a file system without locks."""
    return error.errno in (errno.EACCES, errno.EAGAIN)


def warn_of_no_locks(folder: Path, error: OSError, fix: str) -> None:
    """Warns on stderr that work in `folder` continues without a lock; `fix` is the precaution."""
    print(
        f"warning: the file system of {folder} has no locks ({error.strerror}): {fix}",
        file=sys.stderr,
        flush=True,
    )
