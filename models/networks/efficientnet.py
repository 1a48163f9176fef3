"""EfficientNet-Lite0: features of an image classifier, small enough for two CPU cores."""

from __future__ import annotations

from typing import NamedTuple

import jittor as jt
from jittor import nn

from models.kernels import packed
from models.kernels.reduction import mean_of_pixels
from models.kernels.scale_shift import Activation
from models.layers.convolution import Linear
from models.layers.convolution_norm import ConvNorm

EPSILON = 1e-3
STEM_CHANNELS, HEAD_CHANNELS, CLASSES = 32, 1280, 1000


class Stage(NamedTuple):
    """Consecutive blocks of one width; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Tan and Le 2019, table 1, without the scaling of widths and depths.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# Blocks whose results are the features: the last ones at strides 4, 8, 16 and 32.
TAPPED = (2, 4, 10, 15)
TAPPED_CHANNELS = (24, 40, 112, 320)


class InvertedResidual(nn.Module):
    """1 x 1 expansion, depthwise convolution, 1 x 1 projection, and a skip if shapes allow.

    Sandler et al. 2018, "MobileNetV2", figure 4, with "same" padding. The projection has no
    activation.

    Args:
        expansion: width of the depthwise convolution over `in_channels`; 1 for no expansion.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int
    ):
        super().__init__()
        self.skip = stride == 1 and in_channels == out_channels
        wide = in_channels * expansion
        self.expand = _pointwise(in_channels, wide, "relu6") if expansion > 1 else None
        self.depthwise = ConvNorm(
            wide,
            wide,
            (kernel, kernel),
            stride=stride,
            padding="same",
            depthwise=True,
            activation="relu6",
            epsilon=EPSILON,
        )
        self.project = _pointwise(wide, out_channels, "none")

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        y = x if self.expand is None else self.expand(x)  # (N, wide, H, W)
        y = self.project(self.depthwise(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, an image classifier for 1000 classes of ImageNet, and its features.

    Tan and Le 2019, "EfficientNet"; Lite (TensorFlow, 2020) leaves out squeeze-and-excitation and
    replaces swish by ReLU6. Convolutions pad as TensorFlow's "same" does. Images are in [-1, 1];
    the network itself scales them to (RGB - 127) / 128 with RGB in 0..255.

    Args:
        classifier: whether the network has the layers behind the features: `pooled`, `logits`.
    """

    def __init__(self, *, classifier: bool = True) -> None:
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
        for stage in STAGES:
            for index in range(stage.blocks):
                block = InvertedResidual(
                    channels,
                    stage.channels,
                    kernel=stage.kernel,
                    stride=stage.stride if index == 0 else 1,
                    expansion=stage.expansion,
                )
                blocks.append(block)
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        if classifier:
            self.head = _pointwise(channels, HEAD_CHANNELS, "relu6")
            self.classifier = Linear(HEAD_CHANNELS, CLASSES)
        self.channels_last = False

    def features(self, image: jt.Var) -> list[jt.Var]:
        """Images (N, 3, H, W) in [-1, 1] -> four feature maps.

        (N, 24, H / 4, W / 4), (N, 40, H / 8, W / 8), (N, 112, H / 16, W / 16) and
        (N, 320, H / 32, W / 32), the quotients rounded up.
        """
        return [self._to_channels_first(tap) for tap in self._run_blocks(image)]

    def pooled(self, image: jt.Var) -> jt.Var:
        """Images (N, 3, H, W) in [-1, 1] -> means of 1280 features over the pixels, (N, 1280)."""
        x = self.head(self._run_blocks(image)[-1])  # (N, 1280, H / 32, W / 32)
        return mean_of_pixels(self._to_channels_first(x)).reshape((image.shape[0], -1))

    def logits(self, image: jt.Var) -> jt.Var:
        """Images (N, 3, H, W) in [-1, 1] -> logits of ImageNet's classes, (N, 1000)."""
        return self.classifier(self.pooled(image))

    def execute(self, image: jt.Var) -> list[jt.Var]:
        """The same as `features`."""
        return self.features(image)

    def _run_blocks(self, image: jt.Var) -> list[jt.Var]:
        """The four feature maps; channels last after `prepare_for_inference`."""
        x = (image * 127.5 + 0.5) / 128.0  # ((image + 1) * 127.5 - 127) / 128
        if self.channels_last:
            x = packed.to_channels_last(x)
        x = self.stem(x)  # (N, 32, H / 2, W / 2)
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPPED:
                taps.append(x)
        return taps

    def _to_channels_first(self, x: jt.Var) -> jt.Var:
        return packed.to_channels_first(x) if self.channels_last else x

    def prepare_for_inference(self) -> None:
        """Folds the batch norms into the convolutions and, on the CPU, packs them for oneDNN."""
        if not packed.available():
            return
        for layer in self.modules():
            if isinstance(layer, ConvNorm):
                layer.pack(channels_last=True)
        self.channels_last = True


def _pointwise(in_channels: int, out_channels: int, activation: Activation) -> ConvNorm:
    """A 1 x 1 convolution with its norm."""
    return ConvNorm(in_channels, out_channels, (1, 1), activation=activation, epsilon=EPSILON)
