"""The groups of a training run's options: one frozen dataclass per group.

Sizes are in pixels, height before width. Times are in seconds unless the name says minutes. A
field says itself whether a run may resume with another value (`resume`) and what it needs to have
an effect (`needs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from options.fields import (
    MOST,
    Need,
    option,
)
from options.generators import (
    CONTENT_KINDS,
    DEPTH_WORDS,
    GENERATORS,
    ContentKind,
    GeneratorSpec,
    StyleKind,
    Task,
    generators_with,
)

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]


def _one_of(names: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda run: run.generator.generator in names


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}" if len(names) > 1 else names[0]


def _is_synthesis(run: Any) -> bool:
    return run.data.task == "synthesis"


def _has_layouts(run: Any) -> bool:
    return run.data.content_kind == "layout"


_ENCODERS = generators_with("style_encoder")
_STREAMS = generators_with("style_stream")
_NORMS = generators_with("norm_choice")
SYNTHESIS = Need("--task synthesis", _is_synthesis)
LAYOUTS = Need("--task synthesis or segmentation", _has_layouts)
SEGMENTATION = Need("--task segmentation", lambda run: run.data.task == "segmentation")
GAN = Need("--task synthesis or translation", lambda run: run.data.task != "segmentation")
ENCODER = Need(
    f"--generator {_list(_ENCODERS)}, and --task synthesis",
    lambda run: _one_of(_ENCODERS)(run) and _is_synthesis(run),
)
VAE = Need("--vae", lambda run: run.generator.vae)
TSIT_LAYOUTS = Need(
    f"--generator {_list(_STREAMS)} and --task synthesis",
    lambda run: _one_of(_STREAMS)(run) and _is_synthesis(run),
)
TSIT_WITHOUT_VAE = Need(
    f"--generator {_list(_STREAMS)} without --vae",
    lambda run: _one_of(_STREAMS)(run) and not run.generator.vae,
)
STYLE_STREAM = Need(
    f"--generator {_list(_STREAMS)} --style-stream",
    lambda run: _one_of(_STREAMS)(run) and run.generator.style_stream,
)
NORM_CHOICE = Need(f"--generator {_list(_NORMS)}", _one_of(_NORMS))
VGG = Need("--lambda-vgg above 0", lambda run: run.loss.lambda_vgg > 0)
EVALUATION = Need("--evaluate-every", lambda run: run.training.evaluate_every is not None)
TRANSFORMER = Need(
    "--encoder mit_b0, mit_b1 or mit_b2", lambda run: run.segmenter.encoder.startswith("mit_")
)
SEGMENTATION_LOSS = Need(
    "--lambda-segmentation above 0", lambda run: run.loss.lambda_segmentation > 0
)
SEGMENTER = Need(
    "--lambda-segmentation above 0, --segmenter-discriminator or --evaluate-every",
    lambda run: (
        run.loss.lambda_segmentation > 0
        or run.discriminator.segmenter_discriminator
        or run.training.evaluate_every is not None
    ),
)
GPU = Need("--device cuda", lambda run: run.training.device != "cpu")


@dataclass(frozen=True)
class DataOptions:
    """The dataset and how it becomes batches."""

    task: Task = option(  # noqa: RUF009 the alias hides a Literal
        "synthesis",
        "synthesis generates photos from layouts; translation (tsit) transfers the photos in "
        "DIR/content to the style of the unpaired photos in DIR/style; segmentation predicts "
        "layouts of photos, to measure images with",
        optional_in_files=True,
    )
    input_path: str | None = option(
        None,
        "folder of the training pairs, or of content and style; without it the built-in demo "
        "dataset is generated",
        flags=["--data"],
        metavar="DIR",
        resume="logged",
    )
    height: int = option(384, "height of the training images, pixels", minimum=16, maximum=8192)
    width: int = option(512, "width of the training images, pixels", minimum=16, maximum=8192)
    classes: int = option(
        29,
        "number of classes; label ids are 0..classes-1",
        minimum=1,
        maximum=65535,
        needs=LAYOUTS,
    )
    unknown_label: int | None = option(
        None,
        "label id that becomes a class of its own, e.g. 255",
        minimum=0,
        maximum=65535,
        metavar="ID",
        needs=LAYOUTS,
    )
    first_id: int | None = option(
        None,
        "label id of the first class, e.g. 1 if the ids count from 1; without it 0, or 1 if the "
        "ids allow nothing else (CMP facades)",
        minimum=0,
        maximum=65535,
        metavar="ID",
        needs=LAYOUTS,
        optional_in_files=True,
    )
    instances: bool = option(
        False, "add instance boundary maps as an input channel", needs=SYNTHESIS
    )
    bad_pair_limit: float = option(
        0.05,
        "fraction of bad pairs, 0 to 1, above which the run stops",
        minimum=0.0,
        maximum=1.0,
        metavar="FRACTION",
        resume="free",
    )
    list_miss_limit: float = option(
        0.05,
        "fraction of the names in a selection list, 0 to 1, that may match no pair; above it the "
        "run stops",
        minimum=0.0,
        maximum=1.0,
        metavar="FRACTION",
        resume="free",
        needs=LAYOUTS,
        optional_in_files=True,
    )
    flip: bool = option(True, "flip pairs horizontally at random")
    load_scale: float = option(
        1.0,
        "resize to this multiple of the size, then crop at random",
        minimum=1.0,
        maximum=4.0,
        metavar="FACTOR",
        needs=GAN,
    )
    held_out: float = option(
        0.1,
        "fraction of the pairs, 0 to 0.9, that measure the accuracy and are not trained on; pairs "
        "in DIR/val replace them",
        minimum=0.0,
        maximum=0.9,
        metavar="FRACTION",
        needs=SEGMENTATION,
        optional_in_files=True,
    )
    min_scale: float = option(
        0.5,
        "least random scale: the shorter side of a photo over that of the crop",
        minimum=0.1,
        maximum=4.0,
        metavar="FACTOR",
        needs=SEGMENTATION,
        optional_in_files=True,
    )
    max_scale: float = option(
        2.0,
        "greatest random scale",
        minimum=0.1,
        maximum=8.0,
        metavar="FACTOR",
        needs=SEGMENTATION,
        optional_in_files=True,
    )
    max_class_share: float = option(
        0.75,
        "share of a crop, 0 to 1, that one class may have; ten crops are tried",
        above=0.0,
        maximum=1.0,
        metavar="FRACTION",
        needs=SEGMENTATION,
        optional_in_files=True,
    )
    color_jitter: bool = option(
        True,
        "random brightness, contrast, saturation and hue",
        needs=SEGMENTATION,
        optional_in_files=True,
    )
    epoch_images: int | None = option(
        None,
        "images per epoch: a larger dataset is sampled every epoch, a smaller one repeats; "
        "without it every pair once",
        minimum=1,
        maximum=MOST,
        metavar="N",
    )
    workers: int = option(
        2, "processes that read and check files", minimum=1, maximum=256, resume="free"
    )

    @property
    def layout_classes(self) -> int:
        """Number of classes that the networks see, an unknown class included."""
        return self.classes + (self.unknown_label is not None)

    @property
    def content_kind(self) -> ContentKind:
        """The input that an image is generated from."""
        return CONTENT_KINDS[self.task]


@dataclass(frozen=True)
class GeneratorOptions:
    """Generator architecture."""

    generator: str = option(
        "tsit",
        "generator network; pix2pix and pix2pixhd set the losses, scales and optimizer of their "
        "publications",
        choices=tuple(GENERATORS),
    )
    channels: int = option(64, "base channels of the generator", minimum=1, maximum=1024)
    num_downsamples: int = option(
        7,
        "number of 2x downsamplings to the coarsest feature map: spade 4..7 (normal 5, more 6, "
        "most 7), tsit and pix2pix 4..8, pix2pixhd 4..6",
        minimum=4,
        maximum=8,
        words=DEPTH_WORDS,
    )
    vae: bool = option(False, "train a style encoder (VAE)", needs=ENCODER)
    latent_size: int = option(
        256, "with --vae: latent dimension", minimum=1, maximum=65536, needs=VAE
    )
    style_stream: bool = option(True, "tsit: take the style from a photo", needs=TSIT_LAYOUTS)
    start: Literal["layout", "noise"] = option(
        "layout",
        "tsit without --vae: input of the first layer, the coarsest feature map (translation: "
        "noise)",
        needs=TSIT_WITHOUT_VAE,
    )
    fadain_alpha: float = option(
        1.0,
        "tsit with its style stream: strength of FAdaIN, 0 to 1",
        minimum=0.0,
        maximum=1.0,
        metavar="ALPHA",
        needs=STYLE_STREAM,
    )
    norm: Literal["batch", "instance"] = option(
        "batch",
        "normalization inside SPADE and FADE, or of pix2pix and its discriminator (batch is "
        "synchronized across processes)",
        needs=NORM_CHOICE,
    )
    content_channels: int | None = option(
        None,
        "tsit: channels inside the first block of the content stream; without it those of the "
        "layout",
        minimum=1,
        maximum=65536,
        metavar="N",
        needs=TSIT_LAYOUTS,
    )

    @property
    def spec(self) -> GeneratorSpec:
        """The properties of this generator."""
        return GENERATORS[self.generator]

    @property
    def style(self) -> StyleKind:
        """The source of an image's style."""
        if self.vae:
            return "vector"
        return "photo" if self.spec.style_stream and self.style_stream else "none"


