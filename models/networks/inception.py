"""The Inception v3 of the Frechet Inception Distance."""

from __future__ import annotations

from functools import partial

import jittor as jt
from jittor import nn

from models.kernels import packed
from models.kernels.reduction import mean_of_pixels
from models.kernels.scale_shift import apply_activation
from models.layers.convolution import Linear
from models.layers.convolution_norm import ConvNorm
from models.layers.resampling import resize_bilinear

EPSILON = 1e-3
SIZE = (299, 299)
FEATURES, CLASSES = 2048, 1008

_conv = partial(ConvNorm, activation="relu", epsilon=EPSILON)


def _by_7(in_channels: int, out_channels: int, *, vertical: bool) -> ConvNorm:
    """A 7 x 1 or 1 x 7 convolution that keeps the size."""
    kernel, padding = ((7, 1), (3, 0)) if vertical else ((1, 7), (0, 3))
    return _conv(in_channels, out_channels, kernel, padding=padding)


def _by_3(in_channels: int, out_channels: int, *, vertical: bool) -> ConvNorm:
    """A 3 x 1 or 1 x 3 convolution that keeps the size."""
    kernel, padding = ((3, 1), (1, 0)) if vertical else ((1, 3), (0, 1))
    return _conv(in_channels, out_channels, kernel, padding=padding)


class PooledConv(ConvNorm):
    """ReLU of a 3 x 3 average, padding left out, of a 1 x 1 convolution with its norm.

    As published the average comes first. A 1 x 1 convolution and a norm in evaluation are affine
    maps of each pixel, which a weighted mean commutes with, and there are up to ten times fewer
    channels to average after them.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, (1, 1), epsilon=EPSILON)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        return apply_activation(average_3x3(super().execute(x)), "relu")


class InceptionA(nn.Module):
    """Mixed_5b, 5c and 5d: (N, in_channels, H, W) -> (N, 224 + pool_channels, H, W)."""

    def __init__(self, in_channels: int, pool_channels: int):
        super().__init__()
        self.branch1x1 = _conv(in_channels, 64, (1, 1))
        self.branch5x5_1 = _conv(in_channels, 48, (1, 1))
        self.branch5x5_2 = _conv(48, 64, (5, 5), padding=(2, 2))
        self.branch3x3dbl_1 = _conv(in_channels, 64, (1, 1))
        self.branch3x3dbl_2 = _conv(64, 96, (3, 3), padding=(1, 1))
        self.branch3x3dbl_3 = _conv(96, 96, (3, 3), padding=(1, 1))
        self.branch_pool = PooledConv(in_channels, pool_channels)

    def execute(self, x: jt.Var) -> jt.Var:
        """Concatenates four branches of 64, 64, 96 and pool_channels channels."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branches = [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double]
        return jt.concat([*branches, self.branch_pool(x)], dim=1)


class InceptionB(nn.Module):
    """Mixed_6a: (N, 288, H, W) -> (N, 768, (H - 1) // 2, (W - 1) // 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = _conv(288, 384, (3, 3), stride=2)
        self.branch3x3dbl_1 = _conv(288, 64, (1, 1))
        self.branch3x3dbl_2 = _conv(64, 96, (3, 3), padding=(1, 1))
        self.branch3x3dbl_3 = _conv(96, 96, (3, 3), stride=2)

    def execute(self, x: jt.Var) -> jt.Var:
        """Concatenates three branches of 384, 96 and 288 channels."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return jt.concat([self.branch3x3(x), double, pool_maximum(x)], dim=1)


