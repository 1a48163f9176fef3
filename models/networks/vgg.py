"""VGG-19 features for the perceptual loss."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d

# torchvision's index of each convolution -> (in, out) channels.
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
# Convolutions after a 2 x 2 max pooling.
POOLED_BEFORE = (5, 10, 19, 28)
# Convolutions of relu1_1, relu2_1, relu3_1, relu4_1, relu5_1.
TAPPED = (0, 5, 10, 19, 28)


class VGG19(nn.Module):
    """Features relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 of VGG-19.

    Simonyan and Zisserman 2015. As in pix2pixHD, SPADE and TSIT the input is in [-1, 1], not
    standardized as for ImageNet. The weights are constants.
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
        """Image (N, 3, H, W) in [-1, 1] -> five feature maps.

        (N, 64, H, W), (N, 128, H / 2, W / 2), (N, 256, H / 4, W / 4), (N, 512, H / 8, W / 8),
        (N, 512, H / 16, W / 16), the quotients rounded down.
        """
        x = image
        taps = []
        for index in CONVOLUTIONS:
            if index in POOLED_BEFORE:
                x = nn.pool(x, 2, "maximum", stride=2)  # (N, C, h // 2, w // 2)
            x = nn.relu(self.features[index](x))
            if index in TAPPED:
                taps.append(x)
        return taps
