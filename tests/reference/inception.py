"""Inception v3 of the Frechet Inception Distance, with torchvision's names."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)))


Row = tuple[str, int, int, "int | tuple[int, int]", int, "int | tuple[int, int]"]
ROW, COLUMN = ((1, 7), (0, 3)), ((7, 1), (3, 0))


class Mixed(nn.Module):
    """Branches that are concatenated.

    `rows`: name, channels in and out, kernel, stride, padding of each unit. `branches`: names of
    the units of each branch; a tuple inside a branch is a fork, whose results are concatenated.
    `pool`: "average", "maximum" before the unit branch_pool, or "stride": the maximum alone.
    """

    def __init__(self, rows: list[Row], branches: list[list], pool: str) -> None:
        super().__init__()
        for name, *rest in rows:
            setattr(self, name, Unit(*rest))
        self.branches = branches
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = []
        for branch in self.branches:
            y = x
            for step in branch:
                if isinstance(step, tuple):
                    y = torch.cat([getattr(self, name)(y) for name in step], 1)
                else:
                    y = getattr(self, step)(y)
            results.append(y)
        if self.pool == "stride":
            results.append(F.max_pool2d(x, kernel_size=3, stride=2))
        elif self.pool == "maximum":
            results.append(self.branch_pool(F.max_pool2d(x, kernel_size=3, stride=1, padding=1)))
        else:
            average = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            results.append(self.branch_pool(average))
        return torch.cat(results, 1)


def mixed_5(channels: int, pooled: int) -> Mixed:
    rows: list[Row] = [
        ("branch1x1", channels, 64, 1, 1, 0),
        ("branch5x5_1", channels, 48, 1, 1, 0),
        ("branch5x5_2", 48, 64, 5, 1, 2),
        ("branch3x3dbl_1", channels, 64, 1, 1, 0),
        ("branch3x3dbl_2", 64, 96, 3, 1, 1),
        ("branch3x3dbl_3", 96, 96, 3, 1, 1),
        ("branch_pool", channels, pooled, 1, 1, 0),
    ]
    double = ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
    return Mixed(rows, [["branch1x1"], ["branch5x5_1", "branch5x5_2"], double], "average")


def mixed_6a() -> Mixed:
    rows: list[Row] = [
        ("branch3x3", 288, 384, 3, 2, 0),
        ("branch3x3dbl_1", 288, 64, 1, 1, 0),
        ("branch3x3dbl_2", 64, 96, 3, 1, 1),
        ("branch3x3dbl_3", 96, 96, 3, 2, 0),
    ]
    double = ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
    return Mixed(rows, [["branch3x3"], double], "stride")


def mixed_6(wide: int) -> Mixed:
    rows: list[Row] = [
        ("branch1x1", 768, 192, 1, 1, 0),
        ("branch7x7_1", 768, wide, 1, 1, 0),
        ("branch7x7_2", wide, wide, ROW[0], 1, ROW[1]),
        ("branch7x7_3", wide, 192, COLUMN[0], 1, COLUMN[1]),
        ("branch7x7dbl_1", 768, wide, 1, 1, 0),
        ("branch7x7dbl_2", wide, wide, COLUMN[0], 1, COLUMN[1]),
        ("branch7x7dbl_3", wide, wide, ROW[0], 1, ROW[1]),
        ("branch7x7dbl_4", wide, wide, COLUMN[0], 1, COLUMN[1]),
        ("branch7x7dbl_5", wide, 192, ROW[0], 1, ROW[1]),
        ("branch_pool", 768, 192, 1, 1, 0),
    ]
    single = [f"branch7x7_{i}" for i in (1, 2, 3)]
    double = [f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)]
    return Mixed(rows, [["branch1x1"], single, double], "average")


def mixed_7a() -> Mixed:
    rows: list[Row] = [
        ("branch3x3_1", 768, 192, 1, 1, 0),
        ("branch3x3_2", 192, 320, 3, 2, 0),
        ("branch7x7x3_1", 768, 192, 1, 1, 0),
        ("branch7x7x3_2", 192, 192, ROW[0], 1, ROW[1]),
        ("branch7x7x3_3", 192, 192, COLUMN[0], 1, COLUMN[1]),
        ("branch7x7x3_4", 192, 192, 3, 2, 0),
    ]
    by_7 = [f"branch7x7x3_{i}" for i in (1, 2, 3, 4)]
    return Mixed(rows, [["branch3x3_1", "branch3x3_2"], by_7], "stride")


def mixed_7(channels: int, pool: str) -> Mixed:
    rows: list[Row] = [
        ("branch1x1", channels, 320, 1, 1, 0),
        ("branch3x3_1", channels, 384, 1, 1, 0),
        ("branch3x3_2a", 384, 384, (1, 3), 1, (0, 1)),
        ("branch3x3_2b", 384, 384, (3, 1), 1, (1, 0)),
        ("branch3x3dbl_1", channels, 448, 1, 1, 0),
        ("branch3x3dbl_2", 448, 384, 3, 1, 1),
        ("branch3x3dbl_3a", 384, 384, (1, 3), 1, (0, 1)),
        ("branch3x3dbl_3b", 384, 384, (3, 1), 1, (1, 0)),
        ("branch_pool", channels, 192, 1, 1, 0),
    ]
    single = ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")]
    double = ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")]
    return Mixed(rows, [["branch1x1"], single, double], pool)


class FIDInception(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to four maps, the pooled feature and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        for letter, channels, pooled in (("b", 192, 32), ("c", 256, 64), ("d", 288, 64)):
            setattr(self, f"Mixed_5{letter}", mixed_5(channels, pooled))
        self.Mixed_6a = mixed_6a()
        for letter, wide in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
            setattr(self, f"Mixed_6{letter}", mixed_6(wide))
        self.Mixed_7a = mixed_7a()
        self.Mixed_7b = mixed_7(1280, "average")
        self.Mixed_7c = mixed_7(2048, "maximum")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.interpolate(image, size=(299, 299), mode="bilinear", align_corners=False)
        x = 2 * x - 1
        results = {}
        for name in ("1a_3x3", "2a_3x3", "2b_3x3"):
            x = getattr(self, f"Conv2d_{name}")(x)
        results["tap64"] = x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        results["tap192"] = x = F.max_pool2d(x, kernel_size=3, stride=2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e"):
            x = getattr(self, f"Mixed_{name}")(x)
        results["tap768"] = x
        for name in ("7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{name}")(x)
        results["tap2048"] = x
        results["pooled"] = x.mean(dim=(2, 3))
        results["logits"] = self.fc(results["pooled"])
        return results
