"""One picture from one layout, by a method that is training or by a snapshot of one.

painter = load_painter(read_snapshot(path), "ema")
picture = painter.paint(layout, style=photograph, noise=None)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jittor as jt
import numpy as np
from numpy.typing import NDArray

from data.transforms import denormalise, normalise
from models.layers.convolution import fold_spectral_norm
from models.layout import Layout
from models.methods import create_method
from options.run import RunOptions
from training.checkpoint import Snapshot, load_strict
from training.learner import Trainable
from training.seeds import derive_key

Create = Callable[[RunOptions, Any], Trainable]


class Painter:
    """Paints with a method in evaluation mode, one picture at a time.

    One at a time so that a picture does not depend on those beside it: convolutions of another
    batch size round otherwise in the last place.
    """

    def __init__(self, method: Trainable, options: RunOptions) -> None:
        self.method = method
        self.options = options

    @property
    def classes(self) -> int:
        """Classes of a layout, an unknown class included."""
        data = self.options.data
        return data.classes + (data.unknown_label is not None)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of layouts and pictures in pixels."""
        return self.options.data.height, self.options.data.width

    @property
    def has_encoder(self) -> bool:
        """Whether style is a vector: a photograph's, or noise."""
        return "encoder" in self.method.networks

    @property
    def takes_style(self) -> bool:
        """Whether a picture needs a style photograph where no noise is given."""
        return self.method.needs_style

    @property
    def takes_noise(self) -> bool:
        return self.method.noise_shape(1) is not None

    def sample_noise(self, seed: int, name: str) -> NDArray[np.float32] | None:
        """Standard normal noise (1, ...) of this seed and name; None where none is taken."""
        shape = self.method.noise_shape(1)
        if shape is None:
            return None
        generator = np.random.Generator(np.random.Philox(key=derive_key(seed, name)))
        return generator.standard_normal(shape, dtype=np.float32)

    def paint(
        self,
        layout: NDArray[np.int32],
        *,
        style: NDArray[np.uint8] | None = None,
        noise: NDArray[np.float32] | None = None,
        edges: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """Layout of ids (H, W) -> picture uint8 (H, W, 3).

        `style` is a photograph uint8 (H, W, 3), `noise` is of `sample_noise`; `edges`, the borders
        of objects, float32 (1, H, W), are 0 where the options ask for them and none are given.
        """
        ids = jt.array(np.ascontiguousarray(layout[None], dtype=np.int32))
        if self.options.data.instances and edges is None:
            edges = np.zeros((1, *layout.shape), np.float32)
        borders = None if edges is None else jt.array(edges[None])
        image = None
        if style is not None:
            image = jt.array(normalise(np.ascontiguousarray(style.transpose(2, 0, 1)))[None])
        z = None if noise is None else jt.array(noise)
        with jt.no_grad():
            result = self.method.generate(Layout(ids, self.classes, borders), image, z).numpy()[0]
        return denormalise(result.transpose(1, 2, 0))


def load_painter(snapshot: Snapshot, weights: str, create: Create = create_method) -> Painter:
    """The generator of a snapshot, ready to paint; `weights` is 'ema' or 'raw'.

    Raises UserError that lists every name that does not fit.
    """
    method = create(snapshot.options, None)
    drawing = {name: net for name, net in method.networks.items() if name != "discriminator"}
    load_strict(drawing, snapshot.weights(weights), snapshot.path)
    method.eval()
    for network in drawing.values():
        fold_spectral_norm(network)
    return Painter(method, snapshot.options)
