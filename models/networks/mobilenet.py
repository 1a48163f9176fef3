"""MobileNet v1 with the head of NIMA: how people would rate an image, as a distribution."""

from __future__ import annotations

from typing import NamedTuple

import jittor as jt
from jittor import nn

from models.kernels import packed
from models.kernels.reduction import mean_of_pixels
from models.layers.convolution import Linear
from models.layers.convolution_norm import ConvNorm

EPSILON = 1e-3
STEM_CHANNELS = 32
RATINGS = 10  # from 1, the worst, to 10
DROPOUT = 0.75
STRIDE = 32  # of the last feature map


class Block(NamedTuple):
    """Width and stride of a block."""

    channels: int
    stride: int


# Howard et al. 2017, table 1, with width multiplier 1.
BLOCKS = (
    Block(64, 1),
    Block(128, 2),
    Block(128, 1),
    Block(256, 2),
    Block(256, 1),
    Block(512, 2),
    Block(512, 1),
    Block(512, 1),
    Block(512, 1),
    Block(512, 1),
    Block(512, 1),
    Block(1024, 2),
    Block(1024, 1),
)


class SeparableBlock(nn.Module):
    """3 x 3 depthwise convolution, then 1 x 1 convolution, each with norm and ReLU6.

    Howard et al. 2017, "MobileNets", figure 3, with "same" padding.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int):
        super().__init__()
        self.depthwise = ConvNorm(
            in_channels,
            in_channels,
            (3, 3),
            stride=stride,
            padding="same",
            depthwise=True,
            activation="relu6",
            epsilon=EPSILON,
        )
        self.pointwise = ConvNorm(
            in_channels, out_channels, (1, 1), activation="relu6", epsilon=EPSILON
        )

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return self.pointwise(self.depthwise(x))


class RatingHead(nn.Module):
    """Pooled features to a distribution of ratings 1 to 10.

    Talebi and Milanfar 2018, "NIMA", section III: dropout, linear, softmax.

    Args:
        dropout: probability that training sets a feature to 0.
    """

    def __init__(self, in_features: int, *, dropout: float = DROPOUT):
        super().__init__()
        self.dropout = dropout
        self.dense = Linear(in_features, RATINGS)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_features) -> probabilities (N, 10)."""
        if self.is_training() and self.dropout > 0:
            kept = (jt.rand(x.shape) >= self.dropout).float32()
            x = x * (kept * (1 / (1 - self.dropout)))
        return nn.softmax(self.dense(x), dim=1)


class MobileNetNIMA(nn.Module):
    """NIMA on MobileNet v1: images to distributions of ratings 1 to 10.

    Talebi and Milanfar 2018, "NIMA: Neural Image Assessment", on Howard et al. 2017, "MobileNets",
    of width 1. Keras pads a convolution of stride 2 by one row below and one column to the right.
    For the even sizes here that is TensorFlow's "same" padding.
    """

    def __init__(self, *, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.stem = ConvNorm(
            3,
            STEM_CHANNELS,
            (3, 3),
            stride=2,
            padding="same",
            activation="relu6",
            epsilon=EPSILON,
        )
        blocks = []
        channels = STEM_CHANNELS
        for block in BLOCKS:
            blocks.append(SeparableBlock(channels, block.channels, stride=block.stride))
            channels = block.channels
        self.blocks = nn.ModuleList(blocks)
        self.head = RatingHead(channels, dropout=dropout)
        self.channels_last = False

    def pooled(self, image: jt.Var) -> jt.Var:
        """Images (N, 3, H, W) in [-1, 1] -> means of 1024 features over the pixels, (N, 1024).

        Raises ValueError unless H and W are multiples of 32. NIMA was trained at 224 x 224.
        """
        height, width = image.shape[2], image.shape[3]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"image: expected multiples of {STRIDE}, got {height} x {width}.")
        x = packed.to_channels_last(image) if self.channels_last else image
        x = self.stem(x)  # (N, 32, H / 2, W / 2)
        for block in self.blocks:
            x = block(x)
        if self.channels_last:
            x = packed.to_channels_first(x)
        return mean_of_pixels(x).reshape((image.shape[0], -1))

    def execute(self, image: jt.Var) -> jt.Var:
        """Images (N, 3, H, W) in [-1, 1] -> probabilities of the ratings 1 to 10, (N, 10).

        Raises ValueError as `pooled` does.
        """
        return self.head(self.pooled(image))

    def prepare_for_inference(self) -> None:
        """Folds the batch norms into the convolutions and, on the CPU, packs them for oneDNN."""
        if not packed.available():
            return
        for layer in self.modules():
            if isinstance(layer, ConvNorm):
                layer.pack(channels_last=True)
        self.channels_last = True
