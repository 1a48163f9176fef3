"""SegFormer in plain PyTorch, with the names of NVlabs/SegFormer's checkpoints, and of its copy.

The input is standardized already; logits are at a quarter of its size. The head resizes,
concatenates and convolves in the published order. `HuggingFace` is the same network with the names
and epsilons of `transformers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def standardize(image: torch.Tensor) -> torch.Tensor:
    """Colors in [-1, 1] to (color of 0..255 - mean) / deviation."""
    mean, deviation = (
        torch.tensor(values, dtype=image.dtype).view(1, 3, 1, 1) for values in (MEAN, DEVIATION)
    )
    return ((image + 1) * 127.5 - mean) / deviation


class PatchEmbed(nn.Module):
    def __init__(self, fan_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(fan_in, width, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        x = self.proj(x)
        return self.norm(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.sr: nn.Conv2d | None = None
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width, eps=1e-5)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        return x.view(n, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        n, _, width = x.shape
        source = x
        if self.sr is not None:
            grid = x.transpose(1, 2).reshape(n, width, *size)
            source = self.norm(self.sr(grid).flatten(2).transpose(1, 2))
        key, value = self.kv(source).chunk(2, dim=-1)
        query, key, value = (self._split(part) for part in (self.q(x), key, value))
        scores = query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5
        mixed = scores.softmax(dim=-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(n, -1, width))


class DWConv(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        grid = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)
        return self.dwconv(grid).flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.dwconv = DWConv(4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x), size)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), size)
        return x + self.mlp(self.norm2(x), size)


class Backbone(nn.Module):
    def __init__(self, widths: Sequence[int], blocks: Sequence[int], eps: float) -> None:
        super().__init__()
        for index, width in enumerate(widths):
            stage = index + 1
            kernel, stride = (7, 4) if index == 0 else (3, 2)
            fan_in = 3 if index == 0 else widths[index - 1]
            setattr(self, f"patch_embed{stage}", PatchEmbed(fan_in, width, kernel, stride))
            block = [
                Block(width, HEADS[index], REDUCTIONS[index], eps) for _ in range(blocks[index])
            ]
            setattr(self, f"block{stage}", nn.ModuleList(block))
            setattr(self, f"norm{stage}", nn.LayerNorm(width, eps=eps))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for stage in range(1, 5):
            tokens, size = getattr(self, f"patch_embed{stage}")(x)
            for block in getattr(self, f"block{stage}"):
                tokens = block(tokens, size)
            tokens = getattr(self, f"norm{stage}")(tokens)
            x = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *size)
            maps.append(x)
        return maps


class Projection(nn.Module):
    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(fan_in, width)


class Fuse(nn.Module):
    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)


class Head(nn.Module):
    def __init__(self, channels: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.count = len(channels)
        for index, fan_in in enumerate(channels):
            setattr(self, f"linear_c{index + 1}", Projection(fan_in, width))
        self.linear_fuse = Fuse(self.count * width, width)
        self.linear_pred = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        size = maps[0].shape[2:]
        resized = []
        for index in reversed(range(self.count)):
            x = maps[index]
            layer = getattr(self, f"linear_c{index + 1}").proj
            tokens = layer(x.flatten(2).transpose(1, 2))
            grid = tokens.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
            resized.append(F.interpolate(grid, size=size, mode="bilinear", align_corners=False))
        fused = self.linear_fuse.bn(self.linear_fuse.conv(torch.cat(resized, dim=1)))
        return self.linear_pred(F.relu(fused))


class SegFormer(nn.Module):
    """Standardized image (N, 3, H, W) to logits (N, classes, ceil(H / 4), ceil(W / 4)).

    Without dropout and drop path, which are random.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        head_width: int,
        classes: int,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(widths, blocks, eps)
        self.decode_head = Head(widths, head_width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decode_head(self.backbone(image))


class HuggingFace(SegFormer):
    """The same network whose state has the names of `transformers`; every eps is 1e-5."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, eps=1e-5)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        renamed: dict[str, torch.Tensor] = {}
        for name, value in super().state_dict(*args, **kwargs).items():
            if ".attn.kv." in name:
                halves = value.chunk(2)
                for part, half in zip(("key", "value"), halves, strict=True):
                    renamed[_rename(name.replace(".attn.kv.", f".attn.{part}."))] = half
            else:
                renamed[_rename(name)] = value
        return renamed

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, **_: Any) -> Any:
        given = dict(state)
        own: dict[str, torch.Tensor] = {}
        for name in super().state_dict():
            if ".attn.kv." in name:
                parts = [name.replace(".attn.kv.", f".attn.{part}.") for part in ("key", "value")]
                own[name] = torch.cat([given.pop(_rename(part)) for part in parts])
            else:
                own[name] = given.pop(_rename(name))
        if given:
            raise KeyError(f"unknown names: {list(given)}")
        return super().load_state_dict(own, strict=strict)


# NVlabs' names and those of `transformers`, in this order.
_RENAMED = (
    (r"^backbone\.", "segformer.encoder."),
    (r"patch_embed(\d)\.proj", "patch_embeddings.#1.proj"),
    (r"patch_embed(\d)\.norm", "patch_embeddings.#1.layer_norm"),
    (r"block(\d)\.(\d+)\.norm([12])", r"block.#1.\2.layer_norm_\3"),
    (r"block(\d)\.", "block.#1."),
    (r"encoder\.norm(\d)", "encoder.layer_norm.#1"),
    (r"\.attn\.q\.", ".attention.self.query."),
    (r"\.attn\.(key|value|sr)\.", r".attention.self.\1."),
    (r"\.attn\.norm\.", ".attention.self.layer_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc", ".mlp.dense"),
    (r"linear_c(\d)\.", "linear_c.#1."),
    (r"linear_fuse\.conv", "linear_fuse"),
    (r"linear_fuse\.bn", "batch_norm"),
    (r"linear_pred", "classifier"),
)


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMED:
        match = re.search(pattern, name)
        if match:
            if "#1" in replacement:  # stages count from 0
                replacement = replacement.replace("#1", str(int(match[1]) - 1))
            name = re.sub(pattern, replacement, name)
    return name
