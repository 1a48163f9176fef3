"""Measures generated images: distance from photos, style similarity, terms of the contest's score.

    python -m tools.evaluate --images DIR --photos DIR
    python -m tools.evaluate --name RUN                          its submission and its dataset
    python -m tools.evaluate --images DIR --photos DIR --inception-weights FILE
    python -m tools.evaluate --images DIR --photos DIR --styles label_to_img.json

FD-EffNet and KD-EffNet compare features of EfficientNet-Lite0, whose weights come with the
installed packages. FID and KID need pytorch-fid's weights of Inception, which are not included.
Compare numbers only for equal counts of images and photos. A measure that is missing is printed as
"not measured", and so is a score that needs it. docs/evaluation.md explains every row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.content import find_dataset, find_run_layouts
from data.folders import Pair
from data.images import read_image
from data.listing import listed, stem_of
from data.ownership import OutputFolder, output_file
from data.styles import StyleTable, find_style_table, read_style_table
from metrics.features import (
    FeatureNetwork,
    FeatureSet,
    efficientnet_input,
    find_images,
    inception_input,
    measure_features,
)
from metrics.frechet import frechet_distance
from metrics.kernel import kernel_distance
from metrics.scores import Score, score_2022, score_2023
from metrics.statistics_file import read_statistics, write_statistics
from metrics.style import hue_similarity, joint_similarity
from options.errors import UserError
from options.paths import exists, expand, is_folder, show_path
from options.rules import check_name
from runtime.program import ToolParser, exit_codes
from runtime.progress import ProgressBar
from runtime.start import start_jittor
from training.run_folder import RunFolder

EFFICIENTNET, INCEPTION = "EfficientNet-Lite0", "Inception v3"
DIMENSIONS = {EFFICIENTNET: 1280, INCEPTION: 2048}
# Names of the two distances on the features of a network. FID and KID are Inception's alone.
DISTANCES = {EFFICIENTNET: ("FD-EffNet", "KD-EffNet x 1000"), INCEPTION: ("FID", "KID x 1000")}
GUESSES = {"hue": hue_similarity, "BGR + HSV": joint_similarity}


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
class Row:
    """A measure: its value, None if not measured, the counts it is based on, and a note."""

    name: str
    value: float | None
    images: int | None = None
    photos: int | None = None
    note: str = ""


@dataclass(frozen=True)
class PhotoStatistics:
    """The statistics of the photos for one network: from a file, or written to it once measured."""

    network: str
    stored: FeatureSet | None = None
    output: OutputFolder | None = None
    path: Path | None = None


@exit_codes(stopped="stopped: no table was printed")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 2 for a user error, 1 for a failure, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    _check_flags(arguments)
    statistics = [_open_statistics(EFFICIENTNET, "--statistics", arguments.statistics)]
    if arguments.inception_weights is not None:
        flag = "--inception-statistics"
        statistics.append(_open_statistics(INCEPTION, flag, arguments.inception_statistics))
    sources = _find_sources(arguments, needs_photos=any(one.stored is None for one in statistics))
    for one in statistics:
        _check_counts(one, sources)
    report = None if arguments.json is None else expand(arguments.json)
    folder = None if report is None else output_file(report, "name another file with --json")
    start_jittor(arguments.device)
    networks = [load_network(one.network, arguments.inception_weights) for one in statistics]
    rows = []
    for network, one in zip(networks, statistics, strict=True):
        rows += measure_distances(sources, network, one)
    if arguments.inception_weights is None:
        note = "needs pytorch-fid's weights: --inception-weights FILE"
        rows += [Row(name, None, note=note) for name in DISTANCES[INCEPTION]]
    rows += measure_styles(sources)
    rows += score_rows({row.name: row.value for row in rows})
    print(format_table(rows))
    if folder is not None and report is not None:
        content = {"images": str(sources.root), "measures": [asdict(row) for row in rows]}
        folder.write({report.name: json.dumps(content, indent=1) + "\n"})
    return 0


def load_network(name: str, inception_weights: str | None) -> FeatureNetwork:
    """Load a feature network; Jittor has been started."""
    import jittor as jt

    from weights.backbones import load_efficientnet, load_inception

    network: Any
    if name == EFFICIENTNET:
        network, prepare = load_efficientnet(), efficientnet_input
    else:
        network, prepare = load_inception(expand(str(inception_weights))), inception_input
    network.prepare_for_inference()

    def pooled(batch: NDArray[np.float32]) -> NDArray[np.floating]:
        with jt.no_grad():
            features: NDArray[np.floating] = network.pooled(jt.array(batch)).numpy()
        return features

    return FeatureNetwork(name, DIMENSIONS[name], prepare, pooled)


def measure_distances(
    sources: Sources, network: FeatureNetwork, photos: PhotoStatistics
) -> list[Row]:
    """Return the two distances of a network; writes the photos' statistics if a file is named."""
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
        return [*rows, Row(kernel, None, *counts, note)]
    return [*rows, Row(kernel, 1000 * kernel_distance(made.sample, real.sample), *counts)]


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


