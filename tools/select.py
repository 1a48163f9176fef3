"""Selects what to submit: checkpoints, weight averages, seeds, and mixtures of several runs.

    python -m tools.select --name RUN --segmenter A --judge B
    python -m tools.select --name RUN --segmenter A                    layouts are divided in two
    python -m tools.select --name RUN --segmenter A --judge B --with RUN2 --regions
    python -m tools.select --name RUN --segmenter A --judge B --style noise --seeds 8
    python -m tools.select --name RUN --segmenter A --judge B --with RUN2 --table selection.json

Segmenter A chooses, segmenter B reports: a segmenter never scores what it has chosen. Without B,
half of the layouts choose and the other half report; choices per image then need B. With
--inception-weights the contest's score without its aesthetic term decides, otherwise the mask
accuracy, and FD-EffNet within its standard error. If B sees no improvement over the last
checkpoint, that one is recommended.

Writes into results/RUN/selected: submission/ with images, submission.zip and overview.png,
selection.json (layout -> run, for --table), evidence.json, evidence.md, and average.safetensors for
test.sh --checkpoint. The images of all candidates are kept there in .cache; a second start is
quick. docs/selection.md explains the steps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.ownership import stamp_of
from inference.metric_networks import EFFICIENTNET, INCEPTION, load_network, load_predictor
from inference.selection.evidence import (
    EVIDENCE,
    REPORT,
    TABLE,
    Sources,
    check_output,
    output_of,
    write_selection,
)
from inference.selection.measures import Network
from inference.selection.plan import SelectionPlan, Settings, plan_selection
from inference.selection.program import Networks, Outcome, run_selection
from metrics.predictions import require_classes
from options.errors import UserError
from options.paths import expand, is_file, show_path
from options.test import TestOptions
from runtime.program import ToolParser, exit_codes
from runtime.start import start_jittor
from runtime.stop import Stopped
from weights.snapshots import Snapshot

if TYPE_CHECKING:
    from inference.synthesizer import Synthesizer

MOST_AVERAGED, MOST_SEEDS, MOST_BATCHES, MOST_FEATHER = 20, 64, 10000, 256.0


@exit_codes(stopped="stopped: no submission was written; the same command resumes")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 2 for a user error, 1 for a failure, 130 or 143 after a signal."""
    arguments = _parser().parse_args(argv)
    settings = _settings(arguments)
    files = _segmenter_files(arguments)
    plan = plan_selection(settings)
    _check_independent(plan, files)
    check_output(plan)
    _describe(plan)
    start_jittor(arguments.device)
    networks = _load_networks(plan, files, arguments.inception_weights)
    try:
        outcome = run_selection(plan, networks)
        _print_steps(outcome)
        name = networks.features.what
        sources = Sources(arguments.segmenter, arguments.judge, name)
        made = write_selection(plan, outcome, sources)
    except Stopped as stopped:
        return stopped.exit_code
    print(f"submission: {made.zip_path}")
    print(f"overview:   {made.overview_path}")
    folder = settings.output_path
    print(f"evidence:   {folder / REPORT}, {EVIDENCE}; table: {settings.table or folder / TABLE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.select", __doc__)
    add = parser.add_argument
    add("--name", required=True, metavar="RUN", help="the run to select from")
    add(
        "--segmenter", required=True, metavar="FILE",
        help="the segmenter that chooses, as train.py --task segmentation makes it",
    )  # fmt: skip
    add("--judge", metavar="FILE", help="another segmenter, that reports and never chooses")
    add("--with", dest="others", nargs="+", default=[], metavar="RUN", help="further runs to mix")
    add(
        "--average", type=int, default=3, metavar="K",
        help="average up to K of a run's best checkpoints, as long as that improves (3; 1: none)",
    )  # fmt: skip
    add(
        "--batches", type=int, default=50, metavar="N",
        help="training batches that an average's batch-norm statistics are estimated from (50)",
    )  # fmt: skip
    add(
        "--seeds", type=int, default=1, metavar="N",
        help="best of N noise seeds per layout (1); needs --judge and a generator with noise",
    )  # fmt: skip
    add(
        "--table", metavar="FILE",
        help="selection.json, edited, or {layout: run}: takes these images and chooses none",
    )  # fmt: skip
    add(
        "--regions", action="store_true",
        help="take another run's pixels on the classes that it generates better",
    )  # fmt: skip
    add(
        "--feather", type=float, default=None, metavar="PIXELS",
        help="standard deviation of the blur at the borders of --regions (4; 0: hard edges)",
    )  # fmt: skip
    add(
        "--inception-weights", "--inception_weights", metavar="FILE",
        help="weights of pytorch-fid: FID in place of FD-EffNet, and the score as the objective",
    )  # fmt: skip
    for flag, metavar, text in (
        ("input-path", "LABELS", "folder of the layouts, as for test.sh (the run's own)"),
        ("img-path", "STYLES", "folder of the style photos, as for test.sh"),
        ("output-path", "DIR", "folder for all files (results/RUN/selected)"),
    ):
        add(f"--{flag}", f"--{flag.replace('-', '_')}", metavar=metavar, help=text)
    add("--style", default="reference", help="reference, noise or a photo, as for test.sh")
    add("--seed", type=int, default=0, metavar="N", help="the first seed (0)")
    add(
        "--size", type=int, nargs=2, metavar=("H", "W"),
        help="size of the images, as for test.sh (384 512)",
    )  # fmt: skip
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)")
    add(
        "--results-path", "--results_path", default="results", metavar="DIR",
        help="folder that holds the runs (results)",
    )  # fmt: skip
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    """The settings of the flags; UserError for those out of range or without effect."""
    _check_range("--average", arguments.average, 1, MOST_AVERAGED)
    _check_range("--batches", arguments.batches, 1, MOST_BATCHES)
    _check_range("--seeds", arguments.seeds, 1, MOST_SEEDS)
    if arguments.feather is not None:
        _check_range("--feather", arguments.feather, 0, MOST_FEATHER)
        if not arguments.regions:
            raise UserError("--feather has no effect without --regions. Remove it")
    if arguments.regions and not arguments.others:
        raise UserError("--regions has no effect without --with. Name another run, or remove it")
    if arguments.table is not None and arguments.seeds > 1:
        raise UserError("--seeds has no effect with --table, which names the images. Remove it")
    if arguments.seeds > 1 and arguments.judge is None:
        raise UserError(
            "--seeds: expected --judge FILE with a choice per image, got none: the segmenter that "
            "chooses an image must not score it. Name a second segmenter"
        )
    height, width = arguments.size or (None, None)
    options = TestOptions(
        name=arguments.name,
        input_path=arguments.input_path,
        img_path=arguments.img_path,
        style=arguments.style,
        seed=arguments.seed,
        device=arguments.device,
        height=height,
        width=width,
        results_path=arguments.results_path,
    ).validate()
    given = arguments.output_path
    return Settings(
        options,
        output_of(arguments.name, arguments.results_path) if given is None else expand(given),
        tuple(arguments.others),
        judged=arguments.judge is not None,
        average=arguments.average,
        batches=arguments.batches,
        seeds=arguments.seeds,
        regions=arguments.regions,
        feather=Settings.feather if arguments.feather is None else arguments.feather,
        table=None if arguments.table is None else expand(arguments.table),
    )


