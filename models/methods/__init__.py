"""A method: the networks that are trained together, and the losses of each side."""

from __future__ import annotations

from models.methods.base import Method
from models.methods.pix2pix import Pix2PixMethod
from models.methods.pix2pixhd import Pix2PixHDMethod
from models.methods.spade import SpadeMethod
from models.methods.tsit import TsitMethod
from models.networks.vgg import VGG19
from options.run import RunOptions

METHODS: dict[str, type[Method]] = {
    "pix2pix": Pix2PixMethod,
    "pix2pixhd": Pix2PixHDMethod,
    "spade": SpadeMethod,
    "tsit": TsitMethod,
}


def create_method(options: RunOptions, vgg: VGG19 | None = None) -> Method:
    """The method that the options name; `vgg`, weights loaded, for the perceptual loss."""
    return METHODS[options.generator.generator](options, vgg)
