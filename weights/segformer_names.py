"""Names of SegFormer's parameters as published by NVlabs and by Hugging Face.

    backbone.block1.0.attn.q.weight                               NVlabs
    segformer.encoder.block.0.0.attention.self.query.weight      Hugging Face
    encoder.stages.0.blocks.0.attention.query.weight             here

An encoder alone (mit_b0.pth) lacks `backbone.` and `segformer.`. Hugging Face stores keys and
values apart; they are joined as `key_value`, keys first. Everything else differs by name only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

STAGES = 4
BLOCKS = 40  # of the deepest stage, B5's third
Pairs = Iterator[tuple[str, str]]

_PLAIN = {"weight": "weight", "bias": "bias"}
_NORM = {"scale": "weight", "shift": "bias"}
_BATCH_NORM = _NORM | {"running_mean": "running_mean", "running_variance": "running_var"}
_JOINED = ".attention.self.key_value."

# Layer of a block -> NVlabs' name, Hugging Face's name, leaves.
_BLOCK: dict[str, tuple[str, str, dict[str, str]]] = {
    "norm_1": ("norm1", "layer_norm_1", _NORM),
    "attention.query": ("attn.q", "attention.self.query", _PLAIN),
    "attention.key_value": ("attn.kv", "attention.self.key_value", _PLAIN),
    "attention.output": ("attn.proj", "attention.output.dense", _PLAIN),
    "attention.reduce": ("attn.sr", "attention.self.sr", _PLAIN),
    "attention.norm": ("attn.norm", "attention.self.layer_norm", _NORM),
    "norm_2": ("norm2", "layer_norm_2", _NORM),
    "ffn.expand": ("mlp.fc1", "mlp.dense1", _PLAIN),
    "ffn.depthwise": ("mlp.dwconv.dwconv", "mlp.dwconv.dwconv", _PLAIN),
    "ffn.reduce": ("mlp.fc2", "mlp.dense2", _PLAIN),
}
# Names of files that the network never reads -> why.
UNUSED = {
    "decode_head.conv_seg.weight": "a layer that the published network never reads",
    "decode_head.conv_seg.bias": "a layer that the published network never reads",
    "head.weight": "the classifier of ImageNet, which no segmenter reads",
    "head.bias": "the classifier of ImageNet, which no segmenter reads",
}


def encoder_pairs(*, hugging_face: bool) -> Pairs:
    """Yield (project's name, published name) of an encoder, each without a prefix."""
    column = 1 if hugging_face else 0
    for s in range(STAGES):
        embedding, norm, end, block = (
            (f"patch_embeddings.{s}", "layer_norm", f"layer_norm.{s}", f"block.{s}")
            if hugging_face
            else (f"patch_embed{s + 1}", "norm", f"norm{s + 1}", f"block{s + 1}")
        )
        stage = f"stages.{s}"
        yield from _leaves(f"{stage}.embedding.projection", f"{embedding}.proj", _PLAIN)
        yield from _leaves(f"{stage}.embedding.norm", f"{embedding}.{norm}", _NORM)
        yield from _leaves(f"{stage}.norm", end, _NORM)
        for index in range(BLOCKS):
            for layer, row in _BLOCK.items():
                name, published = (
                    f"{stage}.blocks.{index}.{layer}",
                    f"{block}.{index}.{row[column]}",
                )
                yield from _leaves(name, published, row[2])


def head_pairs(*, hugging_face: bool) -> Pairs:
    """Yield (project's name, published name) of the head, each without a prefix."""
    for s in range(STAGES):
        layer = f"linear_c.{s}" if hugging_face else f"linear_c{s + 1}"
        yield from _leaves(f"projections.{s}", f"{layer}.proj", _PLAIN)
    fusion, norm, classifier = (
        ("linear_fuse", "batch_norm", "classifier")
        if hugging_face
        else ("linear_fuse.conv", "linear_fuse.bn", "linear_pred")
    )
    yield "fusion.weight", f"{fusion}.weight"
    yield from _leaves("norm", norm, _BATCH_NORM)
    yield from _leaves("classifier", classifier, _PLAIN)


def segformer_pairs(*, hugging_face: bool) -> Pairs:
    """Yield (project's name, published name) of a whole network."""
    prefix = "segformer.encoder" if hugging_face else "backbone"
    for name, published in encoder_pairs(hugging_face=hugging_face):
        yield f"encoder.{name}", f"{prefix}.{published}"
    for name, published in head_pairs(hugging_face=hugging_face):
        yield f"head.{name}", f"decode_head.{published}"


def join_key_values(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return Hugging Face's arrays with keys and values of a layer joined, at the keys' place."""
    joined: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        pair = name.replace(".attention.self.key.", _JOINED)
        value = name.replace(".attention.self.key.", ".attention.self.value.")
        key = name.replace(".attention.self.value.", ".attention.self.key.")
        if pair != name and value in arrays:
            joined[pair] = np.concatenate([array, arrays[value]])
        elif key == name or key not in arrays:
            joined[name] = array
    return joined


def split_key_values(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays with keys and values apart, as Hugging Face stores them."""
    split: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if _JOINED not in name:
            split[name] = array
            continue
        for part, half in zip(("key", "value"), np.split(array, 2), strict=True):
            split[name.replace(_JOINED, f".attention.self.{part}.")] = half
    return split


def _leaves(name: str, published: str, leaves: Mapping[str, str]) -> Pairs:
    for leaf, published_leaf in leaves.items():
        yield f"{name}.{leaf}", f"{published}.{published_leaf}"