@dataclass(frozen=True)
class DiscriminatorOptions:
    """Multi-scale patch discriminator."""

    discriminator_scales: int = option(
        2, "number of discriminators, each at half the size of the previous", minimum=1, maximum=5
    )
    discriminator_layers: int = option(4, "feature layers per discriminator", minimum=2, maximum=8)
    discriminator_channels: int = option(
        64, "base channels of each discriminator", minimum=1, maximum=1024
    )
    segmenter_discriminator: bool = option(
        False,
        "add a discriminator of the features of --segmenter, which stays frozen",
        needs=SYNTHESIS,
        optional_in_files=True,
    )


@dataclass(frozen=True)
class LossOptions:
    """Loss weights; a loss of weight 0 is left out."""

    gan_loss: Literal["hinge", "least_squares", "cross_entropy", "wasserstein"] = option(
        "hinge", "adversarial loss", resume="logged"
    )
    lambda_gan: float = option(1.0, "weight of the adversarial loss", minimum=0.0, resume="logged")
    lambda_l1: float = option(
        0.0,
        "weight of the L1 distance to the photo (pix2pix: 100)",
        minimum=0.0,
        resume="logged",
        needs=SYNTHESIS,
    )
    lambda_feature: float = option(10.0, "weight of feature matching", minimum=0.0, resume="logged")
    lambda_vgg: float = option(
        20.0, "weight of the VGG-19 perceptual loss", minimum=0.0, resume="logged"
    )
    vgg_distance: Literal["l1", "cosine"] = option(
        "l1", "distance between VGG features", resume="logged", needs=VGG
    )
    vgg_weights: str | None = option(
        None,
        "file of VGG-19 weights (.pth, .pkl or .safetensors); without it they are downloaded",
        metavar="FILE",
        resume="free",
        needs=VGG,
    )
    vgg_required: bool = option(
        True,
        "stop if the VGG-19 weights are unavailable instead of training without that loss",
        resume="free",
        needs=VGG,
    )
    lambda_kl: float = option(
        0.05, "with --vae: weight of the KL loss", minimum=0.0, resume="logged", needs=VAE
    )
    lambda_segmentation: float = option(
        0.0,
        "weight of the loss of a frozen segmenter, which images learn to fool (docs/training.md)",
        minimum=0.0,
        resume="logged",
        needs=SYNTHESIS,
        optional_in_files=True,
    )
    segmentation_loss: Literal["cross_entropy", "mask_probability"] = option(
        "cross_entropy",
        "the segmenter's loss: cross_entropy, or mask_probability, -log of the mean probability "
        "of the right class",
        resume="logged",
        needs=SEGMENTATION_LOSS,
        optional_in_files=True,
    )
    segmenter: str | None = option(
        None,
        "file of the segmenter of --lambda-segmentation, --segmenter-discriminator and "
        "--evaluate-every",
        metavar="FILE",
        resume="free",
        needs=SEGMENTER,
        optional_in_files=True,
    )
    second_segmenter: str | None = option(
        None,
        "file of a segmenter that no loss uses: it measures the images of --evaluate-every, and a "
        "warning appears if the two disagree about the samples",
        metavar="FILE",
        resume="free",
        needs=SEGMENTER,
        optional_in_files=True,
    )


