"""A folder of drawn pairs in the contest's own form, written so that a stop does no harm.

DIR/train/imgs/<stem>.jpg       pictures, JPEG of quality 95
DIR/train/labels/<stem>.png     layouts, 16-bit grey
DIR/val/labels/<stem>.png       test layouts, other scenes
DIR/label_to_img.json           test layout -> the training picture whose style to take
DIR/demo_data.json              what the set was drawn from: how the folder is known as ours
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from data.files import alone_in, write_bytes, write_text
from data.synthetic.noise import stream
from data.synthetic.picture import LARGEST, SMALLEST, draw_pair, style_of
from data.workers import Progress, run_all
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes

# Raised whenever the same seed draws other pictures than before.
VERSION = 1
MARKER = "demo_data.json"
TABLE = "label_to_img.json"
_UNFINISHED = re.compile(r"\.demo_\d+_\d{6,}\.(jpg|png)\.\d+\.tmp")
IMAGES, LABELS, TEST_LABELS = "train/imgs", "train/labels", "val/labels"
QUALITY = 95


@dataclass(frozen=True)
class DemoSet:
    """What determines a drawn dataset; height, width in pixels."""

    seed: int
    count: int
    test_count: int
    height: int
    width: int
    version: int = VERSION

    def check(self) -> None:
        """Raise UserError where a set like this cannot be drawn."""
        for name, least in (("count", 1), ("test_count", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"{name} must be {least} or more: {value}; name another")
        if min(self.height, self.width) < SMALLEST or max(self.height, self.width) > LARGEST:
            raise UserError(
                f"sides of a picture must be {SMALLEST} to {LARGEST} pixels: "
                f"{self.height} x {self.width}; name another size"
            )

    def stem(self, index: int) -> str:
        """The name of pair `index`; test layouts follow the training pairs."""
        return f"demo_{self.seed}_{index:06d}"

    def files_of(self, index: int) -> list[str]:
        """The files of a pair, from the set's folder."""
        stem = self.stem(index)
        if index >= self.count:
            return [f"{TEST_LABELS}/{stem}.png"]
        return [f"{LABELS}/{stem}.png", f"{IMAGES}/{stem}.jpg"]

    def table(self) -> dict[str, str]:
        """Test layout -> training picture; as many styles as there are take turns."""
        rng = stream(self.seed, self.count, "table")
        by_style: dict[str, list[int]] = {}
        for index in range(self.count):
            by_style.setdefault(style_of(self.seed, index), []).append(index)
        styles = sorted(by_style)
        rng.shuffle(styles)
        return {
            f"{self.stem(self.count + test)}.png": (
                f"{self.stem(int(rng.choice(by_style[styles[test % len(styles)]])))}.jpg"
            )
            for test in range(self.test_count)
        }


def write_dataset(root: Path, wanted: DemoSet, workers: int, progress: Progress | None) -> int:
    """Draw what is missing of the set in folder `root`; returns how many pairs were drawn.

    Raises UserError where the folder holds something that this did not make, or another set.
    """
    wanted.check()
    with _user_mends():
        _check_folder(root, wanted)
        root.mkdir(parents=True, exist_ok=True)
        with alone_in(root):
            # Looked at again: another process may have begun meanwhile.
            _check_folder(root, wanted)
            return _complete(root, wanted, workers, progress)


@contextlib.contextmanager
def _user_mends() -> Iterator[None]:
    """Turn what the file system refuses into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the demo dataset's folder must be writable: {error}; make room or name another folder"
        ) from error


def _check_folder(root: Path, wanted: DemoSet) -> None:
    if root.exists() and not root.is_dir():
        raise UserError(f"the demo dataset needs a folder: {root} is a file; name another folder")
    if not root.is_dir() or not any(root.iterdir()):
        return
    found = _read_marker(root / MARKER)
    if found is None:
        raise UserError(
            f"the demo dataset is drawn into a new or empty folder or its own: {root} holds "
            "something else; name another folder"
        )
    if found != asdict(wanted):
        differing = [
            f"{name} {found.get(name)} there, {value} asked"
            for name, value in asdict(wanted).items()
            if found.get(name) != value
        ]
        raise UserError(
            f"a folder holds one demo dataset: {root} has another ({', '.join(differing)}); "
            "name another folder or remove it"
        )


def _read_marker(path: Path) -> dict[str, object] | None:
    try:
        found = parse_json(read_bytes(path))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "seed" in found and "version" in found else None


def _complete(root: Path, wanted: DemoSet, workers: int, progress: Progress | None) -> int:
    if not (root / MARKER).is_file():
        write_text(root / MARKER, _as_json(asdict(wanted)))
    present: set[str] = set()
    for folder in (IMAGES, LABELS, TEST_LABELS):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for entry in os.scandir(root / folder):
            if _UNFINISHED.fullmatch(entry.name):
                # What a killed process left unfinished.
                os.unlink(entry.path)
            else:
                present.add(f"{folder}/{entry.name}")
    missing = [
        index
        for index in range(wanted.count + wanted.test_count)
        if not present.issuperset(wanted.files_of(index))
    ]
    if missing:
        run_all(_writer, (root, wanted), missing, workers=workers, progress=progress)
    if not os.path.lexists(root / TABLE):
        write_text(root / TABLE, _as_json(wanted.table()))
    return len(missing)


def _writer(root: Path, wanted: DemoSet) -> Callable[[int], None]:
    """Make the function that draws and writes one pair."""

    def write(index: int) -> None:
        image, layout, _ = draw_pair(wanted.seed, index, wanted.height, wanted.width)
        for name in wanted.files_of(index):
            if os.path.lexists(root / name):
                continue  # the other file of the pair was missing
            if name.endswith(".jpg"):
                options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
                content = _encoded(".jpg", image[:, :, ::-1], options)
            else:
                content = _encoded(".png", layout.astype(np.uint16), [])
            # In a helper process too, where an OSError would come back as a traceback.
            with _user_mends():
                write_bytes(root / name, content, durable=False)

    return write


def _encoded(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    done, code = cv2.imencode(suffix, pixels, options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a {suffix} of {pixels.shape}")
    return code.tobytes()


def _as_json(content: object) -> str:
    return json.dumps(content, indent=1) + "\n"
