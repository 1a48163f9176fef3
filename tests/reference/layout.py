"""Layouts in the form of the published code: one-hot planes and the plane of instance edges."""

from __future__ import annotations

import torch


def one_hot(ids: torch.Tensor, classes: int) -> torch.Tensor:
    """Class ids (N, H, W) to float32 planes (N, classes, H, W) of 0 and 1."""
    planes = torch.zeros(ids.shape[0], classes, *ids.shape[1:])
    return planes.scatter_(1, ids.long().unsqueeze(1), 1.0)


def instance_edges(instances: torch.Tensor) -> torch.Tensor:
    """Instance ids (N, H, W) to edges (N, 1, H, W): 1 if one of the 4 neighbors differs."""
    edges = torch.zeros(instances.shape, dtype=torch.bool)
    across = instances[:, :, 1:] != instances[:, :, :-1]
    down = instances[:, 1:, :] != instances[:, :-1, :]
    edges[:, :, 1:] |= across
    edges[:, :, :-1] |= across
    edges[:, 1:, :] |= down
    edges[:, :-1, :] |= down
    return edges.float().unsqueeze(1)


def condition(
    ids: torch.Tensor, classes: int, instances: torch.Tensor | None = None
) -> torch.Tensor:
    """One-hot planes, followed by the edge plane if there are instances."""
    planes = one_hot(ids, classes)
    if instances is None:
        return planes
    return torch.cat([planes, instance_edges(instances)], dim=1)