@dataclass(frozen=True)
class SegmenterOptions:
    """Segmenter, and its optimizer AdamW."""

    encoder: Literal["efficientnet_lite0", "mit_b0", "mit_b1", "mit_b2"] = option(
        "efficientnet_lite0",
        "efficientnet_lite0, pretrained on ImageNet, comes with the requirements; mit_b0 to mit_b2 "
        "are SegFormer",
        optional_in_files=True,
    )
    encoder_weights: str | None = option(
        None,
        "mit_b*.pth, pretrained on ImageNet; without it the encoder starts at random",
        metavar="FILE",
        resume="free",
        needs=TRANSFORMER,
        optional_in_files=True,
    )
    drop_path: float = option(
        0.1,
        "probability that training skips the last block of the encoder",
        minimum=0.0,
        below=1.0,
        metavar="RATE",
        needs=TRANSFORMER,
        resume="logged",
        optional_in_files=True,
    )
    warmup_steps: int = option(
        1500,
        "steps over which the learning rate rises; then it falls linearly to 0 over each phase",
        minimum=0,
        maximum=MOST,
        metavar="N",
        resume="logged",
        optional_in_files=True,
    )
    head_factor: float = option(
        10.0,
        "learning rate of the head over that of the encoder",
        above=0.0,
        maximum=1000.0,
        metavar="FACTOR",
        resume="logged",
        optional_in_files=True,
    )
    weight_decay: float = option(
        0.01,
        "weight decay of AdamW, not of norms",
        minimum=0.0,
        maximum=1.0,
        metavar="DECAY",
        resume="logged",
        optional_in_files=True,
    )


