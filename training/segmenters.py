"""The frozen segmenters of a run: one for its losses, and one that watches whether images fool it.

segmenters = load_segmenters(options, state, log)
referee = Referee(segmenters, log)
referee.report(images, photos, layouts, step)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jittor as jt
import numpy as np
from jittor import nn
from numpy.typing import NDArray

from metrics.segmentation import SegmentationCounts
from options.errors import UserError
from options.paths import expand
from options.train import RunOptions
from training.checkpoint import State
from training.log import Log
from weights.pretrained import digest
from weights.segmenters import load_segmenter

# Of mask accuracy, by which the segmenters' gap may exceed their gap on photos.
TOLERATED = 0.05


@dataclass(frozen=True)
class Segmenters:
    """The segmenters of a run, in evaluation mode.

    Attributes:
        first: the segmenter of the losses; None without such losses.
        second: the segmenter that no loss uses; None without one.
        digests: of their weights, by the names of their options.
    """

    first: nn.Module | None = None
    second: nn.Module | None = None
    digests: dict[str, str] = field(default_factory=dict)


def load_segmenters(options: RunOptions, state: State | None, log: Log) -> Segmenters:
    """Load the segmenters that the options name; logs whether they have changed since `state`.

    Raises UserError if a file is no segmenter, or if images are too small for it.
    """
    networks: dict[str, nn.Module] = {}
    digests: dict[str, str] = {}
    for name in ("segmenter", "second_segmenter"):
        file = getattr(options.loss, name)
        if file is None:
            continue
        network = load_segmenter(expand(file))
        _check_size(network, options, file)
        networks[name] = network
        digests[name] = digest({n: var.numpy() for n, var in network.state_dict().items()})
        if state is not None and state.extra.get(name) not in (None, digests[name]):
            log.info(f"the segmenter in {file} differs from the one that this run began with")
    if options.loss.lambda_segmentation and "second_segmenter" not in networks:
        log.info(
            "images learn to fool a frozen segmenter within a few thousand steps; "
            "--second-segmenter FILE watches for that"
        )
    return Segmenters(networks.get("segmenter"), networks.get("second_segmenter"), digests)


def _check_size(network: nn.Module, options: RunOptions, file: str) -> None:
    """Check that a segmenter takes the smallest images of the run; UserError if not."""
    divisor = 1 + options.generator.spec.half_size_stage
    size = (options.data.height // divisor, options.data.width // divisor)
    try:
        network.encoder(jt.zeros((1, 3, *size)))
    except ValueError as error:
        raise UserError(f"{file}: {error}. Train at a larger --size") from None


class Referee:
    """Compares the mask accuracies of both segmenters on the samples of a run."""

    def __init__(self, segmenters: Segmenters, log: Log) -> None:
        self.networks = (segmenters.first, segmenters.second)
        self.log = log
        self._gap_on_photos: float | None = None

    def report(
        self,
        images: Sequence[NDArray[np.float32]],
        photos: Sequence[NDArray[np.float32]],
        layouts: NDArray[np.int32],
        step: int,
    ) -> None:
        """Log both mask accuracies of the images, and a warning if the segmenters part.

        The second segmenter may be the weaker one. Their gap on the photos of the samples, measured
        once, is therefore subtracted.

        images, photos: (3, H, W) in [-1, 1] each; layouts: (N, H, W).
        """
        if self._gap_on_photos is None:
            first, second = self._measure(photos, layouts)
            self._gap_on_photos = first - second
            self.log.info(
                f"mask accuracy of the samples' photos: {first:.3f} by the segmenter, {second:.3f} "
                "by the second one"
            )
        first, second = self._measure(images, layouts)
        self.log.info(
            f"mask accuracy of the samples at step {step}: {first:.3f} by the segmenter, "
            f"{second:.3f} by the second one"
        )
        parted = first - second - self._gap_on_photos
        if parted > TOLERATED:
            self.log.info(
                f"warning: the segmenters' gap is {parted:.3f} above that on photos (tolerated: "
                f"{TOLERATED:g}): the images may fool the first one. Stop, or "
                "lower --lambda-segmentation"
            )

    def _measure(
        self, images: Sequence[NDArray[np.float32]], layouts: NDArray[np.int32]
    ) -> tuple[float, float]:
        """The mask accuracy of the images by each segmenter."""
        first, second = (mask_accuracy(network, images, layouts) for network in self.networks)
        return first, second


def mask_accuracy(
    network: nn.Module, images: Sequence[NDArray[np.float32]], layouts: NDArray[np.int32]
) -> float:
    """The mask accuracy by a segmenter of images (3, H, W) in [-1, 1] and layouts (N, H, W)."""
    counts = SegmentationCounts(network.classes)
    for image, layout in zip(images, layouts, strict=True):
        with jt.no_grad():
            predicted = network.segment(jt.array(image[None])).numpy()
        counts.add(layout, predicted[0])
    return counts.mask_accuracy
