"""Features of image files, computed in batches by a network that the caller passes.

network = FeatureNetwork("EfficientNet-Lite0", 1280, load, prepare)
found = measure_features(find_images("DIR"), network)
found.statistics, found.sample
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from data.images import read_image
from data.listing import list_images, most_common_reason, show_contents, visible_entries
from data.ownership import OVERVIEW
from data.transforms import normalize_planes, resize_image
from metrics.frechet import Accumulator, Statistics
from metrics.kernel import FeatureSample
from options.errors import UserError
from options.paths import existing_folder, show_path

# Those of pytorch-fid.
SUFFIXES = frozenset(
    {".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)  # fmt: skip
EFFICIENTNET_SIZE = 224
INCEPTION_SIZE = 299
BATCH_SIZE = 32
THREADS = 2  # that decode; Pillow and OpenCV release the interpreter's lock

Progress: TypeAlias = Callable[[int, int], object]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network that maps images to features.

    prepare: makes the network's input float32 (3, H, W), always of one size, from uint8 RGB
    (H, W, 3). pooled: maps a batch (n, 3, H, W) to features (n, dimensions).
    """

    name: str
    dimensions: int
    prepare: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    pooled: Callable[[NDArray[np.float32]], NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Statistics of the features of a set of images, and a sample of them (n, D) for KID.

    A file of pytorch-fid has no sample: None.
    """

    statistics: Statistics
    sample: NDArray[np.float32] | None


def find_images(folder: Path | str) -> list[Path]:
    """Return the images in a folder, sorted by name, with the suffixes of pytorch-fid.

    Images that this program wrote count as well, except its overview. Raises UserError if there
    are none.
    """
    folder = existing_folder(folder)
    found = [
        entry.path
        for entry in visible_entries(folder)
        if entry.kind in ("file", "broken")  # reading a broken link explains it
        and entry.path.suffix.lower() in SUFFIXES
        and entry.path.name != OVERVIEW
    ]
    if not found:
        unused = list_images(folder, SUFFIXES, "not one of pytorch-fid's image formats")[1]
        raise UserError(
            f"{show_path(folder)}: expected images, got {show_contents(folder)}"
            f"{most_common_reason(unused)}. Name the folder that holds them."
        )
    return found


def measure_features(
    paths: Sequence[Path],
    network: FeatureNetwork,
    progress: Progress | None = None,
    batch_size: int = BATCH_SIZE,
) -> FeatureSet:
    """Return statistics and sample of the features of image files; memory does not grow with N.

    Raises UserError for the first file that cannot be read.
    """
    accumulator, sample = Accumulator(network.dimensions), FeatureSample()
    for features in pooled_features(paths, network, progress, batch_size):
        accumulator.add(features)
        sample.add(features)
    return FeatureSet(accumulator.statistics(), sample.features())


def pooled_features(
    paths: Sequence[Path],
    network: FeatureNetwork,
    progress: Progress | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[NDArray[np.floating]]:
    """Yield the features (n, D) of image files, in their order; the last batch may be shorter.

    Raises UserError for the first file that cannot be read.
    """

    def read(path: Path) -> NDArray[np.float32]:
        return network.prepare(read_image(path))

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), batch_size):
            part = paths[start : start + batch_size]
            yield network.pooled(np.stack(list(pool.map(read, part))))
            if progress is not None:
                progress(start + len(part), len(paths))


def efficientnet_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the input of EfficientNet-Lite0, float32 (3, 224, 224) in [-1, 1].

    The image is resized by antialiased bicubic interpolation; its aspect ratio is not kept. The
    network scales to (RGB - 127) / 128.
    """
    resized = resize_image(image, EFFICIENTNET_SIZE, EFFICIENTNET_SIZE)
    return normalize_planes(resized)


def inception_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the input of Inception in pytorch-fid's protocol, float32 (3, 299, 299) in [0, 1].

    Bilinear without antialiasing, on floats, aligned by pixel centers (align_corners=False); the
    aspect ratio is not kept. The network scales to [-1, 1].
    """
    size = (INCEPTION_SIZE, INCEPTION_SIZE)
    resized = cv2.resize(image.astype(np.float32) / 255, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))
