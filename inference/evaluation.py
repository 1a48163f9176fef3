"""Measures the images of a folder, with progress bars, and renders examples for the page.

sources = Sources(folder, images, photos)
rows = measure_distances(sources, network, PhotoStatistics(EFFICIENTNET))
results = measure_agreement(sources, masks, predictor, "segmenter.safetensors")
worst, best = render_extremes(sources, masks, predictor, results)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.counterparts import Masks, match_files
from data.images import read_image
from data.listing import stem_of
from data.ownership import OutputFolder
from data.styles import read_style_table
from data.transforms import resize_image
from inference.aesthetics import measure_contrast
from inference.contact_sheet import fit_cell, render_layout
from inference.metric_networks import EFFICIENTNET, INCEPTION
from metrics.evaluation import MaskResults, worst_and_best
from metrics.features import FeatureNetwork, FeatureSet, find_images, measure_features
from metrics.frechet import frechet_distance
from metrics.kernel import kernel_distance
from metrics.predictions import Prediction, Predictor, measure_masks, predict_layouts
from metrics.report import Example, Panel
from metrics.statistics_file import write_statistics
from metrics.table import GUESSES, Row
from options.errors import UserError
from options.paths import exists, is_folder, show_path
from runtime.progress import ProgressBar

# Names of the two distances on the features of a network. FID and KID are Inception's alone.
DISTANCES = {EFFICIENTNET: ("FD-EffNet", "KD-EffNet x 1000"), INCEPTION: ("FID", "KID x 1000")}
EXTREMES = 12  # worst images, and best ones
LONGEST = 256  # pixels on the longer side of a panel
QUALITY = 82  # of JPEG
LEGEND_SHARE = 0.01  # classes with fewer pixels are not in the legend of an example
RED = np.array([214, 32, 44], np.float32)  # of the wrong pixels


@dataclass(frozen=True)
class Sources:
    """The folder of the images, the images, and what they are compared with.

    photos: empty if all statistics of photos come from files. references: a photo per image, None
    if unknown; `why_none` is the reason.
    """

    root: Path
    images: list[Path]
    photos: list[Path]
    references: list[Path] | None = None
    why_none: str = ""


@dataclass(frozen=True)
class PhotoStatistics:
    """The statistics of the photos for one network: from a file, or written to it once measured."""

    network: str
    stored: FeatureSet | None = None
    output: OutputFolder | None = None
    path: Path | None = None


def measure_distances(
    sources: Sources, network: FeatureNetwork, photos: PhotoStatistics
) -> list[Row]:
    """Return the two distances of a network; writes the photos' statistics if a file is named.

    On EfficientNet the contrastive scorer follows.
    """
    with ProgressBar(f"{network.name}, images", "images") as show:
        made = measure_features(sources.images, network, show)
    real = photos.stored
    if real is None:
        with ProgressBar(f"{network.name}, photos", "photos") as show:
            real = measure_features(sources.photos, network, show)
        if photos.output is not None and photos.path is not None:
            measured = real
            content = {photos.path.name: lambda file: write_statistics(file, measured)}
            photos.output.write(content)
    frechet, kernel = DISTANCES[network.name]
    counts = (made.statistics.count, real.statistics.count)
    note = "" if counts[1] is not None else f"number of photos: not in {photos.path}"
    rows = [Row(frechet, frechet_distance(made.statistics, real.statistics), *counts, note)]
    if real.sample is None or made.sample is None:
        note = f"{photos.path} has no features of photos; remove it, or name another file"
        rows.append(Row(kernel, None, *counts, note))
    else:
        distance = 1000 * kernel_distance(made.sample, real.sample)
        rows.append(Row(kernel, distance, *counts))
    if network.name == EFFICIENTNET:
        rows += measure_contrast(made, real, str(photos.path))
    return rows


def measure_styles(sources: Sources) -> list[Row]:
    """Return the mean style similarity of the images for each guess of the histogram."""
    names = {guess: f"style similarity, {guess}" for guess in GUESSES}
    if sources.references is None:
        return [Row(name, None, note=sources.why_none) for name in names.values()]
    sums = dict.fromkeys(GUESSES, 0.0)
    count = len(sources.images)
    with ProgressBar("style similarity", "images") as show:
        pairs = zip(sources.images, sources.references, strict=True)
        for number, (image_path, photo_path) in enumerate(pairs, 1):
            image, photo = read_image(image_path), read_image(photo_path)
            for guess, similarity in GUESSES.items():
                sums[guess] += similarity(image, photo)
            show(number, count)
    return [
        Row(name, sums[guess] / count, count, len(set(sources.references)), "a guess of the bins")
        for guess, name in names.items()
    ]


def measure_agreement(
    sources: Sources, masks: Masks, predictor: Predictor, segmenter: str
) -> MaskResults:
    """Return the agreement of the images with their layouts, and of photos that have layouts.

    segmenter: the name of its file.
    """
    with ProgressBar("segmenter, images", "images") as show:
        made = measure_masks(sources.images, masks.layouts, masks.classes, predictor, show)
    real = None
    if masks.pairs:
        photos = [pair.image_path for pair in masks.pairs]
        layouts = [pair.label_path for pair in masks.pairs]
        with ProgressBar("segmenter, photos", "photos") as show:
            real = measure_masks(photos, layouts, masks.classes, predictor, show)
    return MaskResults(segmenter, [path.name for path in sources.images], made, real, masks.note)


def render_extremes(
    sources: Sources, masks: Masks, predictor: Predictor, results: MaskResults
) -> tuple[list[Example], list[Example]]:
    """Segment the worst and the best images again, and render them: up to `EXTREMES` of each."""
    worst, best = worst_and_best(results.images.images, EXTREMES)
    chosen = worst + best
    examples = {}
    with ProgressBar("segmenter, examples", "images") as show:
        images = [sources.images[index] for index in chosen]
        layouts = [masks.layouts[index] for index in chosen]
        for one in predict_layouts(images, layouts, masks.classes, predictor, show):
            index = chosen[one.index]
            photo = None if sources.references is None else sources.references[index]
            examples[index] = _render(index, one, photo, masks.classes.count)
    return [examples[index] for index in worst], [examples[index] for index in best]


def _render(index: int, one: Prediction, photo: Path | None, classes: int) -> Example:
    height, width = one.layout.shape
    cell = fit_cell(height, width, min(LONGEST, max(height, width)))
    panels = [
        _photo_panel("image", one.image, cell),
        _layout_panel("layout", one.layout, classes, cell),
        _layout_panel("predicted layout", one.predicted, classes, cell),
        _panel("wrong pixels", _show_wrong(one, cell), "JPEG"),
    ]
    if photo is not None:
        style = read_image(photo, LONGEST, LONGEST)
        size = fit_cell(style.shape[0], style.shape[1], max(cell))
        panels.append(_photo_panel("style photo", style, size))
    pixels = np.bincount(one.layout.ravel(), minlength=classes)
    predicted = np.bincount(one.predicted.ravel(), minlength=classes)
    most = np.maximum(pixels, predicted)
    common = np.flatnonzero(most >= LEGEND_SHARE * one.layout.size)
    order = common[np.argsort(-most[common], kind="stable")]
    return Example(index, panels, order.tolist())


def _show_wrong(one: Prediction, cell: tuple[int, int]) -> NDArray[np.uint8]:
    """The image in pale gray, with the unequal pixels in red; `cell` is (height, width)."""
    wrong = Image.fromarray(np.uint8(255) * (one.layout != one.predicted))
    share = np.asarray(wrong.resize(cell[::-1], Image.Resampling.BOX), np.float32)[..., None] / 255
    gray = np.asarray(Image.fromarray(resize_image(one.image, *cell)).convert("L"), np.float32)
    pale = (100 + 0.6 * gray)[..., None]
    red = 0.25 * pale + 0.75 * RED
    found: NDArray[np.uint8] = np.rint((1 - share) * pale + share * red).astype(np.uint8)
    return found


def _photo_panel(caption: str, image: NDArray[np.uint8], cell: tuple[int, int]) -> Panel:
    return _panel(caption, resize_image(image, *cell), "JPEG")


def _layout_panel(
    caption: str, layout: NDArray[np.int32], classes: int, cell: tuple[int, int]
) -> Panel:
    return _panel(caption, render_layout(layout, classes, cell), "PNG")


def _panel(caption: str, pixels: NDArray[np.uint8], form: str) -> Panel:
    file = BytesIO()
    options = {"quality": QUALITY, "subsampling": 0} if form == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(file, form, **options)
    height, width = pixels.shape[:2]
    return Panel(caption, f"image/{form.lower()}", file.getvalue(), height, width)


def find_references(styles: Path, images: Sequence[Path], photos: Sequence[Path]) -> list[Path]:
    """Return the reference photo of each image, by a table or by equal names.

    styles: the table, whose photos are in `photos`, or a folder. Raises UserError if an image has
    no photo.
    """
    if is_folder(styles):
        own = {stem_of(path): stem_of(path) for path in images}
        return match_references(images, own, find_images(styles), styles)
    if not exists(styles):
        raise UserError(
            f"--styles: expected label_to_img.json or a folder of photos, got "
            f"{show_path(styles)}, which does not exist. Correct the path"
        )
    if not photos:
        raise UserError(
            "--styles: expected --photos with a table, as it names photos, got none. Name --photos"
        )
    return match_references(images, read_style_table(styles), photos, styles)


def match_references(
    images: Sequence[Path], wanted: Mapping[str, str], photos: Sequence[Path], source: Path
) -> list[Path]:
    """Return the photo of each image by `wanted`, stems of images -> stems of photos.

    source: where they are named. Raises UserError that lists images without one.
    """
    return match_files(images, wanted, photos, str(source), "photo", "--styles")