def score_rows(values: Mapping[str, float | None]) -> list[Row]:
    """Return the rows of mask accuracy, aesthetic and scores, from the measures by name."""
    fid = values["FID"]
    rows = [
        Row("mask accuracy", None, note="needs a segmenter"),
        Row("aesthetic", None, note="needs an aesthetic model"),
        _score_row("score 2022", score_2022(None, None, fid)),
    ]
    for guess in GUESSES:
        style = values[f"style similarity, {guess}"]
        rows.append(_score_row(f"score 2023, {guess}", score_2023(None, None, style, fid)))
    return rows


def _score_row(name: str, score: Score) -> Row:
    """A score with its measured terms; the terms are multiplied by the mask accuracy."""
    known = [f"{term} {value:.4f}" for term, value in score.terms.items() if value is not None]
    missing = f"missing: {', '.join(score.missing)}" if score.missing else ""
    terms = f"terms: {', '.join(known)}" if known else ""
    return Row(name, score.total, note="; ".join(filter(None, (missing, terms))))


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table for a terminal."""
    cells: list[tuple[str, ...]] = [("measure", "value", "images", "photos", "note")]
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.4f}"
        counts = ("" if count is None else str(count) for count in (row.images, row.photos))
        cells.append((row.name, value, *counts, row.note))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = []
    for name, *numbers, note in cells:
        shown = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *shown, note]).rstrip())
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.evaluate", __doc__)
    add = parser.add_argument
    add("--images", metavar="DIR", help="the generated images, as submitted")
    add("--photos", metavar="DIR", help="the photos to compare with")
    add("--name", metavar="RUN", help="a run: its submission, and the photos of its dataset")
    add(
        "--inception-weights", "--inception_weights", metavar="FILE",
        help="pt_inception-2015-12-05-6726825d.pth of pytorch-fid; adds FID and KID",
    )  # fmt: skip
    add(
        "--styles", metavar="FILE|DIR",
        help="label_to_img.json, whose photos are in --photos, or a folder of photos with the "
        "names of the images; with --name the dataset's table by default",
    )  # fmt: skip
    add(
        "--statistics", metavar="FILE",
        help="statistics of the photos on EfficientNet (.npz): read if FILE exists, else written",
    )  # fmt: skip
    add(
        "--inception-statistics", "--inception_statistics", metavar="FILE",
        help="the same on Inception, in the form of pytorch-fid",
    )  # fmt: skip
    add("--json", metavar="FILE", help="also write the numbers as JSON")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)")
    add(
        "--results-path", "--results_path", default="results", metavar="DIR",
        help="folder that holds the runs (results)",
    )  # fmt: skip
    return parser


def _check_flags(arguments: argparse.Namespace) -> None:
    if (arguments.images is None) == (arguments.name is None):
        found = "neither" if arguments.images is None else "both"
        raise UserError(f"--images: expected --images DIR or --name RUN, got {found}. Name one")
    if arguments.name is not None:
        check_name(arguments.name)
    if arguments.inception_statistics is not None and arguments.inception_weights is None:
        raise UserError(
            "--inception-statistics has no effect without --inception-weights. Remove it"
        )
    written = ("statistics", "inception_statistics", "json")
    paths = [expand(getattr(arguments, name)) for name in written if getattr(arguments, name)]
    if len({path.absolute() for path in paths}) < len(paths):
        raise UserError(
            "--statistics, --inception-statistics, --json: expected distinct files, got one twice. "
            "Name another file"
        )


def _open_statistics(network: str, flag: str, text: str | None) -> PhotoStatistics:
    """Read the file of a flag, or check that it can be written."""
    if text is None:
        return PhotoStatistics(network)
    path = expand(text)
    if exists(path):
        stored = read_statistics(path, DIMENSIONS[network], network)
        return PhotoStatistics(network, stored=stored, path=path)
    if path.suffix != ".npz":
        raise UserError(f"{flag}: expected a file name that ends in .npz, got {show_path(path)}")
    folder = output_file(path, f"name another file with {flag}")
    return PhotoStatistics(network, output=folder, path=path)


def _check_counts(statistics: PhotoStatistics, sources: Sources) -> None:
    """Raise UserError if stored statistics are those of another number of photos."""
    if statistics.stored is None or not sources.photos:
        return
    count = statistics.stored.statistics.count
    if count not in (None, len(sources.photos)):
        raise UserError(
            f"{show_path(str(statistics.path))}: expected statistics of {len(sources.photos)} "
            f"photos, got those of {count}. Remove the file, or name another one"
        )


def _find_sources(arguments: argparse.Namespace, needs_photos: bool) -> Sources:
    """Find images, photos and references; UserError for what is missing."""
    table = None
    why = "needs --styles: the reference photo of each image"
    photos: list[Path] = []
    if arguments.name is not None:
        run = RunFolder(expand(arguments.results_path), arguments.name)
        root = run.path / "submission"
        if not is_folder(root):
            raise UserError(
                f"--name: expected a run with a submission in {show_path(root)}, got none. Make it "
                f"with: bash test.sh --name {arguments.name}"
            )
        images = find_images(root)
        photos, table = _photos_of_run(run, images)
        why = "the dataset has no label_to_img.json that names the images"
    else:
        root = expand(arguments.images)
        images = find_images(root)
    if arguments.photos is not None:
        photos = find_images(arguments.photos)
    elif not photos and needs_photos:
        raise UserError("--photos: expected the folder of the photos, got none. Name it")
    _check_enough("--images", "images", images)
    if photos:
        _check_enough("--photos", "photos", photos)
    if arguments.styles is None and table is None:
        return Sources(root, images, photos, why_none=why)
    if table is not None and arguments.styles is None:
        references = _match(images, table.entries, photos, str(table.path))
    else:
        references = _references(expand(arguments.styles), images, photos)
    return Sources(root, images, photos, references)


def _photos_of_run(run: RunFolder, images: Sequence[Path]) -> tuple[list[Path], StyleTable | None]:
    """The photos of a run's dataset, and its style table if that names the images."""
    options = run.saved_options()
    if options is None or options.data.input_path is None:
        raise UserError(
            f"--name: expected a run that was trained here, got {show_path(run.path)}. Name the "
            "folders with --images and --photos"
        )
    dataset = find_dataset(options.data)
    if dataset.styles:
        return [photo.path for photo in dataset.styles], None
    photos = [pair.image_path for pair in dataset.items if isinstance(pair, Pair)]
    try:
        layouts = find_run_layouts(dataset.root)
    except UserError:  # without test layouts in the dataset it has no table for them
        return photos, None
    table, _ = find_style_table(images, layouts.root, dataset.root)
    return photos, table


