"""Fixed layouts that no generator trains on, to measure it during training.

layouts = find_evaluation_layouts(find_dataset(options.data), 100)
layouts[0].label_path, layouts[0].style_path
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.content import Dataset, at_even_distances, find_run_layouts
from data.folders import Pair
from data.held_out import find_validation_pairs
from data.listing import stem_of
from data.styles import find_style_table, styles_from_table
from options.errors import UserError


@dataclass(frozen=True)
class EvaluationLayout:
    """A layout, the photo of its style, and its instance map or None.

    `has_photo` is whether the photo is the layout's own, so that a segmenter's accuracy on photos
    can be measured.
    """

    label_path: Path
    style_path: Path
    instance_path: Path | None = None
    has_photo: bool = False

    @property
    def stem(self) -> str:
        return stem_of(self.label_path)


def find_evaluation_layouts(dataset: Dataset, count: int) -> list[EvaluationLayout]:
    """Find `count` layouts at even distances: those of the pairs in DIR/val, or test layouts.

    Test layouts take their styles from label_to_img.json, or else from training photos at even
    distances. Raises UserError if the dataset has neither.
    """
    validation = find_validation_pairs(dataset.root)
    if validation is not None:
        return [
            EvaluationLayout(pair.label_path, pair.image_path, pair.instance_path, True)
            for pair in at_even_distances(validation.pairs, count)
        ]
    try:
        found = find_run_layouts(dataset.root, dataset.items)
    except UserError:
        raise UserError(
            f"--evaluate-every: expected pairs in {dataset.root / 'val'}, or test layouts, got "
            "none. Add some, or remove the flag"
        ) from None
    pairs = [item for item in dataset.items if isinstance(item, Pair)]
    chosen = at_even_distances(found.paths, count)
    styles = _styles_of(chosen, found.paths, found.root, dataset.root, pairs)
    return [EvaluationLayout(*both) for both in zip(chosen, styles, strict=True)]


def _styles_of(
    layouts: Sequence[Path],
    known: Sequence[Path],
    labels: Path,
    root: Path,
    pairs: Sequence[Pair],
) -> list[Path]:
    table, _ = find_style_table(known, labels, root)
    if table is not None:
        photos = {pair.stem: pair.image_path for pair in pairs}
        return styles_from_table(table, layouts, photos)
    count = len(layouts)
    return [pairs[index * len(pairs) // count].image_path for index in range(count)]
