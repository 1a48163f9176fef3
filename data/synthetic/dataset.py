"""A folder of synthetic pairs in the contest's form; an interrupted set can be completed.

DIR/train/imgs/<stem>.jpg       images, JPEG of quality 95
DIR/train/labels/<stem>.png     layouts, 16-bit gray
DIR/val/labels/<stem>.png       test layouts of other scenes
DIR/label_to_img.json           test layout -> training image of its style
DIR/demo_data.json              arguments of the set; marks the folder as the program's
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
from data.synthetic.pair import LARGEST, SMALLEST, render_pair, style_of
from data.workers import Progress, run_all
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes
from runtime.progress import ProgressBar

# Increase when the same seed renders other images than before.
VERSION = 1
MARKER = "demo_data.json"
TABLE = "label_to_img.json"
_UNFINISHED = re.compile(r"\.demo_\d+_\d{6,}\.(jpg|png)\.\d+\.tmp")
IMAGES, LABELS, TEST_LABELS = "train/imgs", "train/labels", "val/labels"
QUALITY = 95


@dataclass(frozen=True)
class DemoSet:
    """The arguments that determine a demo dataset; height, width in pixels."""

    seed: int
    count: int
    test_count: int
    height: int
    width: int
    version: int = VERSION

    def check(self) -> None:
        """Raise UserError if an argument is out of range."""
        for name, least in (("count", 1), ("test_count", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"--{name}: expected {least} or more, got {value}.")
        if min(self.height, self.width) < SMALLEST or max(self.height, self.width) > LARGEST:
            raise UserError(
                f"--size: expected sides of {SMALLEST} to {LARGEST} pixels, got "
                f"{self.height} x {self.width} (e.g. --size 384 512)."
            )

    def stem(self, index: int) -> str:
        """Return the stem of pair `index`; test layouts follow the training pairs."""
        return f"demo_{self.seed}_{index:06d}"

    def files_of(self, index: int) -> list[str]:
        """Return the files of a pair, relative to the folder of the set."""
        stem = self.stem(index)
        if index >= self.count:
            return [f"{TEST_LABELS}/{stem}.png"]
        return [f"{LABELS}/{stem}.png", f"{IMAGES}/{stem}.jpg"]

    def table(self) -> dict[str, str]:
        """Return test layout -> training image, with the styles in turn."""
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
    """Render the missing pairs of the set in folder `root`; return their number.

    Raises UserError if the folder holds other files or another set.
    """
    wanted.check()
    with _user_errors():
        _check_folder(root, wanted)
        root.mkdir(parents=True, exist_ok=True)
        with alone_in(root):
            # Again: another process may have started in the meantime.
            _check_folder(root, wanted)
            return _complete(root, wanted, workers, progress)


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    """Turn errors of the file system into UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--output_path: expected a writable folder for the demo dataset, got: {error}. Free "
            "some space or name another folder."
        ) from error


def _check_folder(root: Path, wanted: DemoSet) -> None:
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: expected a folder, got a file. Name another folder.")
    if not root.is_dir() or not any(root.iterdir()):
        return
    found = _read_marker(root / MARKER)
    if found is None:
        raise UserError(
            f"{root}: expected a new or empty folder or a demo dataset, got a folder with "
            "something else. Name another folder."
        )
    if found != asdict(wanted):
        differing = [
            f"{name} {found.get(name)} instead of {value}"
            for name, value in asdict(wanted).items()
            if found.get(name) != value
        ]
        raise UserError(
            f"{root}: expected the demo dataset of these arguments, got another one "
            f"({', '.join(differing)}). Name another folder or remove this one."
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
                # The temporary file of a killed process.
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
    """Return the function that renders and writes one pair."""

    def write(index: int) -> None:
        image, layout, _ = render_pair(wanted.seed, index, wanted.height, wanted.width)
        for name in wanted.files_of(index):
            if os.path.lexists(root / name):
                continue  # the other file of the pair was missing
            if name.endswith(".jpg"):
                options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
                content = _encoded(".jpg", image[:, :, ::-1], options)
            else:
                content = _encoded(".png", layout.astype(np.uint16), [])
            # Here too: from a helper process an OSError comes back as a traceback.
            with _user_errors():
                write_bytes(root / name, content, durable=False)

    return write


def _encoded(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    done, code = cv2.imencode(suffix, pixels, options)
    if not done:
        raise RuntimeError(f"OpenCV cannot encode a {suffix} of shape {pixels.shape}")
    return code.tobytes()


def _as_json(content: object) -> str:
    return json.dumps(content, indent=1) + "\n"


def make_demo_dataset(
    output_path: Path | str,
    count: int = 300,
    test_count: int | None = None,
    height: int = 384,
    width: int = 512,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Render the demo dataset into a folder; return the number of pairs that were missing.

    test_count: test layouts; None is a tenth of `count`, at least 1. height, width: pixels.
    workers: processes; None is one per core. The files do not depend on it.

    Raises UserError if the folder holds something else, or if an argument is out of range.
    """
    if test_count is None:
        test_count = max(1, count // 10)
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 0:
        raise UserError(f"--workers: expected 0 or more, got {workers} (e.g. --workers 2).")
    wanted = DemoSet(seed, count, test_count, height, width)
    with ProgressBar("rendering", "pairs") as show:
        root = Path(output_path).expanduser()
        return write_dataset(root, wanted, workers, show if progress else None)
