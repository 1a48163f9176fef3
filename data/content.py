"""The training data of a task: paired layouts, or unpaired photos, behind one interface.

    dataset = find_dataset(options.data)            # finds the files; raises UserError
    checked = dataset.check(cache_path, progress)   # decodes them
    with dataset.loader(checked.items, checked.styles, batch_size=2) as loader:
        ...

A new kind of dataset is a class here and a task in options.generators.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

from data.check import Report, check_pairs, check_photos
from data.folders import (
    CONTENT,
    STYLE,
    LayoutFolder,
    Pair,
    PairFolder,
    Photo,
    find_content,
    find_pairs,
    find_test_layouts,
    find_unpaired,
)
from data.held_out import VALIDATION, find_validation_pairs, split_pairs
from data.label_ids import recognize_first_id
from data.listing import Unused, describe_unused
from data.loader import Batch, BatchLoader
from data.random_crops import CropRecipe
from data.selections import (
    Missed,
    find_misses,
    require_matches,
    select_pairs,
    selections_folder,
    subsets_to_make,
)
from data.workers import Progress
from options.errors import UserError
from options.groups import DataOptions

Item: TypeAlias = Pair | Photo
# Called with a noun and a total; shows the progress inside a `with` block.
ShowProgress: TypeAlias = Callable[[str, int], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class CheckedItems:
    """The good items of a dataset, and the reports on all of its files.

    `items` are pairs, or the content photos of unpaired data, and `styles` the style photos.
    `held_out` are pairs that a segmenter is measured on.
    """

    items: Sequence[Item]
    styles: Sequence[Photo]
    reports: Sequence[Report]
    held_out: Sequence[Pair] = ()

    def require(self, bad_pair_limit: float, saved_at: Path) -> None:
        """Raise UserError if a report has more bad files than the limit."""
        for report in self.reports:
            report.require(bad_pair_limit, saved_at)

    @property
    def bad_stems(self) -> set[str]:
        """Stems of files that cannot be used."""
        return {fault.stem for report in self.reports for fault in report.faults}


class Dataset(ABC):
    """The files of a dataset, found but not read yet.

    Attributes:
        noun: name of the items in messages, in the plural.
        items, styles: what was found, see `CheckedItems`.
    """

    noun: str
    items: Sequence[Item]
    styles: Sequence[Photo] = ()

    def __init__(self, options: DataOptions) -> None:
        self.options = options
        self.root = Path(str(options.input_path))

    @abstractmethod
    def infer_options(self) -> tuple[DataOptions, str | None]:
        """Options completed by what the files tell, and a message about it."""

    @abstractmethod
    def missing_subsets(self, own: Path, subsets: Sequence[str]) -> list[str]:
        """The subsets whose lists must be made first; `own` is the run's folder of lists."""

    @abstractmethod
    def check_lists(
        self,
        own: Path,
        subsets: Sequence[str],
        items: Sequence[Item] | None = None,
        bad: Collection[str] = (),
    ) -> list[Missed]:
        """Names in the lists of these subsets that match no item.

        Names of bad items do not count toward the limit. Raises UserError above --list-miss-limit.
        """

    @abstractmethod
    def select(self, items: Sequence[Item], own: Path, subset: str) -> Sequence[Item]:
        """The items of a subset. Raises UserError if its list is missing or matches none."""

    @abstractmethod
    def check(self, cache_path: Path, progress: ShowProgress) -> CheckedItems:
        """Decode every file; the cache holds what an earlier check found."""

    @abstractmethod
    def describe(self) -> list[str]:
        """Lines about what was found, for --dry-run."""

    @abstractmethod
    def missing_test_data(self) -> str | None:
        """The test data that the dataset lacks for a submission, None if it has some."""

    def loader(
        self, items: Sequence[Item], styles: Sequence[Photo], *, batch_size: int, **settings: Any
    ) -> BatchLoader:
        """Batches of these items, as the options say; `settings` are other ones of BatchLoader."""
        options = self.options
        given: dict[str, Any] = {
            "height": options.height,
            "width": options.width,
            "classes": options.classes,
            "unknown_label": options.unknown_label,
            "first_id": options.first_id or 0,
            "instances": options.instances,
            "flip": options.flip,
            "load_scale": options.load_scale,
            "epoch_images": options.epoch_images,
            "workers": options.workers,
        }
        return BatchLoader(items, styles=styles, batch_size=batch_size, **{**given, **settings})

    def samples(self, items: Sequence[Item], styles: Sequence[Photo], count: int) -> Batch:
        """A batch of `count` items at even distances, neither flipped nor cropped."""
        chosen = at_even_distances(items, count)
        loader = self.loader(
            chosen,
            at_even_distances(styles, len(chosen)),
            batch_size=len(chosen),
            flip=False,
            load_scale=1.0,
            epoch_images=None,
            shuffle=False,
            workers=0,
        )
        with loader:
            return next(iter(loader.epoch(0)))


