"""VGG-19's features, by which the perceptual loss compares pictures."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d

# torchvision's index of each convolution -> (in, out) channels; pooling stands before 5, 10, 19,
# 28.
CONVOLUTIONS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    16: (256, 256),
    19: (256, 512),
    21: (512, 512),
    23: (512, 512),
    25: (512, 512),
    28: (512, 512),
}
POOLED_BEFORE = (5, 10, 19, 28)
# relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
TAPPED = (0, 5, 10, 19, 28)


class VGG19(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19 (Simonyan and Zisserman 2015).

    As in pix2pixHD, SPADE and TSIT the picture goes in as it is, in [-1, 1], without ImageNet's
    mean and deviation. Its weights are constants.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            [
                Conv2d(*CONVOLUTIONS[i], 3, padding=1) if i in CONVOLUTIONS else nn.Identity()
                for i in range(max(CONVOLUTIONS) + 1)
            ]
        )
        for parameter in self.parameters():
            parameter.stop_grad()

    def execute(self, image: jt.Var) -> list[jt.Var]:
        """(N, 3, H, W) in [-1, 1] -> five feature maps of 64, 128, 256, 512, 512 channels."""
        x = image
        taps = []
        for index in CONVOLUTIONS:
            if index in POOLED_BEFORE:
                x = nn.pool(x, 2, "maximum", stride=2)
            x = nn.relu(self.features[index](x))
            if index in TAPPED:
                taps.append(x)
        return taps
