"""The processes of one run, under mpirun: who this one is, and what they agree on.

Alone, rank is 0, count is 1 and nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jittor as jt
import numpy as np


def is_alone() -> bool:
    return not jt.in_mpi


def rank() -> int:
    return int(jt.rank) if jt.in_mpi else 0


def count() -> int:
    return int(jt.world_size) if jt.in_mpi else 1


def average(variables: list[jt.Var]) -> None:
    """Replace each variable by its mean over the processes, in the order given."""
    if is_alone():
        return
    before: list[jt.Var] = []
    for variable in variables:
        variable.assign(variable.mpi_all_reduce("mean"))
        # One after the other: two processes that reduced in different orders would wait for
        # each other for ever.
        reduced = variable._input(0)
        reduced._add_dependency(before)
        before = [reduced]


def share(variables: Iterable[jt.Var]) -> None:
    """Give every process the first one's values."""
    if is_alone():
        return
    for variable in variables:
        variable.update(variable.mpi_broadcast(0))
        jt.sync([variable])


def agree(losses: Mapping[str, float], stop: bool) -> tuple[dict[str, float], bool]:
    """The losses' means over the processes, and whether any of them wants to stop.

    Every process must ask after the same step. A loss that is not finite anywhere is so everywhere.
    """
    if is_alone():
        return dict(losses), stop
    mine = np.array([*losses.values(), float(stop)], np.float32)
    *means, stops = jt.array(mine).mpi_all_reduce("mean").numpy().tolist()
    return dict(zip(losses, means, strict=True)), stops > 0


def wait_for_all() -> None:
    """Return when every process has come here."""
    if not is_alone():
        jt.array(np.zeros(1, np.float32)).mpi_all_reduce("add").numpy()