class PairedDataset(Dataset):
    """Layouts and their photos."""

    noun = "pairs"
    resizes = True  # photos to the size of the options, which may stretch them

    def __init__(self, options: DataOptions) -> None:
        super().__init__(options)
        self._found = find_pairs(self.root)
        self.items = self._found.pairs

    def infer_options(self) -> tuple[DataOptions, str | None]:
        options = self.options
        if options.first_id is not None or not recognize_first_id(
            self._found, options.classes, options.unknown_label, options.workers
        ):
            return options, None
        note = (
            f"{self._found.root}: ids 1..{options.classes} are read as classes "
            f"0..{options.classes - 1}, as with --first-id 1"
        )
        return replace(options, first_id=1), note

    def missing_subsets(self, own: Path, subsets: Sequence[str]) -> list[str]:
        return subsets_to_make(selections_folder(self.root, own), subsets)

    def check_lists(
        self,
        own: Path,
        subsets: Sequence[str],
        items: Sequence[Item] | None = None,
        bad: Collection[str] = (),
    ) -> list[Missed]:
        if items is None:
            items, bad = self.items, self._found.stems_without_pair
        folder = selections_folder(self.root, own)
        found = []
        for subset in dict.fromkeys(subsets):
            missed = find_misses(items, folder, subset, bad)
            if missed is not None:
                require_matches(missed, self.options.list_miss_limit)
                found.append(missed)
        return found

    def select(self, items: Sequence[Item], own: Path, subset: str) -> Sequence[Item]:
        return select_pairs(items, selections_folder(self.root, own), subset)

    def check(self, cache_path: Path, progress: ShowProgress) -> CheckedItems:
        report = self._check(self._found, self.noun, cache_path, progress)
        return CheckedItems(report.good, (), [report])

    def _check(
        self, found: PairFolder, noun: str, cache_path: Path, progress: ShowProgress
    ) -> Report:
        options = self.options
        with progress(noun, len(found.pairs)) as show:
            return check_pairs(
                found,
                options.classes,
                options.unknown_label,
                options.workers,
                show,
                first_id=options.first_id or 0,
                instances=options.instances,
                size=(options.height, options.width) if self.resizes else None,
                cache_path=cache_path,
            )

    def describe(self) -> list[str]:
        lines = [f"would check {len(self.items)} pairs of {self.root}, {self._found.form}"]
        alone = len(self._found.stems_without_pair)
        if alone:
            lines.append(f"note: {alone} stems are in no pair; check.txt will list them")
        return lines + _notes(self._found.unused)

    def missing_test_data(self) -> str | None:
        try:
            find_run_layouts(self.root, self.items)
        except UserError:
            return "test layouts"
        return None


