"""The options of a training run and of a submission: frozen dataclasses, their rules, their JSON.

    options = RunOptions(generator=GeneratorOptions(generator="spade", halvings=5)).validate()
    RunOptions.from_json(options.to_json()) == options

Sizes are in pixels with height before width, times in seconds unless the name says minutes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from options.errors import UserError, quote
from options.json_text import parse_json

# Of what is counted: a number above it is a slip of the hand, and no array could hold so many.
MOST = 10**9
Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]
SPADE_DEPTHS = {"normal": 5, "more": 6, "most": 7}
HALVINGS = {"pix2pix": (4, 8), "pix2pixhd": (4, 6), "spade": (4, 7), "tsit": (4, 8)}
PUBLISHED_HALVINGS = {
    "pix2pix": "8, for 256 x 256",
    "pix2pixhd": "5",
    "spade": "5, 6 or 7 (normal, more, most)",
    "tsit": "7",
}
# What a generator was published with, where that is not the default below.
PUBLISHED: dict[str, dict[str, Any]] = {
    "pix2pix": {
        "discriminator_scales": 1,
        "gan_loss": "cross_entropy",
        "lambda_feature": 0.0,
        "lambda_vgg": 0.0,
        "lambda_l1": 100.0,
        "beta1": 0.5,
        "beta2": 0.999,
        "ttur": False,
    },
    "pix2pixhd": {
        "halvings": 5,
        "discriminator_scales": 3,
        "gan_loss": "least_squares",
        # Published is the sum over the three scales; here it is their mean.
        "lambda_gan": 3.0,
        "lambda_vgg": 10.0,
        "beta1": 0.5,
        "beta2": 0.999,
        "ttur": False,
    },
}
# What a task was published with, where that is not the default below.
PUBLISHED_TASKS: dict[str, dict[str, Any]] = {
    "translation": {
        "start": "noise",
        "discriminator_layers": 3,
        "lambda_feature": 1.0,
        "lambda_vgg": 1.0,
    },
}


def _option(default: Any, help: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class DataOptions:
    """Where the pairs lie and how they become batches."""

    task: Literal["synthesis", "translation"] = _option(
        "synthesis",
        "synthesis draws photographs from layouts; translation, tsit's, redraws the photographs in "
        "DIR/content in the style of those in DIR/style, of which no two belong together",
        later=True,
    )
    input_path: str | None = _option(
        None,
        "folder of the training pairs, or of content and style; without it the built-in demo "
        "dataset is drawn",
        flags=["--data"],
        metavar="DIR",
    )
    height: int = _option(384, "height of the training pictures, pixels", minimum=16, maximum=8192)
    width: int = _option(512, "width of the training pictures, pixels", minimum=16, maximum=8192)
    classes: int = _option(
        29, "number of classes; label ids are 0..classes-1", minimum=1, maximum=65535
    )
    unknown_label: int | None = _option(
        None,
        "label id that becomes a class of its own, e.g. 255",
        minimum=0,
        maximum=65535,
        metavar="ID",
    )
    first_id: int | None = _option(
        None,
        "label id of the first class: 1 if the labels count from 1; without it 0, or 1 if the "
        "labels beside their photographs (CMP facades) allow nothing else",
        minimum=0,
        maximum=65535,
        metavar="ID",
        later=True,
    )
    instances: bool = _option(False, "use instance maps: their borders become an input channel")
    bad_pair_limit: float = _option(
        0.05,
        "share of bad pairs, 0 to 1, above which the run stops",
        minimum=0.0,
        maximum=1.0,
        metavar="SHARE",
    )
    list_miss_limit: float = _option(
        0.05,
        "share of a selection list's names, 0 to 1, that may match no pair; above it the run stops",
        minimum=0.0,
        maximum=1.0,
        metavar="SHARE",
        later=True,
    )
    flip: bool = _option(True, "mirror pairs left to right at random")
    load_scale: float = _option(
        1.0,
        "resize to this many times the size, then crop at random",
        minimum=1.0,
        maximum=4.0,
        metavar="FACTOR",
    )
    epoch_images: int | None = _option(
        None,
        "pictures that an epoch shows: a larger dataset is sampled anew each epoch, a smaller one "
        "repeated; without it every pair once",
        minimum=1,
        maximum=MOST,
        metavar="N",
    )
    workers: int = _option(2, "processes that read and check files", minimum=1, maximum=256)

    @property
    def layout_classes(self) -> int:
        """Classes of a layout as the networks see it, an unknown class included."""
        return self.classes + (self.unknown_label is not None)


@dataclass(frozen=True)
class GeneratorOptions:
    """The network that draws."""

    generator: Literal["tsit", "spade", "pix2pix", "pix2pixhd"] = _option(
        "tsit",
        "generator network; pix2pix and pix2pixhd bring the losses, scales and optimizer that they "
        "were published with",
    )
    channels: int = _option(64, "base channels of the generator", minimum=1, maximum=1024)
    halvings: int = _option(
        7,
        "times the size is halved to the smallest map: spade 4..7 (normal 5, more 6, most 7), "
        "tsit and pix2pix 4..8, pix2pixhd 4..6",
        minimum=4,
        maximum=8,
        words=SPADE_DEPTHS,
    )
    vae: bool = _option(False, "learn a style encoder (VAE)")
    latent_size: int = _option(
        256, "with --vae: length of the style vector", minimum=1, maximum=65536
    )
    style_stream: bool = _option(True, "tsit: take the style from a photograph")
    start: Literal["layout", "noise"] = _option(
        "layout",
        "tsit without --vae: what the generator's smallest map is made from (translation: noise)",
    )
    fadain_alpha: float = _option(
        1.0,
        "tsit with its style stream: strength of FAdaIN, 0 to 1",
        minimum=0.0,
        maximum=1.0,
        metavar="ALPHA",
    )
    norm: Literal["batch", "instance"] = _option(
        "batch",
        "norm of the generator: inside SPADE and FADE, or of pix2pix and its discriminator (batch "
        "is synchronised)",
    )
    content_channels: int | None = _option(
        None,
        "tsit: channels inside the content stream's first block; without it those of the layout",
        minimum=1,
        maximum=65536,
        metavar="N",
    )


@dataclass(frozen=True)
class DiscriminatorOptions:
    """The multi-scale patch discriminator."""

    discriminator_scales: int = _option(
        2, "number of discriminators, each at half the size of the last", minimum=1, maximum=5
    )
    discriminator_layers: int = _option(
        4, "feature layers of each discriminator", minimum=2, maximum=8
    )
    discriminator_channels: int = _option(
        64, "base channels of each discriminator", minimum=1, maximum=1024
    )


@dataclass(frozen=True)
class LossOptions:
    """The losses and their weights; 0 leaves a loss out."""

    gan_loss: Literal["hinge", "least_squares", "cross_entropy", "wasserstein"] = _option(
        "hinge", "adversarial loss"
    )
    lambda_gan: float = _option(1.0, "weight of the adversarial loss", minimum=0.0)
    lambda_l1: float = _option(
        0.0, "weight of the L1 distance to the photograph (pix2pix: 100)", minimum=0.0
    )
    lambda_feature: float = _option(10.0, "weight of feature matching", minimum=0.0)
    lambda_vgg: float = _option(20.0, "weight of the VGG-19 perceptual loss", minimum=0.0)
    vgg_distance: Literal["l1", "cosine"] = _option("l1", "distance between VGG features")
    vgg_weights: str | None = _option(
        None,
        "file of VGG-19 weights (.pth, .pkl or .safetensors); without it, a download",
        metavar="FILE",
    )
    vgg_required: bool = _option(
        True, "stop where the VGG-19 weights cannot be had, rather than train without that loss"
    )
    lambda_kl: float = _option(0.05, "with --vae: weight of the KL loss", minimum=0.0)


@dataclass(frozen=True)
class OptimizerOptions:
    """Adam and the average of the weights; the learning rates stand in the schedule."""

    beta1: float = _option(0.0, "Adam's first decay", minimum=0.0, below=1.0)
    beta2: float = _option(0.9, "Adam's second decay", minimum=0.0, below=1.0)
    ttur: bool = _option(
        True, "two time scales: generator at half the learning rate, discriminator at twice"
    )
    ema_decay: float = _option(
        0.999,
        "decay of the generator's averaged weights, a step; 0 keeps no average",
        minimum=0.0,
        below=1.0,
        metavar="DECAY",
    )


@dataclass(frozen=True)
class TrainingOptions:
    """The run: its name, its schedule, its device and what it writes when."""

    name: str | None = _option(
        None,
        "name of the run's folder; without it <data>-<schedule>-<generator>",
        metavar="RUN",
    )
    schedule: str = _option(
        "quick",
        "quick, main, aux, pix2pixhd, translation, or the path of a schedule file",
        metavar="NAME",
    )
    phase: str | None = _option(
        None, "run this phase of the schedule alone; without it all", metavar="PHASE"
    )
    seed: int = _option(0, "seed of weights, order and noise", minimum=0, maximum=2**32 - 1)
    device: Literal["auto", "cpu", "cuda"] = _option("auto", "where to compute")
    precision: Precision = _option(  # noqa: RUF009 the alias hides a Literal
        "float32",
        "on a GPU: of convolutions and products; weights, norms and losses stay float32 "
        "(docs/gpu.md)",
        later=True,
    )
    log_every: int = _option(10, "steps between log lines", minimum=1, maximum=MOST)
    sample_every: int = _option(1000, "steps between sample sheets", minimum=1, maximum=MOST)
    checkpoint_minutes: float = _option(
        10.0, "minutes between checkpoints", above=0.0, metavar="MINUTES"
    )
    results_path: str = _option("results", "folder that holds the runs", metavar="DIR")
    dry_run: bool = _option(False, "print options and schedule, check them, and stop")


@dataclass(frozen=True)
class Option:
    """One field of an options dataclass, as its flag and its rules.

    `kind` is bool, int, float or str; `choices` is empty where any value of the kind may stand.
    `later` marks one that files of earlier versions lack: they mean its default.
    """

    group: str
    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    aliases: tuple[str, ...]
    metavar: str
    minimum: float | None
    maximum: float | None
    above: float | None
    below: float | None
    words: Mapping[str, int]
    later: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def expects(self) -> str:
        """What the flag takes, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "a text that is not empty"
        text = "a whole number" if self.kind is int else "a number"
        if self.minimum is not None and self.maximum is not None:
            text += f" from {_plain(self.minimum)} to {_plain(self.maximum)}"
        elif self.minimum is not None:
            text += f" of {_plain(self.minimum)} or more"
        if self.above is not None:
            text += f" above {_plain(self.above)}"
        if self.below is not None:
            text += f" and below {_plain(self.below)}"
        if self.words:
            text += " or " + ", ".join(self.words)
        return text + (" or none" if self.optional else "")

    def refuse(self, value: Any) -> UserError:
        """The error that says what the flag takes and that `value` is not it."""
        rule = f"{self.flag} takes {self.expects}: {_show(value)} is not"
        if self.kind is bool:
            return UserError(f"{rule}; write {self.flag} or --no-{self.flag[2:]}")
        example: Any = closest(str(value), self.choices)
        if example is None:
            example = self.metavar if self.default in (None, value) else self.default
        return UserError(f"{rule}; write for example {self.flag} {_show_bare(example)}")

    def parse(self, text: str | bool) -> Any:
        """Make the field's value of a flag's text, or raise UserError."""
        if isinstance(text, bool):
            return self.check(text)
        value: Any = text
        if self.optional and self.kind is not str and text.lower() == "none":
            return None
        if text in self.words:
            value = self.words[text]
        elif self.kind in (int, float):
            try:
                value = read_number(self.kind, text)
            except ValueError:
                raise self.refuse(text) from None
        return self.check(value)

    def check(self, value: Any) -> Any:
        """Return `value` (a whole number as float where a number is asked), or raise UserError."""
        if value is None and self.optional:
            return None
        if self.kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if type(value) is not self.kind:
            raise self.refuse(value)
        if self.choices and value not in self.choices:
            raise self.refuse(value)
        if isinstance(value, str):
            fits = bool(value.strip()) and "\0" not in value
            check_encoding(self.flag, value)
        else:
            fits = isinstance(value, bool) or self._in_range(value)
        if not fits:
            raise self.refuse(value)
        return value

    def _in_range(self, value: Any) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def read_number(kind: type, text: str) -> Any:
    """A number of `kind` in the digits 0 to 9, without the _ that Python allows; or ValueError."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return kind(text)


def check_encoding(flag: str, text: str) -> None:
    """Check that a text is UTF-8: options.json, logs and pictures' names could not hold others."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{flag} takes a text in UTF-8: {quote(text)} is not; rename the file or folder, or "
            "link to it under another name"
        ) from None


