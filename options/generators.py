"""The generators and the tasks, in one table that the whole project reads.

    GENERATORS["tsit"].max_downsamples

Adding a generator starts here; CONTRIBUTING lists the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Task: TypeAlias = Literal["synthesis", "translation", "segmentation"]
# The input that an image is generated from; of a segmenter, the target.
ContentKind: TypeAlias = Literal["layout", "photo"]
CONTENT_KINDS: dict[Task, ContentKind] = {
    "synthesis": "layout",
    "translation": "photo",
    "segmentation": "layout",
}
# Source of the style: none, a latent vector (of the encoder, or noise), or a photo.
StyleKind: TypeAlias = Literal["none", "vector", "photo"]


@dataclass(frozen=True)
class GeneratorSpec:
    """Properties of a generator.

    Attributes:
        min_downsamples, max_downsamples: range of --num-downsamples.
        published_depths: the depths of the publication, in words.
        depth_words: the publication's names of depths.
        published: field -> value of the publication, if it differs from the option's default.
        tasks: the tasks that it can be trained for.
        style_encoder: whether --vae trains a style encoder with it.
        style_stream: whether it can take its style from a photo (--style-stream).
        norm_choice: whether --norm selects its normalization.
        stages: parts that a phase of a schedule may train alone.
        smallest_map: the smallest feature map that it can normalize or pad: "any", "two pixels",
            or "two per side".
        patch_factor: size of its discriminators' smallest input over 2 ** (layers - 1).
        half_size_stage: whether its first stage trains at half the size.
    """

    min_downsamples: int
    max_downsamples: int
    published_depths: str
    depth_words: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ("synthesis",)
    style_encoder: bool = False
    style_stream: bool = False
    norm_choice: bool = True
    stages: tuple[str, ...] = ()
    smallest_map: Literal["any", "two pixels", "two per side"] = "two pixels"
    patch_factor: int = 1
    half_size_stage: bool = False


GENERATORS: dict[str, GeneratorSpec] = {
    # Jiang et al. 2020
    "tsit": GeneratorSpec(
        min_downsamples=4,
        max_downsamples=8,
        published_depths="7",
        tasks=("synthesis", "translation"),
        style_encoder=True,
        style_stream=True,
    ),
    # Park et al. 2019
    "spade": GeneratorSpec(
        min_downsamples=4,
        max_downsamples=7,
        published_depths="5, 6, 7 (normal, more, most)",
        depth_words={"normal": 5, "more": 6, "most": 7},
        style_encoder=True,
    ),
    # Isola et al. 2017
    "pix2pix": GeneratorSpec(
        min_downsamples=4,
        max_downsamples=8,
        published_depths="8, for 256 x 256",
        published={
            "discriminator_scales": 1,
            "gan_loss": "cross_entropy",
            "lambda_feature": 0.0,
            "lambda_vgg": 0.0,
            "lambda_l1": 100.0,
            "beta1": 0.5,
            "beta2": 0.999,
            "ttur": False,
        },
        smallest_map="any",  # it has no norm
        patch_factor=3,  # its discriminator's convolutions pad less
    ),
    # Wang et al. 2018
    "pix2pixhd": GeneratorSpec(
        min_downsamples=4,
        max_downsamples=6,
        published_depths="5",
        published={
            "num_downsamples": 5,
            "discriminator_scales": 3,
            "gan_loss": "least_squares",
            # The publication sums over the three scales; this project averages.
            "lambda_gan": 3.0,
            "lambda_vgg": 10.0,
            "beta1": 0.5,
            "beta2": 0.999,
            "ttur": False,
        },
        norm_choice=False,  # instance normalization, as published
        stages=("global", "enhancer"),
        smallest_map="two per side",  # it pads by reflection
        half_size_stage=True,
    ),
}
DEPTH_WORDS: dict[str, int] = {
    word: depth for spec in GENERATORS.values() for word, depth in spec.depth_words.items()
}
# Task -> field -> value of its publication, if it differs from the option's default.
PUBLISHED_TASKS: dict[str, dict[str, Any]] = {
    "translation": {
        "start": "noise",
        "discriminator_layers": 3,
        "lambda_feature": 1.0,
        "lambda_vgg": 1.0,
    },
    # Xie et al. 2021, section 4.1
    "segmentation": {"beta1": 0.9, "beta2": 0.999, "ema_decay": 0.0},
}


def generators_with(feature: str) -> tuple[str, ...]:
    """The generators whose spec has this boolean feature, e.g. "style_encoder"."""
    return tuple(name for name, spec in GENERATORS.items() if getattr(spec, feature))