@final
class SegmentationDataset(PairedDataset):
    """Photos and their layouts, some of them held out (see `data.held_out`)."""

    resizes = False

    def __init__(self, options: DataOptions) -> None:
        super().__init__(options)
        self._validation = find_validation_pairs(self.root)

    def select(self, items: Sequence[Item], own: Path, subset: str) -> Sequence[Item]:
        return self._split(super().select(items, own, subset))[0]

    def check(self, cache_path: Path, progress: ShowProgress) -> CheckedItems:
        checked = super().check(cache_path, progress)
        if self._validation is None:
            return replace(checked, held_out=self._split(checked.items)[1])
        cache_path = cache_path.with_stem(f"{cache_path.stem}_{VALIDATION}")
        report = self._check(self._validation, "validation pairs", cache_path, progress)
        return replace(checked, reports=[*checked.reports, report], held_out=report.good)

    def describe(self) -> list[str]:
        if self._validation is None:
            count, total = len(self._split(self.items)[1]), len(self.items)
            line = f"would hold out {count} of {total} pairs, to measure the accuracy"
        else:
            count = len(self._validation.pairs)
            line = f"would measure the accuracy on {count} pairs of {self._validation.root}"
        return [*super().describe(), line]

    def loader(
        self, items: Sequence[Item], styles: Sequence[Photo], *, batch_size: int, **settings: Any
    ) -> BatchLoader:
        options = self.options
        crops = CropRecipe(
            height=options.height,
            width=options.width,
            ignored=options.layout_classes,
            min_scale=options.min_scale,
            max_scale=options.max_scale,
            max_class_share=options.max_class_share,
            flip=options.flip,
            color_jitter=options.color_jitter,
        )
        return super().loader(items, styles, batch_size=batch_size, crops=crops, **settings)

    def _split(self, items: Sequence[Item]) -> tuple[list[Pair], list[Pair]]:
        pairs = [item for item in items if isinstance(item, Pair)]
        return split_pairs(pairs, 0.0 if self._validation else self.options.held_out)


@final
class UnpairedDataset(Dataset):
    """Content photos and style photos (Jiang et al. 2020, arbitrary style transfer)."""

    noun = "content photos"

    def __init__(self, options: DataOptions) -> None:
        super().__init__(options)
        self._found = find_unpaired(self.root)
        self.items = self._found.content.photos
        self.styles = self._found.style.photos

    def infer_options(self) -> tuple[DataOptions, str | None]:
        return self.options, None

    def missing_subsets(self, own: Path, subsets: Sequence[str]) -> list[str]:
        return []

    def check_lists(
        self,
        own: Path,
        subsets: Sequence[str],
        items: Sequence[Item] | None = None,
        bad: Collection[str] = (),
    ) -> list[Missed]:
        return []

    def select(self, items: Sequence[Item], own: Path, subset: str) -> Sequence[Item]:
        return items

    def check(self, cache_path: Path, progress: ShowProgress) -> CheckedItems:
        options = self.options
        reports = []
        for folder, name in ((self._found.content, CONTENT), (self._found.style, STYLE)):
            with progress(f"{name} photos", len(folder.photos)) as show:
                report = check_photos(
                    folder,
                    options.workers,
                    show,
                    size=(options.height, options.width),
                    cache_path=cache_path.with_stem(f"{cache_path.stem}_{name}"),
                )
            reports.append(report)
        content, style = reports
        return CheckedItems(content.good, style.good, reports)

    def describe(self) -> list[str]:
        content, style = self._found.content, self._found.style
        line = (
            f"would check {len(self.items)} photos of {content.root} and {len(self.styles)} of "
            f"{style.root}"
        )
        return [line, *_notes(content.unused + style.unused)]

    def missing_test_data(self) -> str | None:
        try:
            find_content(self.root / "test" / CONTENT)
        except UserError:
            return f"test/{CONTENT}"
        return None


DATASETS: dict[str, type[Dataset]] = {
    "synthesis": PairedDataset,
    "translation": UnpairedDataset,
    "segmentation": SegmentationDataset,
}


def find_dataset(options: DataOptions) -> Dataset:
    """Find the files of the dataset that a task needs; UserError if they are not there."""
    return DATASETS[options.task](options)


def find_run_layouts(root: Path, items: Sequence[Item] | None = None) -> LayoutFolder:
    """Find the test layouts of a training dataset; UserError if they are the training layouts.

    items: the items of the dataset, if they have been found already.
    """
    layouts = find_test_layouts(root)
    pairs = find_pairs(root).pairs if items is None else items
    labels = {pair.label_path.parent for pair in pairs if isinstance(pair, Pair)}
    training = {folder.resolve() for folder in labels}
    if layouts.root.resolve() in training:
        raise UserError(
            f"{root}: expected test layouts next to the training pairs, got only {layouts.root}. "
            "Name a folder with --input_path LABELS"
        )
    return layouts


def at_even_distances(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the items, or all of them if there are fewer."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _notes(unused: Sequence[Unused]) -> list[str]:
    return [f"note: {line}" for line in describe_unused(unused)]
