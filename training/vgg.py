"""The VGG-19 of the perceptual loss, with its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jittor as jt

from models.networks.vgg import VGG19
from options.groups import LossOptions
from training import distributed
from training.checkpoint import State
from training.log import Log
from weights.pretrained import digest, get_weights, read_weights
from weights.variables import load_strict


def load_vgg(loss: LossOptions, state: State | None, log: Log) -> tuple[VGG19 | None, str | None]:
    """VGG-19 and the digest of its weights, or None twice if the run trains without it.

    Raises UserError if the weights are required and unavailable.
    """
    began_without = state is not None and state.extra.get("vgg") is None
    if began_without and loss.lambda_vgg and loss.vgg_weights is None and not loss.vgg_required:
        log.info("this run began without the VGG loss and resumes without; --vgg-weights adds it")
        return None, None
    folder = Path(jt.compiler.ck_path)
    path = get_weights(loss, folder, log.info) if distributed.rank() == 0 else None
    distributed.barrier()
    if distributed.rank():
        # The first process has downloaded them, or has found them unavailable.
        path = get_weights(replace(loss, vgg_required=False), folder, log.info, fetch=False)
    if path is None:
        return None, None
    vgg = VGG19()
    shapes = {name: tuple(var.shape) for name, var in vgg.state_dict().items()}
    arrays = read_weights(path, shapes)
    load_strict({"vgg": vgg}, {f"vgg.{name}": array for name, array in arrays.items()}, path)
    vgg.eval()
    name = digest(arrays)
    if state is not None and state.extra.get("vgg") not in (None, name):
        log.info(f"the VGG-19 weights in {path} differ from those that this run began with")
    return vgg, name
