"""Names and values of variables: strict loading, and the names of what networks hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from options.errors import UserError, list_names

if TYPE_CHECKING:
    import jittor as jt


def assign_arrays(
    variables: Mapping[str, jt.Var], arrays: Mapping[str, np.ndarray], source: str
) -> None:
    """Give every variable the array of its name, or change none.

    Raises UserError that counts and names missing, unexpected and misshapen ones; `source` is what
    the arrays were read from.
    """
    check_arrays(variables, arrays, source)
    import jittor as jt  # late: training.checkpoint is imported before it

    for name, variable in variables.items():
        # jt.array keeps no hold of the mapped file: the copy is made now.
        variable.update(jt.array(np.array(arrays[name], dtype=str(variable.dtype))))
    jt.sync(list(variables.values()))


def check_arrays(
    variables: Mapping[str, jt.Var], arrays: Mapping[str, np.ndarray], source: str
) -> None:
    """Raise UserError that counts and names missing, unexpected and misshapen arrays."""
    missing = [name for name in variables if name not in arrays]
    unexpected = [name for name in arrays if name not in variables]
    misshapen = [
        f"{name} {_size(array.shape)} for {_size(variables[name].shape)}"
        for name, array in arrays.items()
        if name in variables and tuple(array.shape) != tuple(variables[name].shape)
    ]
    faults = [
        f"{len(names)} {kind}: {list_names(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if faults:
        raise UserError(
            f"{source}: every name and shape must be the network's: {'; '.join(faults)}; "
            "use the options it was written with"
        )


def name_variables(networks: Mapping[str, jt.nn.Module]) -> dict[str, jt.Var]:
    """`<network>.<name>` -> Var for everything in the networks' state, buffers too."""
    return {
        f"{network}.{name}": var
        for network, module in networks.items()
        for name, var in module.state_dict().items()
    }


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
