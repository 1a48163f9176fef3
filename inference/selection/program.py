"""A selection from start to end: plan, choices, judge, and what it recommends.

plan = plan_selection(settings)             # raises UserError before Jittor is imported
outcome = run_selection(plan, networks)
write_selection(plan, outcome)              # inference.selection.evidence
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from data.content import at_even_distances
from data.listing import stem_of
from inference.selection.choices import ImageSet, Origin, Selector
from inference.selection.gallery import Gallery
from inference.selection.generators import Generator, Load, make_average
from inference.selection.measures import Measurer, Network, Quality
from inference.selection.plan import SelectionPlan
from inference.selection.table import ImageTable
from metrics.image_counts import ImageCounts


@dataclass(frozen=True)
class Networks:
    """The networks of a selection: features, the segmenter that chooses, the judge, the loader."""

    features: Network
    chooser: Network
    judge: Network | None
    load: Load
    is_fid: bool = False


@dataclass(frozen=True)
class Step:
    """A step of the selection as the judge sees it.

    gain: mean difference of the images' mask accuracy from the first step, and its standard error.
    """

    label: str
    quality: Quality
    gain: tuple[float, float] | None


@dataclass(frozen=True)
class Ceilings:
    """Mask accuracies of the segmenters on photos of the dataset; judge: None without one."""

    photos: int
    chooser: float
    judge: float | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a selection recommends, and why.

    images: the recommended ones. confirmed: whether the report confirms an improvement; None if
    mask accuracy is not measured, or if there are no two steps to compare. verdict: that in words.
    """

    images: ImageSet
    steps: list[Step]
    confirmed: bool | None
    verdict: str
    candidates: list[dict[str, Any]]
    notes: list[str]
    ceilings: Ceilings


def run_selection(
    plan: SelectionPlan, networks: Networks, say: Callable[[str], object] = print
) -> Outcome:
    """Make the choices and let the judge compare them with the last checkpoint.

    Prints a line per candidate and decision. Raises Stopped after a signal, UserError and Failure
    as the synthesis does.
    """
    settings = plan.settings
    gallery = Gallery(plan.plans, plan.cache, networks.load)
    measurer = Measurer(
        plan.layouts,
        plan.classes,
        networks.features,
        [pair.image_path for pair in plan.pairs],
        plan.cache,
        is_fid=networks.is_fid,
    )
    selector = Selector(gallery, measurer, networks.chooser, plan.choosing, say)
    main = settings.runs[0]
    chosen: dict[str, ImageSet] = {}
    for run in settings.runs:
        chosen[run], last, checkpoint = _choose_generator(plan, selector, run)
        if run == main:
            stages = [("last checkpoint", last), ("best checkpoint", checkpoint)]
            stages.append(("average", chosen[run]))
    base = chosen[main]
    if plan.table is not None:
        images = _by_table(plan.table, selector, chosen, base)
        stages.append(("", images))
    else:
        base = chosen[main]
        for other in chosen.values():
            base = other if other.quality.is_better_than(base.quality) else base
        images = _by_image(plan, selector, chosen, base)
        stages += [(f"run {base.origin.generator.run}", base), ("", images)]
    if settings.regions:
        compared = {run: one for run, one in chosen.items() if one is not base}
        images = selector.choose_regions(images, base, compared, settings.feather)
        stages.append(("", images))
    return _judge(plan, networks, measurer, selector, stages)


