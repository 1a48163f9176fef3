"""The running average of the generator's weights, which draws better than they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jittor as jt


class Average:
    """Exponential moving average of parameters: average = d average + (1 - d) parameter.

    d is min(decay, (1 + n) / (10 + n)) at update n, so that the first, random weights are soon
    forgotten (the rule of TensorFlow's ExponentialMovingAverage). Buffers, such as the running
    statistics of batch norm, are not averaged: the average is used with the network's own. With
    decay 0 the average is the parameters themselves and costs nothing.
    """

    def __init__(self, parameters: Mapping[str, jt.Var], decay: float) -> None:
        self.parameters = dict(parameters) if decay else {}
        self.decay = decay
        self.n_update = 0
        self.values = {name: var.copy().stop_grad() for name, var in self.parameters.items()}
        jt.sync(list(self.values.values()))

    def update(self) -> None:
        """Take in the parameters as they are now."""
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
        """Forget soon what was averaged so far, as at the start."""
        self.n_update = 0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the parameters' place for the length of a `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, jt.Var]:
        """The averaged values by the names of their parameters."""
        return dict(self.values)

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.swap(self.values[name])
