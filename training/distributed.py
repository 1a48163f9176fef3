"""Collectives of data-parallel training under mpirun.

A single process has rank 0 and world size 1, and every collective returns its input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jittor as jt
import numpy as np


def is_single() -> bool:
    return not jt.in_mpi


def rank() -> int:
    return int(jt.rank) if jt.in_mpi else 0


def world_size() -> int:
    return int(jt.world_size) if jt.in_mpi else 1


def all_reduce_mean(variables: list[jt.Var]) -> None:
    """Replace each variable by its mean over the processes, in the order given."""
    if is_single():
        return
    before: list[jt.Var] = []
    for variable in variables:
        variable.assign(variable.mpi_all_reduce("mean"))
        # In a fixed order: two processes that reduce in different orders would deadlock.
        reduced = variable._input(0)
        reduced._add_dependency(before)
        before = [reduced]


def broadcast(variables: Iterable[jt.Var]) -> None:
    """Copy the values of the first process to all."""
    if is_single():
        return
    for variable in variables:
        variable.update(variable.mpi_broadcast(0))
        jt.sync([variable])


def sync_losses(losses: Mapping[str, float], stop: bool) -> tuple[dict[str, float], bool]:
    """The mean losses over the processes, and whether one of them wants to stop.

    Every process must call this after the same step. A loss that is not finite in one process is
    not finite in all.
    """
    if is_single():
        return dict(losses), stop
    local = np.array([*losses.values(), float(stop)], np.float32)
    *means, stops = jt.array(local).mpi_all_reduce("mean").numpy().tolist()
    return dict(zip(losses, means, strict=True)), stops > 0


def barrier() -> None:
    """Wait for all processes."""
    if not is_single():
        jt.array(np.zeros(1, np.float32)).mpi_all_reduce("add").numpy()
