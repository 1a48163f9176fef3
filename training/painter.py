"""One picture from one layout (or photograph), by a method in training or a snapshot of one.

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
from models.layers.convolution import prepare_to_draw
from models.layout import Content, Layout, Photographs
from models.methods import create_method
from options.errors import Failure
from options.run import RunOptions
from training.checkpoint import Snapshot, load_strict
from training.learner import Trainable
from training.seeds import derive_key

Create = Callable[[RunOptions, Any], Trainable]
Photograph = NDArray[np.uint8]
Noise = NDArray[np.float32]
Style = tuple[Photograph | None, Noise | None]


class NotFinite(Failure):
    """The generator gave numbers of which no image can be made."""


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
        return self.options.data.layout_classes

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
        return self.method.needs_style and (self.has_encoder or not self.options.generator.vae)

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
        layout: NDArray[np.integer],
        *,
        style: NDArray[np.uint8] | None = None,
        noise: NDArray[np.float32] | None = None,
        edges: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """Layout of ids (H, W), or content photograph uint8 (H, W, 3) -> picture uint8 (H, W, 3).

        `style` is a photograph uint8 (H, W, 3), `noise` is of `sample_noise`; `edges`, the borders
        of objects, float32 (1, H, W), are 0 where the options ask for them and none are given.
        Raises NotFinite.
        """
        image = None if style is None else _to_var(style)
        z = None if noise is None else jt.array(noise)
        with jt.no_grad():
            picture = self.method.generate(self._layout(layout, edges), image, z)
            return _to_pixels(picture)

    def paint_between(
        self,
        layout: NDArray[np.integer],
        start: Style,
        end: Style,
        count: int,
        *,
        edges: NDArray[np.float32] | None = None,
    ) -> list[NDArray[np.uint8]]:
        """`count` pictures (2 or more) of one layout, from one style to another in even steps.

        A style is a photograph, or noise where the generator has a style vector. Mixed are style
        vectors, (1 - t) a + t b (of a photograph its mean, as in BicycleGAN, Zhu et al. 2017,
        figure 7), or what FAdaIN takes of TSIT's style stream: each channel's mean and deviation.
        The first and the last are `paint`'s pictures. Noise beside a style stream is the start's.
        Raises NotFinite.
        """
        noise = None if self.options.generator.vae else start[1]
        ends = [self.paint(layout, style=s, noise=n, edges=edges) for s, n in (start, end)]
        if count == 2:
            return ends
        with jt.no_grad():
            first, last = self._encode(start), self._encode(end)
            jt.sync([*first, *last])  # or each picture is fused with what encodes its styles
            pictures = []
            for step in range(1, count - 1):
                share = step / (count - 1)
                mixed = [(1 - share) * a + share * b for a, b in zip(first, last, strict=True)]
                z = None if noise is None else jt.array(noise)
                planes = self._layout(layout, edges)
                pictures.append(_to_pixels(self.method.draw_in_style(planes, mixed, z)))
        return [ends[0], *pictures, ends[1]]

    def _layout(self, layout: NDArray[np.integer], edges: NDArray[np.float32] | None) -> Content:
        if self.options.data.task == "translation":
            return Photographs(_to_var(layout.astype(np.uint8, copy=False)))
        ids = jt.array(np.ascontiguousarray(layout[None], dtype=np.int32))
        if self.options.data.instances and edges is None:
            edges = np.zeros((1, *layout.shape), np.float32)
        return Layout(ids, self.classes, None if edges is None else jt.array(edges[None]))

    def _encode(self, style: Style) -> list[jt.Var]:
        photograph, noise = style
        if photograph is None:
            return [jt.array(noise)]
        return self.method.encode_style(_to_var(photograph))


def _to_var(photograph: Photograph) -> jt.Var:
    return jt.array(normalise(np.ascontiguousarray(photograph.transpose(2, 0, 1)))[None])


def _to_pixels(picture: jt.Var) -> NDArray[np.uint8]:
    values = picture.numpy()[0].transpose(1, 2, 0)
    if not np.isfinite(values).all():
        # Turned into bytes, they would be a white or a black image.
        raise NotFinite("the generator's output is not finite (NaN or infinity)")
    return denormalise(values)


def load_painter(snapshot: Snapshot, weights: str, create: Create = create_method) -> Painter:
    """The generator of a snapshot, ready to paint; `weights` is 'ema' or 'raw'.

    Without an encoder in the file its style vectors are noise. Raises UserError that lists every
    name that does not fit.
    """
    method = create(snapshot.options, None)
    if not snapshot.has_encoder:
        method.networks.pop("encoder", None)
    drawing = {name: net for name, net in method.networks.items() if name != "discriminator"}
    load_strict(drawing, snapshot.weights(weights), snapshot.path)
    method.eval()
    for network in drawing.values():
        prepare_to_draw(network)
    return Painter(method, snapshot.options)