def _plain(number: float) -> str:
    return str(int(number)) if abs(number) < 1e15 and number == int(number) else repr(number)


def _show(value: Any) -> str:
    return quote(value) if isinstance(value, str) else _show_bare(value)


def _show_bare(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _plain(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 400 else f"{text[:20]}... ({len(text)} characters)"


def closest(word: str, known: tuple[str, ...] | list[str]) -> str | None:
    """The entry of `known` that looks most like `word`, or None where none is near."""
    import difflib  # only on the way to an error: keeps the start short

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


@cache
def option_fields(cls: type) -> tuple[Option, ...]:
    """The options of one flat dataclass, in their order."""
    hints = get_type_hints(cls)
    return tuple(_describe_field(cls, f, hints[f.name]) for f in dataclasses.fields(cls))


def _describe_field(cls: type, f: dataclasses.Field[Any], hint: Any) -> Option:
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        optional = True
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = str if choices else hint
    fallback = {int: "N", float: "X", str: "TEXT", bool: ""}[kind]
    return Option(
        group=cls.__name__.removesuffix("Options").lower(),
        name=f.name,
        kind=kind,
        choices=choices,
        optional=optional,
        default=f.default,
        help=f.metadata["help"],
        aliases=tuple(f.metadata.get("flags", ())),
        metavar="{" + ",".join(choices) + "}" if choices else f.metadata.get("metavar", fallback),
        minimum=f.metadata.get("minimum"),
        maximum=f.metadata.get("maximum"),
        above=f.metadata.get("above"),
        below=f.metadata.get("below"),
        words=f.metadata.get("words", {}),
        later=f.metadata.get("later", False),
    )


@dataclass(frozen=True)
class RunOptions:
    """All that a training run is, in groups; a field's name is unique across the groups."""

    data: DataOptions = field(default_factory=DataOptions)
    generator: GeneratorOptions = field(default_factory=GeneratorOptions)
    discriminator: DiscriminatorOptions = field(default_factory=DiscriminatorOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def validate(self) -> RunOptions:
        """Return these options, or raise UserError for the first rule that they break."""
        for option in RUN_FIELDS.values():
            option.check(self.get(option.name))
        check_task(self)
        defaults = RunOptions()
        for name, need in unused_options(self).items():
            value, default = self.get(name), defaults.get(name)
            if value != default:
                raise does_not_apply(name, value, need)
        check_depth(self)
        check_style(self)
        check_name(self.training.name)
        return self

    def get(self, name: str) -> Any:
        """The value of the field called `name`, whichever group it stands in."""
        return getattr(getattr(self, RUN_FIELDS[name].group), name)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionaries: group -> field -> None, bool, int, float or str."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The options as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, tree: Any, source: str = "options") -> RunOptions:
        """Read back `to_dict()`; UserError lists every unknown, missing and ill-typed name."""
        groups, faults = _read_groups(tree, RUN_GROUPS)
        if faults:
            raise UserError(_list_faults(source, faults))
        try:
            return cls(**groups).validate()
        except UserError as error:
            raise UserError(f"{source}: {error}") from None

    @classmethod
    def from_json(cls, text: str, source: str = "options") -> RunOptions:
        """Read back `to_json()`; `source` names the file in the UserError of a text that is off."""
        return cls.from_dict(_read_json(text, source), source)

    def describe(self) -> str:
        """An aligned table of every option, with the default beside each value that differs."""
        return _table([(option, self.get(name)) for name, option in RUN_FIELDS.items()])


@dataclass(frozen=True)
class TestOptions:
    """All that a submission is: which generator, which layouts, which styles, and where to.

    For a generator of translation content photographs take the layouts' place.
    """

    __test__ = False  # pytest would take the name for a test class

    name: str | None = _option(
        None, "run whose generator draws; without it the newest run", metavar="RUN"
    )
    checkpoint: str | None = _option(
        None, "generator snapshot to use instead of the run's newest", metavar="FILE"
    )
    input_path: str | None = _option(
        None,
        "folder of the test layouts, or of a translation's content photographs; without it those "
        "of the run's dataset",
        metavar="LABELS",
    )
    img_path: str | None = _option(
        None, "folder of the style photographs; without it the training pictures", metavar="STYLES"
    )
    output_path: str | None = _option(
        None, "folder for pictures and zip; without it one inside the run's folder", metavar="DIR"
    )
    style: str = _option(
        "reference",
        "reference (label_to_img.json, else the nearest layout's photograph, in translation one at "
        "random), noise, or the path of one photograph for all",
        metavar="STYLE",
    )
    style_to: str | None = _option(
        None,
        "draw, instead of a submission, a strip for each layout that goes from --style to this "
        "one: noise, or the path of a photograph",
        metavar="STYLE",
    )
    steps: int = _option(8, "with --style-to: pictures of a strip", minimum=2, maximum=64)
    limit: int | None = _option(
        None, "draw only the first so many layouts", minimum=1, maximum=MOST, metavar="N"
    )
    instance_path: str | None = _option(
        None,
        "folder of the layouts' instance maps, for a generator that reads borders of objects; "
        "without it there are none",
        metavar="DIR",
    )
    seed: int = _option(
        0, "seed of the noise, and of styles at random", minimum=0, maximum=2**32 - 1
    )
    device: Literal["auto", "cpu", "cuda"] = _option("auto", "where to compute")
    weights: Literal["ema", "raw"] = _option("ema", "averaged or last weights of the generator")
    height: int | None = _option(
        None,
        "height of the written pictures, pixels; without it 384, in translation the generator's",
        minimum=1,
        maximum=8192,
    )
    width: int | None = _option(
        None,
        "width of the written pictures, pixels; without it 512, in translation the generator's",
        minimum=1,
        maximum=8192,
    )
    results_path: str = _option("results", "folder that holds the runs", metavar="DIR")

    def validate(self) -> TestOptions:
        """Return these options, or raise UserError for the first rule that they break."""
        for option in option_fields(TestOptions):
            option.check(getattr(self, option.name))
        check_name(self.name)
        if self.style_to is None and self.steps != TestOptions.steps:
            raise UserError(
                f"--steps needs --style-to: --steps {self.steps} would change nothing; leave it out"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary: field -> None, int or str."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The options as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "options") -> TestOptions:
        """Read back `to_json()`; UserError lists every unknown, missing and ill-typed name."""
        values, faults = _read_fields(_read_json(text, source), cls, "")
        if faults:
            raise UserError(_list_faults(source, faults))
        return cls(**values).validate()

    def describe(self) -> str:
        """An aligned table of every option, with the default beside each value that differs."""
        return _table(
            [(option, getattr(self, option.name)) for option in option_fields(TestOptions)]
        )


RUN_GROUPS: dict[str, type] = {
    "data": DataOptions,
    "generator": GeneratorOptions,
    "discriminator": DiscriminatorOptions,
    "loss": LossOptions,
    "optimizer": OptimizerOptions,
    "training": TrainingOptions,
}
RUN_FIELDS: dict[str, Option] = {
    option.name: option for cls in RUN_GROUPS.values() for option in option_fields(cls)
}


def _is_synthesis(options: RunOptions) -> bool:
    return options.data.task == "synthesis"


def _is_tsit(options: RunOptions) -> bool:
    return options.generator.generator == "tsit"


def _is_tsit_of_layouts(options: RunOptions) -> bool:
    return _is_tsit(options) and _is_synthesis(options)


def _reads_start(options: RunOptions) -> bool:
    return _is_tsit(options) and not options.generator.vae


def _has_encoder(options: RunOptions) -> bool:
    return options.generator.vae


def _has_style_stream(options: RunOptions) -> bool:
    return _is_tsit(options) and options.generator.style_stream


def _may_have_encoder(options: RunOptions) -> bool:
    return options.generator.generator in ("spade", "tsit") and _is_synthesis(options)


def _has_norms_to_choose(options: RunOptions) -> bool:
    return options.generator.generator != "pix2pixhd"


def _may_use_gpu(options: RunOptions) -> bool:
    return options.training.device != "cpu"


def _has_vgg(options: RunOptions) -> bool:
    return options.loss.lambda_vgg > 0


# Field -> when it means something, and the flags that make it so.
NEEDS: dict[str, tuple[Callable[[RunOptions], bool], str]] = {
    "classes": (_is_synthesis, "--task synthesis"),
    "unknown_label": (_is_synthesis, "--task synthesis"),
    "first_id": (_is_synthesis, "--task synthesis"),
    "instances": (_is_synthesis, "--task synthesis"),
    "list_miss_limit": (_is_synthesis, "--task synthesis"),
    "lambda_l1": (_is_synthesis, "--task synthesis"),
    "vae": (_may_have_encoder, "--generator spade or tsit, and --task synthesis"),
    "latent_size": (_has_encoder, "--vae"),
    "lambda_kl": (_has_encoder, "--vae"),
    "style_stream": (_is_tsit_of_layouts, "--generator tsit and --task synthesis"),
    "start": (_reads_start, "--generator tsit without --vae"),
    "fadain_alpha": (_has_style_stream, "--generator tsit --style-stream"),
    "content_channels": (_is_tsit_of_layouts, "--generator tsit and --task synthesis"),
    "norm": (_has_norms_to_choose, "--generator tsit, spade or pix2pix"),
    "vgg_distance": (_has_vgg, "--lambda-vgg above 0"),
    "vgg_weights": (_has_vgg, "--lambda-vgg above 0"),
    "vgg_required": (_has_vgg, "--lambda-vgg above 0"),
    "precision": (_may_use_gpu, "--device cuda"),
}


def unused_options(options: RunOptions) -> dict[str, str]:
    """Fields that mean nothing beside the others, each with the flags that it needs."""
    return {name: need for name, (applies, need) in NEEDS.items() if not applies(options)}


def does_not_apply(name: str, value: Any, need: str) -> UserError:
    """The error for a field that was given though `unused_options` names it."""
    flag = RUN_FIELDS[name].flag
    return UserError(
        f"{flag} needs {need}: {show_flag(name, value)} would change nothing; leave it out"
    )


def show_flag(name: str, value: Any) -> str:
    """A field's flag with its value, as it is typed."""
    option = RUN_FIELDS[name]
    if option.kind is bool:
        return option.flag if value else f"--no-{option.flag[2:]}"
    return f"{option.flag} {_show_bare(value)}"


def check_task(options: RunOptions) -> None:
    """Check that what translates is TSIT, and that it starts from noise: there is no layout."""
    if _is_synthesis(options):
        return
    if not _is_tsit(options):
        raise UserError(
            f"--task translation needs --generator tsit: {options.generator.generator} draws from "
            "layouts alone; leave --generator out, or name another --schedule"
        )
    if options.generator.start != "noise":
        raise UserError(
            f"--task translation needs --start noise: --start {options.generator.start} would "
            "start from a layout; leave it out"
        )


def check_style(options: RunOptions) -> None:
    """Check that style has one source: a photograph's features, or the encoder's vector."""
    if options.generator.vae and _has_style_stream(options):
        raise UserError(
            "--vae of tsit needs --no-style-stream: style comes from the stream or from the "
            "encoder's vector, and both are on; add --no-style-stream, or leave --vae out"
        )


def check_depth(options: RunOptions) -> None:
    """Check that the generator can halve the size, and the discriminators too."""
    kind, halvings = options.generator.generator, options.generator.halvings
    height, width = options.data.height, options.data.width
    least, most = HALVINGS[kind]
    if not least <= halvings <= most:
        raise UserError(
            f"--halvings of {kind} is {least} to {most}: {halvings} is not; "
            f"published are {PUBLISHED_HALVINGS[kind]}"
        )
    step = 2**halvings
    if height % step or width % step:
        sizes = nearest_sizes(height, width, step)
        names = " and ".join(f"{h} x {w}" for h, w in sizes)
        fitting = [n for n in range(halvings - 1, least - 1, -1) if not (height | width) % 2**n]
        other = f", or --halvings {fitting[0]}" if fitting else ""
        h, w = min(sizes, key=lambda size: abs(size[0] - height) + abs(size[1] - width))
        raise UserError(
            f"both sides must be multiples of {step} to be halved {halvings} times: "
            f"{height} x {width} is not; the nearest that fit are {names}: "
            f"write --size {h} {w}{other}"
        )
    if kind == "pix2pixhd" and min(height, width) == step:
        raise UserError(
            f"the smallest map of pix2pixhd is mirrored at its borders and must have two pixels a "
            f"side or more: {height} x {width} halved {halvings} times has one; write "
            f"--size {2 * height} {2 * width}"
        )
    # The smallest map of pix2pix has no norm.
    if height == width == step and kind != "pix2pix":
        mend = f"--halvings {halvings - 1}" if halvings > least else f"--size {step} {2 * step}"
        raise UserError(
            f"the smallest map must have two pixels or more, or its norm is all zeros: {height} x "
            f"{width} halved {halvings} times is 1 x 1; write {mend}"
        )
    patch = 2 ** (options.discriminator.discriminator_layers - 1)
    if kind == "pix2pix":
        patch *= 3  # its convolutions pad less
    scales = options.discriminator.discriminator_scales
    # The first stage of pix2pixhd is judged at half the size.
    smallest = min(height, width) // 2 ** (scales - 1 + (kind == "pix2pixhd"))
    if smallest < patch:
        raise UserError(
            f"the smallest discriminator needs {patch} pixels a side with --discriminator-layers "
            f"{options.discriminator.discriminator_layers}: {height} x {width} has "
            f"{smallest} with --discriminator-scales {scales}; lower either flag"
        )


def nearest_sizes(height: int, width: int, step: int) -> list[tuple[int, int]]:
    """The sizes (height, width) next below and next above whose sides are multiples of `step`."""
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
            f'--name is a plain file name (no / \\ : * ? " < > |, no space around it, no . or - '
            f"first, 200 bytes at most): {quote(name)} is not; write for example --name night-1"
        )


def _read_json(text: str, source: str) -> Any:
    def no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"{source}: every name stands once: {', '.join(twice)} stands twice")
        return dict(pairs)

    try:
        return parse_json(text, object_pairs_hook=no_twice)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{source}: options are JSON: {error}; was the file cut short?") from None


def _read_groups(tree: Any, groups: Mapping[str, type]) -> tuple[dict[str, Any], list[str]]:
    if not isinstance(tree, Mapping):
        return {}, [f"the whole is {type(tree).__name__}, not an object of groups"]
    faults = [f"unknown group {name}" for name in tree if name not in groups]
    read: dict[str, Any] = {}
    for group, cls in groups.items():
        if group not in tree:
            faults.append(f"missing group {group}")
            continue
        values, group_faults = _read_fields(tree[group], cls, f"{group}.")
        faults += group_faults
        if not group_faults:
            read[group] = cls(**values)
    return read, faults


def _read_fields(tree: Any, cls: type, prefix: str) -> tuple[dict[str, Any], list[str]]:
    if not isinstance(tree, Mapping):
        return {}, [f"{prefix.rstrip('.') or 'the whole'} is {type(tree).__name__}, not an object"]
    options = {option.name: option for option in option_fields(cls)}
    faults = [f"unknown {prefix}{name}" for name in tree if name not in options]
    faults += [
        f"missing {prefix}{name}"
        for name, option in options.items()
        if name not in tree and not option.later
    ]
    values: dict[str, Any] = {}
    for name, option in options.items():
        if name in tree:
            try:
                values[name] = option.check(tree[name])
            except UserError:
                faults.append(f"{prefix}{name} is {_show(tree[name])}, not {option.expects}")
    return values, faults


def _list_faults(source: str, faults: list[str]) -> str:
    return (
        f"{source}: options must name every field of this version and no other: "
        f"{'; '.join(faults)}; write them with this version again"
    )


def _table(rows: Sequence[tuple[Option, Any]]) -> str:
    names = max(len(option.name) for option, _ in rows)
    shown = max(len(_show_bare(value)) for option, value in rows if option.kind is not str)
    lines: list[str] = []
    for option, value in rows:
        if option.group not in lines:
            lines.append(option.group)
        line = f"  {option.name:<{names}}  {_show_bare(value):<{shown}}"
        if value != option.default:
            line += f"  (default {_show_bare(option.default)})"
        lines.append(line.rstrip())
    return "\n".join(lines)
