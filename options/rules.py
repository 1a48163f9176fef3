"""Rules between options: what a task, a depth and a flag need. All raise UserError."""

from __future__ import annotations

from typing import Any

from options.errors import UserError, quote
from options.fields import Option
from options.generators import GENERATORS
from options.groups import (
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    TrainingOptions,
)


def no_effect(option: Option, value: Any, need: str) -> UserError:
    """The error for a flag without effect."""
    return UserError(f"{option.show(value)} has no effect without {need}. Remove it")


def check_task(data: DataOptions, generator: GeneratorOptions) -> None:
    """Check that the generator fits the task; translation starts from noise."""
    task = data.task
    if task == "segmentation":
        return
    if task not in generator.spec.tasks:
        names = [name for name, spec in GENERATORS.items() if task in spec.tasks]
        raise UserError(
            f"--task {task}: expected --generator {' or '.join(names)}, got {generator.generator}. "
            "Remove --generator, or name another --schedule"
        )
    if task == "translation" and generator.start != "noise":
        raise UserError(
            f"--task translation: expected --start noise, got --start {generator.start}, which "
            "needs a layout. Remove it"
        )


def check_style(generator: GeneratorOptions) -> None:
    """Check that style has one source: the style stream, or the encoder's vector."""
    if generator.vae and generator.spec.style_stream and generator.style_stream:
        raise UserError(
            f"--vae: expected --no-style-stream with {generator.generator}, got the style stream "
            "as a second source of style. Add --no-style-stream, or remove --vae"
        )


def check_segmenter(loss: LossOptions, discriminator: DiscriminatorOptions) -> None:
    """Check that what uses a segmenter has one."""
    if loss.segmenter is not None:
        return
    for flag, used in (
        (f"--lambda-segmentation {loss.lambda_segmentation:g}", loss.lambda_segmentation > 0),
        ("--segmenter-discriminator", discriminator.segmenter_discriminator),
    ):
        if used:
            raise UserError(f"{flag}: expected --segmenter FILE, got none. Name one, or remove it")


def check_best_measure(loss: LossOptions, training: TrainingOptions) -> None:
    """Check that the measure of the best generator is measured."""
    if training.best_measure == "mask_accuracy" and not (loss.segmenter or loss.second_segmenter):
        raise UserError(
            "--best-measure mask_accuracy: expected --segmenter FILE, got none. Name one, or "
            "remove the flag"
        )


def check_depth(
    data: DataOptions, generator: GeneratorOptions, discriminator: DiscriminatorOptions
) -> None:
    """Check that generator and discriminators can downsample the size as often as asked."""
    kind, spec = generator.generator, generator.spec
    depth = generator.num_downsamples
    height, width = data.height, data.width
    least, most = spec.min_downsamples, spec.max_downsamples
    if not least <= depth <= most:
        raise UserError(
            f"--num-downsamples: expected {least} to {most} for {kind}, got {depth} "
            f"(published depths: {spec.published_depths})"
        )
    step = 2**depth
    if height % step or width % step:
        sizes = nearest_sizes(height, width, step)
        names = " and ".join(f"{h} x {w}" for h, w in sizes)
        fitting = [n for n in range(depth - 1, least - 1, -1) if not (height | width) % 2**n]
        other = f", or --num-downsamples {fitting[0]}" if fitting else ""
        h, w = min(sizes, key=lambda size: abs(size[0] - height) + abs(size[1] - width))
        raise UserError(
            f"--size: expected multiples of {step} ({depth} downsamples), got {height} x {width}. "
            f"Nearest valid: {names}; write --size {h} {w}{other}"
        )
    if spec.smallest_map == "two per side" and min(height, width) == step:
        raise UserError(
            f"--size: expected 2 pixels per side after {depth} downsamples, which {kind} pads by "
            f"reflection, got {height} x {width} with 1. Write --size {2 * height} {2 * width}"
        )
    if spec.smallest_map == "two pixels" and height == width == step:
        fix = f"--num-downsamples {depth - 1}" if depth > least else f"--size {step} {2 * step}"
        raise UserError(
            f"--size: expected 2 pixels after {depth} downsamples, for the norm of the smallest "
            f"map, got {height} x {width} with 1 x 1. Write {fix}"
        )
    scales = discriminator.discriminator_scales
    layers = discriminator.discriminator_layers
    patch = spec.patch_factor * 2 ** (layers - 1)
    smallest = min(height, width) // 2 ** (scales - 1 + spec.half_size_stage)
    if smallest < patch:
        raise UserError(
            f"--discriminator-layers {layers}: expected {patch} pixels per side for the smallest "
            f"discriminator, got {smallest} ({height} x {width} with --discriminator-scales "
            f"{scales}). Lower either flag"
        )


def check_scales(data: DataOptions) -> None:
    """Check that the range of random scales is not empty."""
    if data.min_scale > data.max_scale:
        raise UserError(
            f"--max-scale: expected {data.min_scale:g} (--min-scale) or more, got "
            f"{data.max_scale:g}. Raise it, or lower --min-scale"
        )


def nearest_sizes(height: int, width: int, step: int) -> list[tuple[int, int]]:
    """The nearest sizes (height, width) below and above whose sides are multiples of `step`."""
    below = (height // step * step, width // step * step)
    above = (-(-height // step) * step, -(-width // step) * step)
    return [size for size in dict.fromkeys((below, above)) if min(size) > 0]


def check_name(name: str | None) -> None:
    """Check that a run's name is a plain file name."""
    if name is None:
        return
    bad = next((c for c in name if c in '/\\:*?"<>|' or not c.isprintable()), None)
    if bad is not None or name != name.strip() or name[0] in ".-" or len(name.encode()) > 200:
        raise UserError(
            f'--name: expected a plain file name (no / \\ : * ? " < > |, no space around it, no . '
            f"or - first, at most 200 bytes), got {quote(name)} (e.g. --name night-1)"
        )
