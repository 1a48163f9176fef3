"""Regenerates the golden files: `python -m tests.reference.make_goldens [NAME ...]`.

README.md in this folder describes the environment, `golden_case` how a golden is made.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from . import goldens
from .golden_backbones import efficientnet, efficientnet_photos, inception, mobilenet
from .golden_case import Destination
from .golden_generators import images, spade_generators, tsit_generators
from .golden_layers import (
    batch_norm,
    fadain_layer,
    fade_layers,
    instance_norm,
    spade_layers,
    spectral_norm,
    streams,
)
from .golden_networks import discriminators, encoder, pix2pix, pix2pixhd, vgg19
from .golden_segmenters import segformers, segmentation_losses, segmenter_steps
from .golden_training import adam, edges, loss_functions, steps

SUBJECTS: dict[str, Callable[[Destination], None]] = {
    function.__name__: function
    for function in (
        spectral_norm,
        batch_norm,
        instance_norm,
        spade_layers,
        fade_layers,
        fadain_layer,
        streams,
        spade_generators,
        tsit_generators,
        images,
        encoder,
        discriminators,
        pix2pix,
        pix2pixhd,
        vgg19,
        efficientnet,
        efficientnet_photos,
        inception,
        mobilenet,
        segformers,
        segmentation_losses,
        segmenter_steps,
        loss_functions,
        edges,
        adam,
        steps,
    )
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", help=f"any of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--only", default="", help="only files with this in their name")
    parser.add_argument("--folder", type=Path, default=goldens.FOLDER)
    chosen = parser.parse_args(arguments)
    destination = Destination(chosen.folder, chosen.only)
    unknown = sorted(set(chosen.subjects) - set(SUBJECTS))
    if unknown:
        parser.error(f"subjects: expected {', '.join(SUBJECTS)}, got {', '.join(unknown)}")
    torch.set_num_threads(2)
    warnings.filterwarnings("ignore", message="TF32 acceleration")
    for name, make in SUBJECTS.items():
        if not chosen.subjects or name in chosen.subjects:
            make(destination)
    total = sum(path.stat().st_size for path in chosen.folder.glob("*.npz"))
    print(f"{len(goldens.names(folder=chosen.folder))} files, {total / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
