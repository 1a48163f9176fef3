"""SegFormer (Xie et al. 2021): Mix Transformer encoder, and an all-MLP head for any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jittor as jt
from jittor import init, nn

from models.layers.attention import TransformerBlock
from models.layers.convolution import Conv2d, add_bias, convolve
from models.layers.normalization import AffineBatchNorm
from models.layers.resampling import resize_to_classes, sum_resized
from models.layers.tokens import LayerNorm, TokenLinear

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
# Kernel size and stride of the patch embeddings.
EMBEDDINGS = ((7, 4), (3, 2), (3, 2), (3, 2))
# Below, the first map is smaller than one window of its reduction.
SMALLEST_SIDE = 29
# Of the published weights: red, green, blue of 0..255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)

# Whose epsilons of layer norms: the published code's, or those of its copy in `transformers`.
Convention = Literal["nvlabs", "hugging_face"]
# Convention -> epsilon of the norms of blocks and stages, and of embeddings and reductions.
EPSILONS: dict[Convention, tuple[float, float]] = {
    "nvlabs": (1e-6, 1e-5),
    "hugging_face": (1e-5, 1e-5),
}


@dataclass(frozen=True)
class SegFormerShape:
    """Size of a SegFormer.

    Attributes:
        widths: channels of the four stages.
        blocks: transformer blocks of the four stages.
        head_width: channels of the head.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    head_width: int


_WIDTHS = (64, 128, 320, 512)
# Xie et al. 2021, table 6.
VARIANTS: dict[str, SegFormerShape] = {
    "B0": SegFormerShape((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "B1": SegFormerShape(_WIDTHS, (2, 2, 2, 2), 256),
    "B2": SegFormerShape(_WIDTHS, (3, 4, 6, 3), 768),
    "B3": SegFormerShape(_WIDTHS, (3, 4, 18, 3), 768),
    "B4": SegFormerShape(_WIDTHS, (3, 8, 27, 3), 768),
    "B5": SegFormerShape(_WIDTHS, (3, 6, 40, 3), 768),
}


class PatchEmbedding(nn.Module):
    """Overlapping patches to tokens: a convolution with padding k // 2, then layer norm."""

    def __init__(
        self, in_channels: int, channels: int, *, kernel_size: int, stride: int, epsilon: float
    ):
        super().__init__()
        self.projection = Conv2d(
            in_channels,
            channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            deviation=(2 / (kernel_size * kernel_size * channels)) ** 0.5,
        )
        self.norm = LayerNorm(channels, epsilon=epsilon)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, h, w, channels), h = ceil(H / stride)."""
        return self.norm(self.projection(x).transpose((0, 2, 3, 1)))


class Stage(nn.Module):
    """Patch embedding, transformer blocks and a layer norm.

    Args:
        epsilons: of the norms of blocks and stage, and of embedding and reductions.
        drop_rates: drop path of each block.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        kernel_size: int,
        stride: int,
        heads: int,
        reduction: int,
        epsilons: tuple[float, float],
        drop_rates: Sequence[float],
    ):
        super().__init__()
        outer, inner = epsilons
        self.embedding = PatchEmbedding(
            in_channels, channels, kernel_size=kernel_size, stride=stride, epsilon=inner
        )
        self.blocks = nn.ModuleList(
            [
                TransformerBlock(
                    channels,
                    heads=heads,
                    reduction=reduction,
                    epsilon=outer,
                    inner_epsilon=inner,
                    drop_rate=rate,
                )
                for rate in drop_rates
            ]
        )
        self.norm = LayerNorm(channels, epsilon=outer)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, channels, h, w), h = ceil(H / stride)."""
        x = self.embedding(x)  # (N, h, w, channels)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).transpose((0, 3, 1, 2))


class MixTransformer(nn.Module):
    """Encodes images as four maps, by patches that overlap and attention with reduced keys.

    Xie et al. 2021, section 3.1 and table 6: heads 1, 2, 5, 8, reductions 8, 4, 2, 1. The network
    standardizes the image: (color - mean) / deviation of each channel, in 0..255.

    Args:
        widths: channels of the four stages, multiples of 1, 2, 5 and 8.
        blocks: transformer blocks of the four stages.
        norms: whose epsilons the layer norms have.
        drop_path: drop path of the last block; it rises linearly from 0 of the first.
        mean, deviation: of red, green and blue, in 0..255.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        norms: Convention = "nvlabs",
        drop_path: float = 0.1,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
    ):
        super().__init__()
        self.widths = tuple(widths)
        self.norms = norms
        self.mean, self.deviation = tuple(mean), tuple(deviation)
        last = max(sum(blocks) - 1, 1)
        rates = [drop_path * index / last for index in range(sum(blocks))]
        starts = [sum(blocks[:index]) for index in range(len(blocks))]
        inputs = (3, *self.widths[:-1])
        self.stages = nn.ModuleList(
            [
                Stage(
                    inputs[index],
                    self.widths[index],
                    kernel_size=EMBEDDINGS[index][0],
                    stride=EMBEDDINGS[index][1],
                    heads=HEADS[index],
                    reduction=REDUCTIONS[index],
                    epsilons=EPSILONS[norms],
                    drop_rates=rates[start : start + blocks[index]],
                )
                for index, start in enumerate(starts)
            ]
        )

    def execute(self, image: jt.Var) -> list[jt.Var]:
        """Image (N, 3, H, W) in [-1, 1] -> four maps (N, C, h, w) at 1/4, 1/8, 1/16 and 1/32.

        Quotients are rounded up.

        Raises:
            ValueError: a side is below 29 pixels.
        """
        if min(image.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"SegFormer: expected sides of {SMALLEST_SIDE} pixels or more, got "
                f"{image.shape[2]} x {image.shape[3]}"
            )
        x = self._standardize(image)
        maps = []
        for stage in self.stages:
            x = stage(x)  # (N, widths[i], h, w)
            maps.append(x)
        return maps

    def _standardize(self, image: jt.Var) -> jt.Var:
        """[-1, 1] -> ((image + 1) * 127.5 - mean) / deviation."""
        scale = [127.5 / deviation for deviation in self.deviation]
        pairs = zip(self.mean, self.deviation, strict=True)
        shift = [(127.5 - mean) / deviation for mean, deviation in pairs]
        shape = (1, 3, 1, 1)
        return image * jt.array(scale).reshape(shape) + jt.array(shift).reshape(shape)


