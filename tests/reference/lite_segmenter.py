"""The segmenter of EfficientNet-Lite0 and SegFormer's head, of which nobody publishes weights."""

from __future__ import annotations

import torch
from torch import nn

from .efficientnet import EfficientNetLite0
from .segformer import Head

CHANNELS = (24, 40, 112, 320)
HEAD_WIDTH = 128
# Layers behind the features.
CLASSIFIER = ("_conv_head", "_bn1", "_fc")


class LiteSegmenter(nn.Module):
    """Image (N, 3, H, W) in [-1, 1] to logits (N, classes, ceil(H / 4), ceil(W / 4)).

    Without dropout. Batch norms of the encoder stay in evaluation mode.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        for name in CLASSIFIER:
            delattr(self.encoder, name)
        self.decode_head = Head(CHANNELS, HEAD_WIDTH, classes)

    def train(self, mode: bool = True) -> LiteSegmenter:
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decode_head(self.encoder.features(image))