def _choose_generator(
    plan: SelectionPlan, selector: Selector, run: str
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """The chosen candidate of a run, that of its last checkpoint, and that of its best one."""
    settings, seed = plan.settings, plan.settings.options.seed
    sets = (selector.candidate(generator, seed) for generator in plan.generators[run])
    ordered, last = selector.best(sets, settings.average)
    if settings.average < 2:
        return ordered[0], last, ordered[0]
    if len(ordered) == 1:
        selector.note(f"{run}: one snapshot, so that there is nothing to average")

    def make(members: list[Generator]) -> Generator:
        return make_average(members, settings.batches, plan.cache, selector.gallery.load)

    return selector.average(ordered, make), last, ordered[0]


def _by_table(
    table: ImageTable, selector: Selector, chosen: dict[str, ImageSet], base: ImageSet
) -> ImageSet:
    """The images that a table names; other layouts keep those of `base`."""
    paths, origins = list(base.paths), list(base.origins)
    groups: dict[tuple[str, int], list[int]] = {}
    for row, path in enumerate(selector.measurer.layouts):
        stem = stem_of(path)
        run = table.runs.get(stem, base.origin.generator.run)
        groups.setdefault((run, table.seeds.get(stem, base.origin.seed)), []).append(row)
    for (run, seed), rows in groups.items():
        origin = Origin(chosen[run].origin.generator, seed)
        made = selector.gallery.generate(origin.generator, seed, rows)
        for row, path in zip(rows, made, strict=True):
            paths[row], origins[row] = path, origin
    changed = sum(one != base.origin for one in origins)
    selector.note(f"table: {changed} of {len(paths)} images are not those of {base.label}")
    return selector.measure(f"table, images replaced: {changed}", paths, origins)


def _by_image(
    plan: SelectionPlan, selector: Selector, chosen: dict[str, ImageSet], base: ImageSet
) -> ImageSet:
    """The best image per layout, of all runs and seeds."""
    settings = plan.settings
    if not settings.judged:
        if settings.others:
            selector.note(
                "per image: not done without --judge, as the segmenter that chooses an image must "
                "not score it"
            )
        return base
    variants = [images for images in chosen.values() if images is not base]
    for run in settings.runs if settings.seeds > 1 else ():
        generator = chosen[run].origin.generator
        if not selector.gallery.takes_noise(generator):
            selector.note(
                f"{run}: its images depend on no noise, so that --seeds is skipped for it"
            )
            continue
        first = settings.options.seed
        variants += [
            selector.candidate(generator, first + offset) for offset in range(1, settings.seeds)
        ]
    return selector.choose_variants(base, variants) if variants else base


def _judge(
    plan: SelectionPlan,
    networks: Networks,
    measurer: Measurer,
    selector: Selector,
    stages: Sequence[tuple[str, ImageSet]],
) -> Outcome:
    """Measure the stages that differ, and recommend the last one or the last checkpoint."""
    kept: list[tuple[str, ImageSet]] = []
    for label, images in stages:
        if not kept or images is not kept[-1][1]:
            kept.append((label, images))
    by_hand = plan.table is not None
    counted: list[ImageCounts | None] = []
    for _, images in kept:
        if networks.judge is not None:
            counted.append(measurer.counts(networks.judge, images.paths, images.label))
        else:
            # A table may come from choices of this segmenter, which must not score them then.
            counted.append(None if by_hand else images.counts)
    steps: list[Step] = []
    for (label, images), counts in zip(kept, counted, strict=True):
        quality = measurer.quality(counts, images.features, plan.reporting)
        gain = None
        if counts is not None and counted[0] is not None and steps:
            gain = quality.gain_over(steps[0].quality)
        steps.append(Step(f"{label}: {images.label}" if label else images.label, quality, gain))
    confirmed, verdict = _decide(steps, by_hand=by_hand)
    images = kept[0][1] if confirmed is False and not by_hand else kept[-1][1]
    ceilings = _measure_photos(plan, networks, measurer)
    return Outcome(images, steps, confirmed, verdict, selector.candidates, selector.notes, ceilings)


def _measure_photos(plan: SelectionPlan, networks: Networks, measurer: Measurer) -> Ceilings:
    """Measure the segmenters on as many held-out photos as layouts, at even distances."""
    pairs = at_even_distances(plan.held_out, len(plan.layouts))
    size = plan.plans[plan.settings.runs[0]].size
    found = [
        None if one is None else measurer.photo_accuracy(one, pairs, size)
        for one in (networks.chooser, networks.judge)
    ]
    assert found[0] is not None
    return Ceilings(len(pairs), found[0], found[1])


def _decide(steps: Sequence[Step], *, by_hand: bool) -> tuple[bool | None, str]:
    """Whether the judge confirms the last step, and the verdict in words."""
    first, last = steps[0].quality, steps[-1].quality
    if len(steps) == 1:
        return None, "the last checkpoint is the best candidate, and is recommended"
    if first.mask_accuracy is None or last.mask_accuracy is None:
        return None, (
            "mask accuracy is not measured: the table may come from choices of the only segmenter. "
            "Name a second one with --judge. The table is followed"
        )
    confirmed = last.is_better_than(first)
    if confirmed:
        gain, error = last.gain_over(first)
        how = ""
        if not last.is_fid and abs(gain) <= error:
            how = (
                ": a smaller distance from the photos, and a mask accuracy that differs by less "
                "than its standard error"
            )
        return True, f"the report confirms an improvement over the last checkpoint{how}"
    if by_hand:
        return (
            False,
            "the report does not confirm an improvement; the table is followed all the same",
        )
    return False, "the report does not confirm an improvement: the last checkpoint is recommended"
