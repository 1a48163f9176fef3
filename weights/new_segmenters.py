"""New segmenters, whose encoders are pretrained on ImageNet.

    network = create_segmenter("efficientnet_lite0", classes=29)
    network = create_segmenter("mit_b0", classes=29, weights=Path("mit_b0.pth"))

EfficientNet-Lite0 comes with an installed package. The encoders of SegFormer are the user's files;
without one their weights are random.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from options.errors import UserError
from weights.backbones import load_efficientnet
from weights.file_kind import weights_kind
from weights.finite import require_finite
from weights.published_names import HUGGING_FACE
from weights.recognize import NETWORK_FORMAT, Part, read_parts
from weights.safetensors_file import read_metadata, read_tensors
from weights.segmenters import KEPT, LITE, infer_encoder, norms_of
from weights.variables import assign_arrays

if TYPE_CHECKING:
    from models.networks.lite_segmenter import LiteSegmenter
    from models.networks.segformer import SegFormer
    from weights.segmenters import SegmenterNetwork


def create_segmenter(
    encoder: str, *, classes: int, weights: Path | None = None, drop_path: float = 0.1
) -> SegmenterNetwork:
    """Create a segmenter in training mode, with a pretrained encoder and a random head.

    encoder: "efficientnet_lite0", or "mit_b0" to "mit_b5" with the file `weights`, None for random
    ones. drop_path: of the latter. Raises UserError if the weights are missing or others.
    """
    if encoder == LITE:
        return _create_lite(classes)
    from models.networks.segformer import create_segformer

    variant = encoder.removeprefix("mit_").upper()
    if weights is None:
        return create_segformer(variant, classes=classes, drop_path=drop_path)
    return pretrained_segmenter(weights, classes=classes, variant=variant, drop_path=drop_path)


def _create_lite(classes: int) -> LiteSegmenter:
    from models.networks.lite_segmenter import LiteSegmenter

    network = LiteSegmenter(classes=classes)
    # Copies: a variable of the pretrained network, in evaluation mode, would never be trained.
    pretrained = {name: var.numpy() for name, var in load_efficientnet().state_dict().items()}
    own = network.encoder.state_dict()
    assign_arrays(own, {name: pretrained[name] for name in own}, "EfficientNet-Lite0")
    network.train()
    return network


def pretrained_segmenter(
    path: Path, *, classes: int, variant: str | None = None, drop_path: float = 0.1
) -> SegFormer:
    """Create a published variant with the encoder of a file and a new head, in training mode.

    path: an encoder pretrained on ImageNet, such as NVlabs' mit_b0.pth, or what
    `tools.convert_checkpoint` makes of it. variant: the one expected, such as "B0"; None for any.
    Raises UserError for any other file.
    """
    from models.networks.segformer import VARIANTS, SegFormer

    part = _read_encoder(path)
    sizes = infer_encoder(part.arrays, path, "")
    # B0 and B1 to B5 differ in widths or blocks.
    names = VARIANTS if variant is None else (variant,)
    shapes = [VARIANTS[name] for name in names]
    shape = next((s for s in shapes if (s.widths, s.blocks) == sizes), None)
    if shape is None:
        raise UserError(
            f"{path}: expected the encoder of SegFormer-{' or -'.join(names)}, got widths "
            f"{' '.join(map(str, sizes[0]))} and blocks {' '.join(map(str, sizes[1]))}. "
            "Name another file"
        )
    network = SegFormer(shape=shape, classes=classes, norms=norms_of(part), drop_path=drop_path)
    assign_arrays(network.encoder.state_dict(), part.arrays, str(path))
    return network


def _read_encoder(path: Path) -> Part:
    """Read an encoder, published or converted."""
    if weights_kind(path) == "safetensors":
        metadata = read_metadata(path)
        family = next((f for f in ("mit", *HUGGING_FACE) if f == metadata.get("family")), None)
        if metadata.get("format") == NETWORK_FORMAT and family in ("mit", "mit_hugging_face"):
            arrays, _ = read_tensors(path)
            require_finite(arrays, path)
            return Part(path, family, {n: a for n, a in arrays.items() if not n.startswith(KEPT)})
    parts = read_parts(path)
    if parts[0].family not in ("mit", "mit_hugging_face"):
        raise UserError(
            f"{path}: expected an encoder of SegFormer (MiT), got {parts[0].family}. Name another "
            "file, such as mit_b0.pth"
        )
    return parts[0]
