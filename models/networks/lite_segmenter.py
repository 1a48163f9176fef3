"""A small segmenter: EfficientNet-Lite0 as encoder, and SegFormer's all-MLP head."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.normalization import BatchNorm
from models.layers.resampling import resize_to_classes
from models.networks.efficientnet import TAPPED_CHANNELS, EfficientNetLite0
from models.networks.segformer import MLPHead

HEAD_WIDTH = 128


class LiteSegmenter(nn.Module):
    """Segments images: EfficientNet-Lite0 (Tan and Le 2019) and the head of SegFormer.

    The head is that of Xie et al. 2021, section 3.2, on the encoder's maps at 1/4, 1/8, 1/16 and
    1/32 (24, 40, 112 and 320 channels). Training keeps the encoder's running statistics: a batch
    of a few crops has worse ones than ImageNet.

    Args:
        classes: number of classes.
        dropout: of the head.
    """

    def __init__(self, *, classes: int, dropout: float = 0.1):
        super().__init__()
        self.smallest_side = 1
        self.classes = classes
        self.encoder = EfficientNetLite0(classifier=False)
        self.head = MLPHead(
            channels=TAPPED_CHANNELS, width=HEAD_WIDTH, classes=classes, dropout=dropout
        )

    def train(self) -> None:
        """Sets training mode; the batch norms of the encoder stay in evaluation mode."""
        super().train()
        for layer in self.encoder.modules():
            if isinstance(layer, BatchNorm):
                layer.is_train = False  # not `eval`, which would also freeze the weights

    def execute(self, image: jt.Var) -> jt.Var:
        """Image (N, 3, H, W) in [-1, 1] -> logits (N, classes, h, w), h = ceil(H / 4)."""
        return self.head(self.encoder(image))

    def segment(self, image: jt.Var) -> jt.Var:
        """Image (N, 3, H, W) in [-1, 1] -> class of each pixel, int32 (N, H, W).

        Logits are resized bilinearly before the argmax.
        """
        return resize_to_classes(self(image), (int(image.shape[2]), int(image.shape[3])))
