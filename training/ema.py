"""Generator EMA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jittor as jt


class EMA:
    """Exponential moving average of parameters: average = d average + (1 - d) parameter.

    d is min(decay, (1 + n) / (10 + n)) at update n, so that the random initial weights decay fast
    (the rule of TensorFlow's ExponentialMovingAverage). Buffers, such as the running statistics of
    batch norm, are not averaged: the average uses the network's own. With decay 0 the average is
    the parameters themselves and costs nothing.
    """

    def __init__(self, parameters: Mapping[str, jt.Var], decay: float) -> None:
        self.parameters = dict(parameters) if decay else {}
        self.decay = decay
        self.n_update = 0
        self.values = {name: var.copy().stop_grad() for name, var in self.parameters.items()}
        jt.sync(list(self.values.values()))

    def update(self) -> None:
        """Update the average with the present parameters."""
        decay = min(self.decay, (1 + self.n_update) / (10 + self.n_update))
        self.n_update += 1
        jt.flags.node_order = 1
        try:
            for name, parameter in self.parameters.items():
                value = self.values[name]
                # Flat, as in Adam: one kernel for all shapes.
                new = decay * value.reshape(-1) + (1 - decay) * parameter.reshape(-1).detach()
                value.update(new.reshape(value.shape))
        finally:
            jt.flags.node_order = 0

    def restart(self) -> None:
        """Restart the count of updates, so that the average so far decays fast."""
        self.n_update = 0

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Swap the average into the parameters inside a `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, jt.Var]:
        """The averaged values by parameter name."""
        return dict(self.values)

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.swap(self.values[name])
