"""Measures generated images: distance from photos, mask accuracy, style, terms of the score.

    python -m tools.evaluate --images DIR --photos DIR
    python -m tools.evaluate --name RUN                          its submission and its dataset
    python -m tools.evaluate --images DIR --photos DIR --inception-weights FILE
    python -m tools.evaluate --images DIR --photos DIR --styles label_to_img.json
    python -m tools.evaluate --images DIR --photos DIR --segmenter FILE --layouts DIR
    python -m tools.evaluate --name RUN --segmenter FILE --html page.html --json numbers.json
    python -m tools.evaluate --images DIR --photos DIR --aesthetic-weights nima.npz

FD-EffNet and KD-EffNet compare features of EfficientNet-Lite0, whose weights come with the
installed packages. FID and KID need pytorch-fid's weights of Inception, which are not included.
Mask accuracy and mIoU need a segmenter, as train.py --task segmentation makes it.
The aesthetic measure needs weights of NIMA. The contrastive score tells images from photos.
Compare numbers only for equal counts of images and photos. A measure that is missing is printed as
"not measured", and so is a score that needs it. docs/evaluation.md explains every row. The page
shows the numbers, the classes, and with a segmenter the worst and the best images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.classes import MAX_CLASSES
from data.counterparts import Masks, find_masks, find_masks_of_run, find_photos_of_run
from data.ownership import output_file
from data.reading import LayoutClasses
from inference.aesthetics import measure_aesthetic
from inference.evaluation import (
    DISTANCES,
    PhotoStatistics,
    Sources,
    find_references,
    match_references,
    measure_agreement,
    measure_distances,
    measure_styles,
    render_extremes,
)
from inference.metric_networks import (
    DIMENSIONS,
    EFFICIENTNET,
    INCEPTION,
    load_network,
    load_predictor,
    load_rater,
)
from metrics.evaluation import Evaluation, write_json
from metrics.features import find_images
from metrics.predictions import require_classes
from metrics.report import Example, write_page
from metrics.statistics_file import read_statistics
from metrics.table import Row, format_table, mask_rows, photo_mask_rows, score_rows
from options.errors import UserError
from options.groups import DataOptions
from options.paths import exists, expand, is_folder, show_path
from options.rules import check_name
from runtime.program import ToolParser, exit_codes
from runtime.start import start_jittor
from training.run_folder import RunFolder

CLASS_FLAGS = ("classes", "unknown_label", "first_id")
OUTPUTS = {"json": "evaluation.json", "html": "evaluation.html"}  # flag -> name in a run's folder


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
    masks = None if arguments.segmenter is None else _find_masks(arguments, sources.images)
    for one in statistics:
        _check_counts(one, sources)
    outputs = {
        flag: (path, output_file(path, f"name another file with --{flag}"))
        for flag, path in _output_paths(arguments).items()
    }
    start_jittor(arguments.device)
    networks = [load_network(one.network, arguments.inception_weights) for one in statistics]
    predictor = None
    if masks is not None:
        predictor = load_predictor(expand(arguments.segmenter))
        require_classes(predictor.classes, masks.classes, show_path(arguments.segmenter))
    weights = arguments.aesthetic_weights
    rater = None if weights is None else load_rater(expand(weights))
    rows: list[Row] = []
    for network, one in zip(networks, statistics, strict=True):
        rows += measure_distances(sources, network, one)
    if arguments.inception_weights is None:
        note = "needs pytorch-fid's weights: --inception-weights FILE"
        rows += [Row(name, None, note=note) for name in DISTANCES[INCEPTION]]
    rows += measure_styles(sources)
    results = None
    worst: list[Example] = []
    best: list[Example] = []
    if masks is None or predictor is None:
        rows += mask_rows(None, "needs a segmenter: --segmenter FILE")
    else:
        results = measure_agreement(sources, masks, predictor, Path(arguments.segmenter).name)
        rows += mask_rows(results.images.counts)
        rows += photo_mask_rows(results.photo_counts, results.note)
        if "html" in outputs:
            worst, best = render_extremes(sources, masks, predictor, results)
    rows += measure_aesthetic(sources.images, rater)
    rows += score_rows({row.name: row.value for row in rows}, arguments.aesthetic or "nima")
    evaluation = Evaluation(str(sources.root), rows, results)
    texts = {"json": write_json(evaluation), "html": write_page(evaluation, worst, best)}
    print(format_table(rows))
    for flag, (path, folder) in outputs.items():
        folder.write({path.name: texts[flag]})
        if getattr(arguments, flag) is None:
            print(f"written: {show_path(path)}")
    return 0


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
    add(
        "--segmenter", metavar="FILE",
        help="a segmenter, as train.py --task segmentation makes it; adds mask accuracy and mIoU",
    )  # fmt: skip
    add(
        "--layouts", metavar="DIR",
        help="the layouts of the images, with their names; with --name the run's own by default",
    )  # fmt: skip
    add("--classes", type=int, metavar="K", help="ids of the layouts are 0..K-1 (29, or the run's)")
    add("--unknown-label", "--unknown_label", type=int, metavar="ID", help="id of unknown pixels")
    add("--first-id", "--first_id", type=int, metavar="ID", help="id of the first class (0)")
    add(
        "--json", metavar="FILE",
        help="write the numbers as JSON; with --name results/RUN/evaluation/evaluation.json by "
        "default",
    )  # fmt: skip
    add("--html", metavar="FILE", help="write a page; with --name evaluation.html next to the JSON")
    add(
        "--aesthetic-weights", "--aesthetic_weights", metavar="FILE",
        help="weights of NIMA, as docs/weights.md makes them (.npz or .safetensors); adds the "
        "aesthetic measure",
    )  # fmt: skip
    add(
        "--aesthetic", choices=("nima", "contrastive"),
        help="the aesthetic measure of the scores: nima (the default), or the contrastive score, "
        "which is another scale than the contest's",
    )  # fmt: skip
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
    if arguments.aesthetic == "nima" and arguments.aesthetic_weights is None:
        raise UserError("--aesthetic nima: expected --aesthetic-weights FILE, got none. Name it")
    _check_mask_flags(arguments)
    statistics = (arguments.statistics, arguments.inception_statistics)
    paths = [expand(text) for text in statistics if text is not None]
    paths += _output_paths(arguments).values()
    if len({path.absolute() for path in paths}) < len(paths):
        raise UserError(
            "--statistics, --inception-statistics, --json, --html: expected distinct files, got "
            "one twice. Name another file"
        )


def _check_mask_flags(arguments: argparse.Namespace) -> None:
    for name in ("layouts", *CLASS_FLAGS):
        flag = f"--{name.replace('_', '-')}"
        if getattr(arguments, name) is None:
            continue
        if arguments.segmenter is None:
            raise UserError(f"{flag} has no effect without --segmenter. Remove it")
        if name in CLASS_FLAGS and arguments.name is not None:
            raise UserError(f"{flag} has no effect with --name: the run has its own. Remove it")
    if arguments.segmenter is None or arguments.name is not None:
        return
    if arguments.layouts is None:
        raise UserError("--layouts: expected the layouts of the images, got none. Name them")
    classes = _classes_of_flags(arguments)
    ranges = {
        "--classes": (classes.classes, 1, MAX_CLASSES - 1),
        "--unknown-label": (classes.unknown_label or 0, 0, MAX_CLASSES - 1),
        "--first-id": (classes.first_id, 0, MAX_CLASSES - classes.classes),
    }
    for flag, (value, least, most) in ranges.items():
        if not least <= value <= most:
            raise UserError(f"{flag}: expected {least}..{most}, got {value}. Correct it")


def _classes_of_flags(arguments: argparse.Namespace) -> LayoutClasses:
    given = {name: getattr(arguments, name) for name in CLASS_FLAGS}
    return LayoutClasses(**{name: value for name, value in given.items() if value is not None})


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


def _output_paths(arguments: argparse.Namespace) -> dict[str, Path]:
    """The file of each flag of `OUTPUTS`; those of a run have default names."""
    paths = {}
    if arguments.name is not None:
        folder = RunFolder(expand(arguments.results_path), arguments.name).evaluation
        paths = {flag: folder / name for flag, name in OUTPUTS.items()}
    named = {flag: getattr(arguments, flag) for flag in OUTPUTS}
    return paths | {flag: expand(text) for flag, text in named.items() if text is not None}


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
        photos, table = find_photos_of_run(_data_of_run(run), images)
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
        references = match_references(images, table.entries, photos, table.path)
    else:
        references = find_references(expand(arguments.styles), images, photos)
    return Sources(root, images, photos, references)


def _find_masks(arguments: argparse.Namespace, images: Sequence[Path]) -> Masks:
    """Find the layouts of the images, and photos with layouts; UserError for what is missing."""
    layouts, name = arguments.layouts, arguments.name
    photos = None if arguments.photos is None else expand(arguments.photos)
    if name is None:
        return find_masks(images, _classes_of_flags(arguments), layouts, photos)
    options = _data_of_run(RunFolder(expand(arguments.results_path), name))
    return find_masks_of_run(images, options, layouts, photos)


def _data_of_run(run: RunFolder) -> DataOptions:
    options = run.saved_options()
    if options is None or options.data.input_path is None:
        raise UserError(
            f"--name: expected a run that was trained here, got {show_path(run.path)}. Name the "
            "folders with --images and --photos"
        )
    return options.data


def _check_enough(flag: str, noun: str, paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise UserError(
            f"{flag}: expected two or more {noun}, got only {show_path(paths[0])}. Add {noun}"
        )


if __name__ == "__main__":
    sys.exit(main())