def _check_range(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UserError(f"{flag}: expected {least:g}..{most:g}, got {value:g}. Correct it")


def _segmenter_files(arguments: argparse.Namespace) -> dict[str, Path]:
    """The segmenters by flag; UserError if one is missing, or if both are the same file."""
    given = {"--segmenter": arguments.segmenter, "--judge": arguments.judge}
    files = {flag: expand(text) for flag, text in given.items() if text is not None}
    for flag, path in files.items():
        if not is_file(path):
            raise UserError(
                f"{flag}: expected a segmenter, got {show_path(path)}, which is no file. Correct it"
            )
    if len(files) == 2 and len({stamp_of(path) for path in files.values()}) == 1:
        raise UserError(
            "--judge: expected another segmenter than --segmenter, got a file with the same "
            "content. Name a second segmenter, or remove --judge"
        )
    return files


def _check_independent(plan: SelectionPlan, files: dict[str, Path]) -> None:
    """Raise UserError if a run was trained against the segmenter that reports."""
    flag = "--judge" if "--judge" in files else "--segmenter"
    for run, images in plan.plans.items():
        options = images.snapshot.options
        learned = options.loss.lambda_segmentation or options.discriminator.segmenter_discriminator
        used = options.loss.segmenter
        if not learned or used is None or not is_file(expand(used)):
            continue
        if stamp_of(expand(used)) == stamp_of(files[flag]):
            raise UserError(
                f"{flag}: expected a segmenter that reports and that no run was trained against, "
                f"got --segmenter {show_path(used)} of {run}. Name another one with --judge"
            )


def _load_networks(
    plan: SelectionPlan, files: dict[str, Path], inception_weights: str | None
) -> Networks:
    """Load the networks; UserError if a segmenter does not fit the layouts or the images."""
    name = EFFICIENTNET if inception_weights is None else INCEPTION
    digest = "" if inception_weights is None else stamp_of(expand(inception_weights))[1]
    features = Network(name, name + digest, load_network(name, inception_weights))
    segmenters = {
        flag: Network(path.name, stamp_of(path)[1], load_predictor(path))
        for flag, path in files.items()
    }
    height, width = plan.plans[plan.settings.runs[0]].size
    for flag, segmenter in segmenters.items():
        predictor = segmenter.network
        require_classes(predictor.classes, plan.classes, f"{flag} {show_path(files[flag])}")
        if min(height, width) < predictor.smallest_side:
            raise UserError(
                f"--size: expected sides of {predictor.smallest_side} pixels or more for the "
                f"segmenter, got {height} x {width}. Name a larger size"
            )
    return Networks(
        features,
        segmenters["--segmenter"],
        segmenters.get("--judge"),
        _load,
        is_fid=inception_weights is not None,
    )


def _load(snapshot: Snapshot, weights: str) -> Synthesizer:
    from inference.synthesizer import load_synthesizer

    return load_synthesizer(snapshot, weights)


def _describe(plan: SelectionPlan) -> None:
    """Print the plan before the work."""
    for run, generators in plan.generators.items():
        print(f"{run}: {len(generators)} snapshots, {len(plan.layouts)} layouts")
        print(*plan.plans[run].notes, sep="\n", end="\n" if plan.plans[run].notes else "")
    if plan.settings.judged:
        print(f"choosing and reporting: all {len(plan.layouts)} layouts, two segmenters")
    else:
        print(f"choosing: {len(plan.choosing)} layouts; reporting: {len(plan.reporting)} others")
    print(f"photos: {len(plan.pairs)}", flush=True)


def _print_steps(outcome: Outcome) -> None:
    """Print the numbers that the judge reports, and the verdict."""
    print("reported:")
    for step in outcome.steps:
        quality = step.quality
        mask = quality.mask_accuracy
        shown = "not measured" if mask is None else f"{mask:.4f}"
        gain = "" if step.gain is None else f" ({step.gain[0]:+.4f} ± {step.gain[1]:.4f})"
        name = "FID" if quality.is_fid else "FD-EffNet"
        print(
            f"  {step.label}: mask accuracy {shown}{gain}, {name} {quality.distance:.3f}, "
            f"N = {quality.images}"
        )
    on_photos = outcome.ceilings
    judge = "" if on_photos.judge is None else f", judge {on_photos.judge:.4f}"
    print(f"  mask accuracy on {on_photos.photos} photos: segmenter {on_photos.chooser:.4f}{judge}")
    print(outcome.verdict)


if __name__ == "__main__":
    sys.exit(main())
