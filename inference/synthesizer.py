"""Synthesis of one image from one layout or photo, with a method in training or a snapshot.

synthesizer = load_synthesizer(read_snapshot(path), "ema")
image = synthesizer.synthesize(layout, style=photo, noise=None)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jittor as jt
import numpy as np
from jittor import nn
from numpy.typing import NDArray

from data.seeds import derive_key
from data.transforms import denormalize, normalize_planes
from models.gans import create_method
from models.gans.base import Method
from models.kernels.packed import use_onednn
from models.layers.convolution import prepare_for_inference
from models.layouts.layout import Content, Layout, Photos
from options.errors import Failure
from options.train import RunOptions
from runtime.set_up import prepared
from weights.snapshots import Snapshot
from weights.variables import load_strict

MethodFactory: TypeAlias = Callable[[RunOptions, Any], Method]
Photo: TypeAlias = NDArray[np.uint8]
Noise: TypeAlias = NDArray[np.float32]
Style: TypeAlias = tuple[Photo | None, Noise | None]


class NotFinite(Failure):
    """The generator's output has NaN or infinity and is no image."""


class Synthesizer:
    """Generates images with a method in evaluation mode, one at a time.

    One at a time, so that an image does not depend on the others of a batch: convolutions of
    another batch size differ in the last bits.
    """

    def __init__(self, method: Method, options: RunOptions) -> None:
        self.method = method
        self.options = options

    @property
    def classes(self) -> int:
        """Number of classes of a layout, an unknown class included."""
        return self.options.data.layout_classes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of layouts and images in pixels."""
        return self.options.data.height, self.options.data.width

    @property
    def has_encoder(self) -> bool:
        """Whether style is a latent vector: of a photo, or noise."""
        return "encoder" in self.method.networks

    @property
    def takes_photo(self) -> bool:
        """Whether an image needs a style photo if no noise is given."""
        return self.has_encoder or self.options.generator.style == "photo"

    @property
    def takes_noise(self) -> bool:
        return self.method.noise_shape(1) is not None

    def sample_noise(self, seed: int, name: str) -> Noise | None:
        """Standard normal noise (1, ...) of this seed and name; None if the generator has none."""
        shape = self.method.noise_shape(1)
        if shape is None:
            return None
        generator = np.random.Generator(np.random.Philox(key=derive_key(seed, name)))
        return generator.standard_normal(shape, dtype=np.float32)

    def synthesize(
        self,
        content: NDArray[np.integer],
        *,
        style: Photo | None = None,
        noise: Noise | None = None,
        edges: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """Layout of ids (H, W), or content photo uint8 (H, W, 3) -> image uint8 (H, W, 3).

        `style` is a photo uint8 (H, W, 3), `noise` comes from `sample_noise`, `edges` are instance
        boundaries float32 (1, H, W); if the options ask for them and none are given, they are 0.
        Raises NotFinite.
        """
        image = None if style is None else _photo_to_var(style)
        z = None if noise is None else jt.array(noise)
        with jt.no_grad():
            return _to_pixels(self.method.generate(self._content(content, edges), image, z))

    def interpolate(
        self,
        content: NDArray[np.integer],
        start: Style,
        end: Style,
        count: int,
        *,
        edges: NDArray[np.float32] | None = None,
    ) -> list[NDArray[np.uint8]]:
        """`count` images (2 or more) of one layout, from one style to another in even steps.

        A style is a photo, or noise if the generator has a style vector. Interpolates style
        vectors, (1 - t) a + t b (the mean of a photo, as in BicycleGAN, Zhu et al. 2017, figure 7),
        or the statistics that FAdaIN reads of TSIT's style stream: mean and deviation per channel.
        The first and the last image are those of `synthesize`. Noise of a generator with a style
        stream is the start's. Raises NotFinite.
        """
        noise = None if self.options.generator.vae else start[1]
        ends = [self.synthesize(content, style=s, noise=n, edges=edges) for s, n in (start, end)]
        if count == 2:
            return ends
        with jt.no_grad():
            first, last = self._encode(start), self._encode(end)
            jt.sync([*first, *last])  # or Jittor fuses each image with the encoding of its styles
            images = []
            for step in range(1, count - 1):
                t = step / (count - 1)
                mixed = [(1 - t) * a + t * b for a, b in zip(first, last, strict=True)]
                z = None if noise is None else jt.array(noise)
                planes = self._content(content, edges)
                images.append(_to_pixels(self.method.generate_in_style(planes, mixed, z)))
        return [ends[0], *images, ends[1]]

    def _content(self, content: NDArray[np.integer], edges: NDArray[np.float32] | None) -> Content:
        if content.ndim == 3:
            return to_content(_normalized(content.astype(np.uint8, copy=False)), None, 0)
        if self.options.data.instances and edges is None:
            edges = np.zeros((1, *content.shape), np.float32)
        ids = np.ascontiguousarray(content[None], dtype=np.int32)
        return to_content(ids, None if edges is None else edges[None], self.classes)

    def _encode(self, style: Style) -> list[jt.Var]:
        photo, noise = style
        if photo is None:
            return [jt.array(noise)]
        return self.method.encode_style(_photo_to_var(photo))


def to_content(content: NDArray[Any], edges: NDArray[np.float32] | None, classes: int) -> Content:
    """The generator's input of a batch: ids int32 (N, H, W), or photos float32 (N, 3, H, W).

    edges: instance boundaries float32 (N, 1, H, W) of layouts, None without instances.
    """
    if content.ndim == 4:
        return Photos(jt.array(content))
    return Layout(jt.array(content), classes, None if edges is None else jt.array(edges))


def _normalized(photo: Photo) -> NDArray[np.float32]:
    return normalize_planes(photo)[None]


def _photo_to_var(photo: Photo) -> jt.Var:
    return jt.array(_normalized(photo))


def _to_pixels(image: jt.Var) -> NDArray[np.uint8]:
    values = image.numpy()[0].transpose(1, 2, 0)
    if not np.isfinite(values).all():
        # Converted to bytes, it would be a white or a black image.
        raise NotFinite("the generator's output is not finite (NaN or infinity)")
    return denormalize(values)


def prepare_networks(networks: Iterable[nn.Module]) -> None:
    """Rearrange the weights of networks that only infer, for the fastest convolutions here."""
    use_prepared_onednn()
    for network in networks:
        prepare_for_inference(network)


def use_prepared_onednn() -> None:
    """Let kernels on the CPU call the oneDNN that Jittor was started with."""
    backend = prepared()
    if backend is not None and backend.onednn is not None:
        use_onednn(str(backend.onednn.folder))


def load_synthesizer(
    snapshot: Snapshot, weights: str, create: MethodFactory = create_method
) -> Synthesizer:
    """Build the generator of a snapshot, ready for inference; `weights` is 'ema' or 'raw'.

    Without an encoder in the file its style vectors are noise. Raises UserError that lists every
    name that does not fit.
    """
    method = create(snapshot.options, None)
    if not snapshot.has_encoder:
        method.networks.pop("encoder", None)
    networks = {name: net for name, net in method.networks.items() if name != "discriminator"}
    load_strict(networks, snapshot.weights(weights), snapshot.path)
    method.eval()
    prepare_networks(networks.values())
    return Synthesizer(method, snapshot.options)
