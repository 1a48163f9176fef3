"""The options of test.py: which generator, which layouts, which styles, and where to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from options.errors import UserError
from options.fields import MOST, option, option_fields
from options.rules import check_name


@dataclass(frozen=True)
class TestOptions:
    """Generator, layouts, styles and output of a submission.

    For translation, content photos take the place of layouts.
    """

    __test__ = False  # pytest would take the name for a test class

    name: str | None = option(
        None, "run whose generator to use; without it the newest run", metavar="RUN"
    )
    checkpoint: str | None = option(
        None, "generator snapshot to use instead of the run's newest", metavar="FILE"
    )
    input_path: str | None = option(
        None,
        "folder of the test layouts (translation: of the content photos); without it those of the "
        "run's dataset",
        metavar="LABELS",
    )
    img_path: str | None = option(
        None, "folder of the style photos; without it the training photos", metavar="STYLES"
    )
    output_path: str | None = option(
        None, "folder for images and zip; without it one inside the run's folder", metavar="DIR"
    )
    style: str = option(
        "reference",
        "reference (label_to_img.json, else the photo of the nearest layout; translation: a random "
        "one), noise, or the path of one photo for all",
        metavar="STYLE",
    )
    style_to: str | None = option(
        None,
        "instead of a submission, interpolate from --style to this style for each layout: noise, "
        "or the path of a photo",
        metavar="STYLE",
    )
    steps: int = option(8, "with --style-to: images per interpolation", minimum=2, maximum=64)
    limit: int | None = option(
        None, "use only the first N layouts", minimum=1, maximum=MOST, metavar="N"
    )
    instance_path: str | None = option(
        None,
        "folder of the layouts' instance maps, for a generator trained with --instances; without "
        "it there are no instance boundaries",
        metavar="DIR",
    )
    seed: int = option(0, "seed of noise and random styles", minimum=0, maximum=2**32 - 1)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where to compute")
    weights: Literal["ema", "raw"] = option("ema", "averaged (EMA) or raw generator weights")
    height: int | None = option(
        None,
        "height of the written images, pixels; without it 384 (translation: the generator's size)",
        minimum=1,
        maximum=8192,
    )
    width: int | None = option(
        None,
        "width of the written images, pixels; without it 512 (translation: the generator's size)",
        minimum=1,
        maximum=8192,
    )
    results_path: str = option("results", "folder that holds the runs", metavar="DIR")

    def validate(self) -> TestOptions:
        """Return these options, or raise UserError for the first rule that they break."""
        for field in option_fields(TestOptions):
            field.check(getattr(self, field.name))
        check_name(self.name)
        if self.style_to is None and self.steps != TestOptions.steps:
            raise UserError(f"--steps {self.steps} has no effect without --style-to. Remove it")
        return self
