"""Removal of the layout planes that no label id lights.

part = keep_planes(part, 29)      # the first 29 planes
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from options.errors import UserError
from weights.recognize import Part
from weights.spectral_norm import keep_sigma


def keep_planes(part: Part, count: int) -> Part:
    """Return the network without the layout planes from `count` on.

    A convolution over a plane of zeros adds zero. Spectral norm divides by sigma = u'Wv of the full
    weight: v changes so that the rest of W has the same sigma. Raises UserError if the two differ
    by more than rounding.
    """
    arrays = dict(part.arrays)
    channels = part.layout_channels
    dropped = dict(part.dropped)
    for name, weight in part.arrays.items():
        if not _reads_layout(part, name):
            continue
        colors = weight[:, channels:]  # the image of a discriminator
        arrays[name] = np.concatenate([weight[:, :count], colors], axis=1)
        dropped[f"{name}[:, {count}:{channels}]"] = f"for ids from {count} on only"
        layer = name.removesuffix(".weight")
        u = arrays.get(f"{layer}.spectral_norm.u")
        if u is None:
            continue
        v = arrays[f"{layer}.spectral_norm.v"]
        changed, sigma, found = keep_sigma(weight, arrays[name], u, v)
        if not abs(found - sigma) <= 1e-6 * abs(sigma):
            raise UserError(
                f"{part.path}: expected the same sigma of {layer} without its unused planes, got "
                f"{found:g} instead of {sigma:g}. Keep the planes: --classes {channels}"
            )
        arrays[f"{layer}.spectral_norm.v"] = changed
    return replace(part, arrays=arrays, dropped=dropped)


def _reads_layout(part: Part, name: str) -> bool:
    if part.family == "spade" and name.endswith(".shared.weight"):
        return True
    if part.family == "discriminator":
        return name.endswith(".first.weight")
    if name == "first.weight":
        shape = part.arrays[name].shape
        return len(shape) == 4 and shape[1] == part.layout_channels
    return part.family == "tsit" and name in (
        "content_stream.blocks.0.conv_0.weight",
        "content_stream.blocks.0.conv_s.weight",
    )