class InceptionC(nn.Module):
    """Mixed_6b to 6e: (N, 768, H, W) -> (N, 768, H, W).

    Args:
        wide: channels between the factored 7 x 7 convolutions.
    """

    def __init__(self, wide: int):
        super().__init__()
        self.branch1x1 = _conv(768, 192, (1, 1))
        self.branch7x7_1 = _conv(768, wide, (1, 1))
        self.branch7x7_2 = _by_7(wide, wide, vertical=False)
        self.branch7x7_3 = _by_7(wide, 192, vertical=True)
        self.branch7x7dbl_1 = _conv(768, wide, (1, 1))
        self.branch7x7dbl_2 = _by_7(wide, wide, vertical=True)
        self.branch7x7dbl_3 = _by_7(wide, wide, vertical=False)
        self.branch7x7dbl_4 = _by_7(wide, wide, vertical=True)
        self.branch7x7dbl_5 = _by_7(wide, 192, vertical=False)
        self.branch_pool = PooledConv(768, 192)

    def execute(self, x: jt.Var) -> jt.Var:
        """Concatenates four branches of 192 channels."""
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return jt.concat([self.branch1x1(x), single, double, self.branch_pool(x)], dim=1)


class InceptionD(nn.Module):
    """Mixed_7a: (N, 768, H, W) -> (N, 1280, (H - 1) // 2, (W - 1) // 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _conv(768, 192, (1, 1))
        self.branch3x3_2 = _conv(192, 320, (3, 3), stride=2)
        self.branch7x7x3_1 = _conv(768, 192, (1, 1))
        self.branch7x7x3_2 = _by_7(192, 192, vertical=False)
        self.branch7x7x3_3 = _by_7(192, 192, vertical=True)
        self.branch7x7x3_4 = _conv(192, 192, (3, 3), stride=2)

    def execute(self, x: jt.Var) -> jt.Var:
        """Concatenates three branches of 320, 192 and 768 channels."""
        by_7 = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        branches = [self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(by_7)]
        return jt.concat([*branches, pool_maximum(x)], dim=1)


class InceptionE(nn.Module):
    """Mixed_7b and 7c: (N, in_channels, H, W) -> (N, 2048, H, W).

    Args:
        maximum: whether the pool branch takes the maximum, as Mixed_7c, not the average.
    """

    def __init__(self, in_channels: int, *, maximum: bool):
        super().__init__()
        self.branch1x1 = _conv(in_channels, 320, (1, 1))
        self.branch3x3_1 = _conv(in_channels, 384, (1, 1))
        self.branch3x3_2a = _by_3(384, 384, vertical=False)
        self.branch3x3_2b = _by_3(384, 384, vertical=True)
        self.branch3x3dbl_1 = _conv(in_channels, 448, (1, 1))
        self.branch3x3dbl_2 = _conv(448, 384, (3, 3), padding=(1, 1))
        self.branch3x3dbl_3a = _by_3(384, 384, vertical=False)
        self.branch3x3dbl_3b = _by_3(384, 384, vertical=True)
        self.maximum = maximum
        if maximum:
            self.branch_pool = _conv(in_channels, 192, (1, 1))
        else:
            self.branch_pool = PooledConv(in_channels, 192)

    def execute(self, x: jt.Var) -> jt.Var:
        """Concatenates branches of 320, 2 x 384, 2 x 384 and 192 channels."""
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        branches += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        branches.append(self.branch_pool(maximum_3x3(x) if self.maximum else x))
        return jt.concat(branches, dim=1)


class FIDInception(nn.Module):
    """Inception v3 as the Frechet Inception Distance uses it.

    Szegedy et al. 2016, "Rethinking the Inception Architecture", in torchvision's form without the
    auxiliary classifier, with the five changes of pytorch-fid, which make it TensorFlow's network
    of 2015: 1008 classes; 3 x 3 averages leave padding out; the pool branch of Mixed_7c takes the
    maximum; images are resized to 299 x 299, then scaled to [-1, 1]; no other scaling. Layers have
    torchvision's names. The network is for evaluation only (see `PooledConv`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _conv(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = _conv(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = _conv(32, 64, (3, 3), padding=(1, 1))
        self.Conv2d_3b_1x1 = _conv(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _conv(80, 192, (3, 3))
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB()
        self.Mixed_6b = InceptionC(128)
        self.Mixed_6c = InceptionC(160)
        self.Mixed_6d = InceptionC(160)
        self.Mixed_6e = InceptionC(192)
        self.Mixed_7a = InceptionD()
        self.Mixed_7b = InceptionE(1280, maximum=False)
        self.Mixed_7c = InceptionE(2048, maximum=True)
        self.fc = Linear(FEATURES, CLASSES)
        self.eval()

    def features(self, image: jt.Var) -> list[jt.Var]:
        """Images (N, 3, H, W) in [0, 1] -> four feature maps.

        (N, 64, 73, 73) and (N, 192, 35, 35), after the two max pools of the stem; (N, 768, 17, 17),
        of Mixed_6e; (N, 2048, 8, 8), of Mixed_7c.
        """
        x = resize_bilinear(image, SIZE) * 2.0 - 1.0  # (N, 3, 299, 299)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (N, 64, 147, 147)
        taps = [pool_maximum(x)]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(taps[-1]))  # (N, 192, 71, 71)
        taps.append(pool_maximum(x))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(taps[-1])))  # (N, 288, 35, 35)
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # (N, 768, 17, 17)
        taps.append(self.Mixed_6e(self.Mixed_6d(x)))
        taps.append(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(taps[-1]))))
        return taps

    def pooled(self, image: jt.Var) -> jt.Var:
        """Images (N, 3, H, W) in [0, 1] -> means of Mixed_7c over its pixels, (N, 2048)."""
        return mean_of_pixels(self.features(image)[-1]).reshape((image.shape[0], FEATURES))

    def logits(self, image: jt.Var) -> jt.Var:
        """Images (N, 3, H, W) in [0, 1] -> logits of the 1008 classes, (N, 1008)."""
        return self.fc(self.pooled(image))

    def execute(self, image: jt.Var) -> jt.Var:
        """The same as `pooled`."""
        return self.pooled(image)

    def prepare_for_inference(self) -> None:
        """Folds the batch norms into the convolutions and, on the CPU, packs them for oneDNN."""
        if packed.available():
            for layer in self.modules():
                if isinstance(layer, ConvNorm):
                    layer.pack(channels_last=False)