class MLPHead(nn.Module):
    """Classifies the pixels of an encoder's maps: the all-MLP decoder.

    Xie et al. 2021, section 3.2, equation 4. As published: a dense layer per map to `width`
    channels, bilinear resizing to the first map, concatenation from the last map to the first, a
    pointwise convolution without bias, batch norm, ReLU, dropout of whole channels, and a pointwise
    convolution to the classes.

    Resizing and 1 x 1 convolutions commute. Both linear layers are therefore one product per map at
    its own size, and what is resized is summed instead of concatenated: the same function and the
    same gradients, for a fraction of the products (SegFormer-B0: 0.1 of 3.3 GMAC at 384 x 512).

    Args:
        channels: of the maps, the first at the finest size.
        width: channels of the head.
        classes: number of classes.
        dropout: probability that training sets a channel to 0.
    """

    def __init__(self, *, channels: Sequence[int], width: int, classes: int, dropout: float = 0.1):
        super().__init__()
        self.width = width
        self.dropout = dropout
        self.projections = nn.ModuleList(
            [TokenLinear(count, width, deviation=None) for count in channels]
        )
        self.fusion = Conv2d(
            len(channels) * width, width, 1, bias=False, deviation=(2 / width) ** 0.5
        )
        self.norm = AffineBatchNorm(width)
        self.classifier = Conv2d(width, classes, 1, deviation=0.02)
        bound = width**-0.5  # PyTorch's default, as published
        shape = (classes, width, 1, 1)
        self.classifier.weight = init.uniform(shape, "float32", low=-bound, high=bound)
        self.classifier.bias = init.uniform((classes,), "float32", low=-bound, high=bound)

    def execute(self, maps: Sequence[jt.Var]) -> jt.Var:
        """Maps (N, C, h, w), the first of size (H, W), -> logits (N, classes, H, W)."""
        size = (int(maps[0].shape[2]), int(maps[0].shape[3]))
        x = sum_resized(self._project(maps), size)  # (N, width, H, W)
        x = self.norm(x, "relu")
        if self.is_training() and self.dropout > 0:
            kept = (jt.rand((x.shape[0], x.shape[1], 1, 1)) >= self.dropout).float32()
            x = x * (kept * (1 / (1 - self.dropout)))
        return self.classifier(x)

    def _project(self, maps: Sequence[jt.Var]) -> list[jt.Var]:
        """Each map's share of the fusion, (N, width, h, w), at the size of the map."""
        width = self.width
        fusion = self.fusion.weight.reshape((width, -1))  # (width, maps * width)
        shares = []
        bias = jt.zeros((width, 1))
        for index, projection in enumerate(self.projections):
            start = (len(maps) - 1 - index) * width  # the last map comes first
            part = fusion[:, start : start + width]  # (width, width)
            matrix = jt.matmul(part, projection.weight)  # (width, C)
            bias = bias + jt.matmul(part, projection.bias.reshape((-1, 1)))
            shares.append(convolve(maps[index], matrix.reshape((*matrix.shape, 1, 1))))
        # Resizing keeps a constant: it is added to the smallest map.
        shares[-1] = add_bias(shares[-1], bias.reshape(-1))
        return shares


class SegFormer(nn.Module):
    """Segments images: Mix Transformer and all-MLP head (Xie et al. 2021, figure 2).

    Args:
        shape: widths and blocks of the stages, width of the head; see VARIANTS.
        classes: number of classes.
        dropout: of the head.

    The other arguments are those of `MixTransformer`.
    """

    def __init__(
        self,
        *,
        shape: SegFormerShape,
        classes: int,
        norms: Convention = "nvlabs",
        drop_path: float = 0.1,
        dropout: float = 0.1,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
    ):
        super().__init__()
        self.smallest_side = SMALLEST_SIDE
        self.shape = shape
        self.classes = classes
        self.encoder = MixTransformer(
            widths=shape.widths,
            blocks=shape.blocks,
            norms=norms,
            drop_path=drop_path,
            mean=mean,
            deviation=deviation,
        )
        self.head = MLPHead(
            channels=shape.widths, width=shape.head_width, classes=classes, dropout=dropout
        )

    def execute(self, image: jt.Var) -> jt.Var:
        """Image (N, 3, H, W) in [-1, 1] -> logits (N, classes, h, w), h = ceil(H / 4)."""
        return self.head(self.encoder(image))

    def segment(self, image: jt.Var) -> jt.Var:
        """Image (N, 3, H, W) in [-1, 1] -> class of each pixel, int32 (N, H, W).

        As published, logits are resized bilinearly before the argmax.
        """
        return resize_to_classes(self(image), (int(image.shape[2]), int(image.shape[3])))


def create_segformer(variant: str, **options: Any) -> SegFormer:
    """Creates a published variant, 'B0' to 'B5'; `options` are those of `SegFormer`."""
    return SegFormer(shape=VARIANTS[variant], **options)
