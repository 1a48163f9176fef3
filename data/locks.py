"""Locks between processes, on file systems that may have none (NFS without lockd, some FUSE)."""

from __future__ import annotations

import errno
import sys
from pathlib import Path


def is_held(error: OSError) -> bool:
    """Whether another process has the lock, rather than the file system none to give."""
    return error.errno in (errno.EACCES, errno.EAGAIN)


def warn_of_no_locks(folder: Path, error: OSError, mend: str) -> None:
    """Say on stderr that the work goes on in `folder` without a lock; `mend` is what to avoid."""
    print(
        f"warning: the file system of {folder} has no locks ({error.strerror}): {mend}",
        file=sys.stderr,
        flush=True,
    )