def pool_maximum(x: jt.Var) -> jt.Var:
    """Maxima of 3 x 3 windows at stride 2: (N, C, H, W) -> (N, C, (H - 1) // 2, (W - 1) // 2)."""
    return nn.pool(x, 3, "maximum", stride=2)


def maximum_3x3(x: jt.Var) -> jt.Var:
    """Maxima of the 3 x 3 windows around all pixels; padding is never the maximum.

    (N, C, H, W) -> (N, C, H, W).
    """
    rows, columns = (
        _clamped(*pair) for pair in (("i2", "i4", x.shape[2]), ("i3", "i5", x.shape[3]))
    )
    return x.reindex([*x.shape, 3, 3], ["i0", "i1", rows, columns]).max(dims=(4, 5))


def _clamped(index: str, offset: str, length: int) -> str:
    """Index + offset - 1, clamped, as an expression of Jittor's `reindex`.

    A window at a border contains its border pixel, which replaces the padding.
    """
    # Jittor replaces an index only between spaces.
    i = f" {index} + {offset} "
    return f"({i}<1 ? 0: {i}>{length} ? {length - 1}: {i}-1)"


def average_3x3(x: jt.Var) -> jt.Var:
    """Averages over the 3 x 3 windows around all pixels, padding left out.

    (N, C, H, W) -> (N, C, H, W).
    """
    index = ["i0", "i1", "i2+i4-1", "i3+i5-1"]
    inside = jt.ones((1, 1, *x.shape[2:])).reindex([1, 1, *x.shape[2:], 3, 3], index)
    return x.reindex([*x.shape, 3, 3], index).sum(dims=(4, 5)) / inside.sum(dims=(4, 5))