@dataclass(frozen=True)
class OptimizerOptions:
    """Adam and the EMA of the weights; the schedule sets the learning rates."""

    beta1: float = option(0.0, "Adam's first decay rate", minimum=0.0, below=1.0)
    beta2: float = option(0.9, "Adam's second decay rate", minimum=0.0, below=1.0, resume="logged")
    ttur: bool = option(
        True,
        "two time-scale update rule: generator at half the learning rate, discriminator at twice",
        resume="logged",
        needs=GAN,
    )
    ema_decay: float = option(
        0.999,
        "decay of the generator EMA per step; 0 keeps no average",
        minimum=0.0,
        below=1.0,
        metavar="DECAY",
    )


@dataclass(frozen=True)
class TrainingOptions:
    """Name, schedule and device of the run, and what it logs and saves when."""

    name: str | None = option(
        None,
        "name of the run's folder; without it <data>-<schedule>-<generator>",
        metavar="RUN",
        resume="free",
    )
    schedule: str = option(
        "quick",
        "quick, main, aux, pix2pixhd, translation, segmenter, or the path of a schedule file",
        metavar="NAME",
        resume="free",
    )
    phase: str | None = option(
        None,
        "run only this phase of the schedule; without it all phases",
        metavar="PHASE",
        resume="free",
    )
    seed: int = option(0, "seed of weights, data order and noise", minimum=0, maximum=2**32 - 1)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where to compute", resume="free")
    precision: Precision = option(  # noqa: RUF009 the alias hides a Literal
        "float32",
        "on a GPU: precision of convolutions and matrix products; weights, norms and losses stay "
        "float32 (docs/gpu.md)",
        resume="logged",
        needs=GPU,
        optional_in_files=True,
    )
    log_every: int = option(10, "log every N steps", minimum=1, maximum=MOST, resume="free")
    sample_every: int = option(
        1000, "save a sample sheet every N steps", minimum=1, maximum=MOST, resume="free"
    )
    evaluate_every: int | None = option(
        None,
        "measure the generator every N steps on layouts that it is not trained on, and keep the "
        "best one; without it never",
        minimum=1,
        maximum=MOST,
        metavar="N",
        resume="free",
        needs=SYNTHESIS,
        optional_in_files=True,
    )
    evaluate_layouts: int = option(
        100,
        "number of these layouts",
        minimum=2,
        maximum=MOST,
        resume="free",
        needs=EVALUATION,
        optional_in_files=True,
    )
    best_measure: Literal["fd_effnet", "mask_accuracy"] = option(
        "fd_effnet",
        "the measure of the best generator; mask_accuracy needs --segmenter or --second-segmenter",
        resume="free",
        needs=EVALUATION,
        optional_in_files=True,
    )
    checkpoint_minutes: float = option(
        10.0, "minutes between checkpoints", above=0.0, metavar="MINUTES", resume="free"
    )
    results_path: str = option(
        "results", "folder that holds the runs", metavar="DIR", resume="free"
    )
    dry_run: bool = option(False, "print options and schedule, check them, and stop", resume="free")
