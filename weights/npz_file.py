"""Arrays by name in one file: NumPy's .npz format, read without running code of the file.

arrays = read_npz("nima.npz", "Keras' arrays as .npz", "Write the file again")
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from options.errors import UserError
from options.paths import MOST_IMAGE_BYTES, open_file, path_error, show_path

# Everything that zipfile and NumPy raise for damaged files.
_BROKEN = (
    ValueError,
    EOFError,
    KeyError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(
    path: Path | str, content: str, fix: str, names: Iterable[str] | None = None
) -> dict[str, NDArray]:
    """Read the arrays of a file; of `names`, those that it has.

    content, fix: what was expected and what to do, for the error. Raises UserError if the file
    cannot be read, is damaged or of another kind, or would run code.
    """
    try:
        with open_file(path, MOST_IMAGE_BYTES) as file:
            if file.read(4) != b"PK\x03\x04":
                raise ValueError("no .npz file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                wanted = archive.files if names is None else [n for n in names if n in archive]
                arrays = {name: archive[name] for name in wanted}
                for name, array in arrays.items():
                    if not isinstance(array, np.ndarray):  # NumPy returns the bytes of the file
                        raise ValueError(f"{show_path(name)} is no array")
                return arrays
    except OSError as error:
        raise path_error(path, error, "a readable .npz file") from None
    except _BROKEN as error:
        found = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{show_path(path)}: expected {content}, got damage or another kind of file ({found}). "
            f"{fix}"
        ) from None
