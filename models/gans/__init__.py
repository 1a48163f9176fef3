"""GANs: per publication the networks that are trained together, and the losses of each side."""

from __future__ import annotations

from models.gans.base import Method
from models.gans.pix2pix import Pix2PixMethod
from models.gans.pix2pixhd import Pix2PixHDMethod
from models.gans.spade import SpadeMethod
from models.gans.tsit import TsitMethod
from models.networks.vgg import VGG19
from options.train import RunOptions

METHODS: dict[str, type[Method]] = {
    "pix2pix": Pix2PixMethod,
    "pix2pixhd": Pix2PixHDMethod,
    "spade": SpadeMethod,
    "tsit": TsitMethod,
}


def create_method(options: RunOptions, vgg: VGG19 | None = None) -> Method:
    """Creates the method of `options.generator.generator`.

    `vgg`, with weights loaded, computes the perceptual loss; None leaves that loss out.
    """
    return METHODS[options.generator.generator](options, vgg)