def _check_enough(flag: str, noun: str, paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise UserError(
            f"{flag}: expected two or more {noun}, got only {show_path(paths[0])}. Add {noun}"
        )


def _references(styles: Path, images: Sequence[Path], photos: Sequence[Path]) -> list[Path]:
    """The reference photo of each image, by a table or by equal names."""
    if is_folder(styles):
        own = {stem_of(path): stem_of(path) for path in images}
        return _match(images, own, find_images(styles), str(styles))
    if not exists(styles):
        raise UserError(
            f"--styles: expected label_to_img.json or a folder of photos, got "
            f"{show_path(styles)}, which does not exist. Correct the path"
        )
    if not photos:
        raise UserError(
            "--styles: expected --photos with a table, as it names photos, got none. Name --photos"
        )
    return _match(images, read_style_table(styles), photos, str(styles))


def _match(
    images: Sequence[Path], wanted: Mapping[str, str], photos: Sequence[Path], source: str
) -> list[Path]:
    """The photo of each image; UserError that lists images without one."""
    by_stem = {stem_of(path): path for path in photos}
    found = [by_stem.get(wanted.get(stem_of(path), "")) for path in images]
    missing = [path.name for path, photo in zip(images, found, strict=True) if photo is None]
    if missing:
        raise UserError(
            f"{show_path(source)}: expected a photo for each image, got none for {len(missing)} of "
            f"{len(images)} ({listed(missing)}). Add them, or name others with --styles"
        )
    return [photo for photo in found if photo is not None]


if __name__ == "__main__":
    sys.exit(main())
