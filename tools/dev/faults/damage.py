"""Damages a file as disks, downloads, editors and users do; a seed chooses the damage.

    damage(path, "label", random)      # changes or replaces the file; returns the damage's name

Every kind of file can suffer the damages of any file (ANY) and those of its own format (OWN).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tools.dev.faults.any_damage import ANY, Damage, Random, noise
from tools.dev.faults.image_damage import IMAGE
from tools.dev.faults.text_damage import JSON, TEXT
from tools.dev.faults.weight_damage import TENSORS, TORCH

LARGE = 1 << 30  # bytes; a file that damage has made larger is not read

# The order of this table and of ANY decides the numbered cases.
OWN: dict[str, Sequence[Damage]] = {
    "label": IMAGE,
    "photo": IMAGE,
    "text": TEXT,
    "json": JSON,
    "tensors": TENSORS,
    "torch": TORCH,
    "any": ANY,
}


def damage(path: Path, kind: str, random: Random) -> str:
    """Damage one file in a way typical of its kind; return the name of the damage."""
    chosen = random.choice([*ANY, *OWN[kind], *OWN[kind], *OWN[kind]])
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGE:
        return "already damaged"
    try:
        chosen(path, random)
    except (OSError, ValueError, LookupError, struct.error, zipfile.BadZipFile):
        # Earlier damage has destroyed the file's format.
        chosen = noise
        chosen(path, random)
    return chosen.__name__
