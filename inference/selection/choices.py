"""The choices of a selection: best checkpoint, averages, variants per layout, runs per class.

Each of them sees only the choosing segmenter, the distance from the photos and the layouts that may
choose. What they find is an `ImageSet`; the judge measures it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import class_names
from inference.blending import blend_regions
from inference.selection.gallery import Gallery
from inference.selection.generators import Generator
from inference.selection.measures import Measurer, Network, Quality
from metrics.image_counts import ImageCounts
from metrics.selection import best_variants, swap_in_blocks
from runtime.progress import ProgressBar

IMAGE_MARGIN = 0.01  # of the share of equal pixels, that an image of another variant must gain
REGION_MARGIN = 0.02  # of a class's accuracy, that another run must gain


@dataclass(frozen=True)
class Origin:
    """The generator and the seed that an image comes from."""

    generator: Generator
    seed: int

    @property
    def label(self) -> str:
        """A name for tables."""
        return f"{self.generator.run}, {self.generator.label}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """An image per layout, with the measures that choices see.

    Attributes:
        origins: where each image comes from, regions apart.
        quality: the measures that choices compare.
        regions: class -> run whose pixels all images have on that class.
    """

    label: str
    paths: list[Path]
    origins: list[Origin]
    counts: ImageCounts
    features: NDArray[np.floating]
    quality: Quality
    regions: Mapping[int, str] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """The origin of all images of a candidate, whose images have one."""
        return self.origins[0]


class Selector:
    """Makes the choices; `candidates` and `notes` record what was measured and decided.

    chooser: the segmenter that chooses. rows: the layouts that choices may see. say: prints a line.
    """

    def __init__(
        self,
        gallery: Gallery,
        measurer: Measurer,
        chooser: Network,
        rows: NDArray[np.integer],
        say: Callable[[str], object],
    ) -> None:
        self.gallery = gallery
        self.measurer = measurer
        self.chooser = chooser
        self.rows = rows
        self.candidates: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._say = say

    def note(self, line: str) -> None:
        """Record and print a line about a decision."""
        self.notes.append(line)
        self._say(line)

    def candidate(self, generator: Generator, seed: int) -> ImageSet:
        """Generate and measure the images of a generator and a seed."""
        origin = Origin(generator, seed)
        paths = self.gallery.generate(generator, seed)
        return self.measure(origin.label, paths, [origin] * len(paths))

    def measure(
        self,
        label: str,
        paths: list[Path],
        origins: list[Origin],
        regions: Mapping[int, str] | None = None,
    ) -> ImageSet:
        """Measure images, record them as a candidate and print its numbers."""
        counts = self.measurer.counts(self.chooser, paths, label)
        features = self.measurer.features(paths, label)
        return self.record(label, paths, origins, counts, features, regions or {})

    def record(
        self,
        label: str,
        paths: list[Path],
        origins: list[Origin],
        counts: ImageCounts,
        features: NDArray[np.floating],
        regions: Mapping[int, str],
    ) -> ImageSet:
        """Record measured images as a candidate, print its numbers and return it."""
        found = self.measurer.quality(counts, features, self.rows)
        name = "FID" if found.is_fid else "FD-EffNet"
        self.candidates.append(
            {
                "candidate": label,
                "mask_accuracy": found.mask_accuracy,
                name: found.distance,
                "objective": found.objective,
                "layouts": found.images,
            }
        )
        self._say(
            f"{label}: mask accuracy {found.mask_accuracy:.4f}, {name} {found.distance:.3f}"
            f" (choosing segmenter, {found.images} layouts)"
        )
        return ImageSet(label, paths, origins, counts, features, found, regions)

    def best(self, sets: Iterable[ImageSet], count: int) -> tuple[list[ImageSet], ImageSet]:
        """Return the best `count` of one run's candidates, the best first, and the last one.

        Of equal ones the later comes first. Only these are kept in memory.
        """
        kept: list[ImageSet] = []
        for images in sets:
            worse = (not one.quality.is_better_than(images.quality) for one in kept)
            place = next((index for index, passed in enumerate(worse) if passed), len(kept))
            kept.insert(place, images)
            del kept[count:]
        return kept, images

    def average(
        self, ordered: Sequence[ImageSet], make: Callable[[list[Generator]], Generator]
    ) -> ImageSet:
        """Average the best checkpoint with the next ones, as long as that is better.

        ordered: candidates of one run, the best first. A checkpoint whose average is no better is
        left out. make: `make_average`, with its settings.
        """
        best = ordered[0]
        members = [best.origin.generator]
        for other in ordered[1:]:
            generator = make([*members, other.origin.generator])
            trial = self.candidate(generator, best.origin.seed)
            if trial.quality.is_better_than(best.quality):
                best = trial
                members.append(other.origin.generator)
        return best

    def choose_variants(self, base: ImageSet, variants: Sequence[ImageSet]) -> ImageSet:
        """Take the variant with the best share per layout, in blocks that keep the distance.

        The images of `base` stay unless a variant gains `IMAGE_MARGIN` or more.
        """
        sets = [base, *variants]
        shares = np.stack([one.counts.shares for one in sets])
        start = np.zeros(shares.shape[1], np.int64)
        wanted = best_variants(shares, start, IMAGE_MARGIN)
        columns = np.arange(len(start))
        gains = shares[wanted, columns] - shares[start, columns]
        features = [one.features for one in sets]
        with ProgressBar("swapping images", "blocks") as show:
            swaps = swap_in_blocks(
                features, start, wanted, gains, self.measurer.photos, progress=show
            )
        changed = int((swaps.choice != start).sum())
        self.note(
            f"per image: {int((wanted != start).sum())} of {len(start)} layouts gain "
            f"{IMAGE_MARGIN:g} or more with another image; replaced: {changed}, in {swaps.kept} of "
            f"{swaps.tried} blocks; distance {swaps.before:.3f} -> {swaps.after:.3f}"
        )
        if not changed:
            return base
        rows = list(enumerate(swaps.choice))
        return self.record(
            f"per image, images replaced: {changed}",
            [sets[one].paths[row] for row, one in rows],
            [sets[one].origins[row] for row, one in rows],
            ImageCounts(
                np.stack([sets[one].counts.correct[row] for row, one in rows]),
                np.stack([sets[one].counts.pixels[row] for row, one in rows]),
            ),
            np.stack([sets[one].features[row] for row, one in rows]),
            {},
        )

    def choose_regions(
        self, images: ImageSet, base: ImageSet, others: Mapping[str, ImageSet], feather: float
    ) -> ImageSet:
        """Take the pixels of other runs on the classes that they draw better, if that improves.

        base: the candidate that classes are compared with. others: the candidate of each other run.
        feather: see `blend_regions`.
        """
        taken = self._better_classes(base, others)
        if not taken:
            self.note(f"regions: no run gains {REGION_MARGIN:g} or more on a class")
            return images
        runs = sorted(set(taken.values()))
        sizes = self._image_size(images)

        def owners(row: int) -> NDArray[np.int64]:
            layout = self.measurer.classes.read(self.measurer.layouts[row], *sizes)
            owner = np.zeros(layout.shape, np.int64)
            for one, run in taken.items():
                owner[layout == one] = 1 + runs.index(run)
            return owner

        sources = [
            [path, *(others[run].paths[row] for run in runs)] if owners(row).any() else [path]
            for row, path in enumerate(images.paths)
        ]
        paths = self.gallery.mix(
            [sorted(taken.items()), feather],
            sources,
            lambda row, parts: blend_regions(parts, owners(row), feather),
        )
        names = class_names(self.measurer.classes.count)
        parts = ", ".join(f"{names[one]} of {run}" for one, run in taken.items())
        mixed = self.measure(f"regions, {parts}", paths, images.origins, taken)
        if mixed.quality.is_better_than(images.quality):
            return mixed
        self.note("regions: the mixed images are no better; they are left out")
        return images

    def _better_classes(self, base: ImageSet, others: Mapping[str, ImageSet]) -> dict[int, str]:
        """Class -> the run with the best accuracy on it, if that gains `REGION_MARGIN` or more."""
        own = base.counts.take(self.rows).class_accuracies
        found: dict[int, tuple[float, str]] = {}
        for run, images in others.items():
            gains = images.counts.take(self.rows).class_accuracies - own
            for one, gain in enumerate(gains):  # NaN: a class without pixels is below any margin
                if gain >= REGION_MARGIN and gain > found.get(one, (0.0, ""))[0]:
                    found[one] = (float(gain), run)
        return {one: run for one, (_, run) in sorted(found.items())}

    def _image_size(self, images: ImageSet) -> tuple[int, int]:
        run = images.origin.generator.run
        return self.gallery.plans[run].size
