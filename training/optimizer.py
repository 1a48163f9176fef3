"""Adam and AdamW, as in PyTorch.

adam = Adam(dict(method.generator_parameters()), beta1=0.0, beta2=0.9)
adam.step(loss, learning_rate=2e-4)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import jittor as jt

from training import distributed
from training.loss_scale import LossScale

EPSILON = 1e-8


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) without weight decay.

        m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
        p = p - learning_rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + 1e-8)

    Epsilon is added outside the bias-corrected root, as in torch.optim.Adam; jt.optim.Adam adds it
    before the correction. With beta1 = 0 the first moment is the gradient and is not stored.
    With several processes the gradients are averaged over them.
    """

    def __init__(self, parameters: Mapping[str, jt.Var], *, beta1: float, beta2: float) -> None:
        self.parameters = dict(parameters)
        self.beta1, self.beta2 = beta1, beta2
        self.n_step = 0
        # Flat moments: one fused kernel for parameters of every shape.
        self.second = {name: _zeros(var) for name, var in self.parameters.items()}
        self.first = {name: _zeros(var) for name, var in self.parameters.items()} if beta1 else {}

    def step(
        self,
        loss: jt.Var,
        learning_rate: float,
        only: Collection[str] | None = None,
        scale: LossScale | None = None,
    ) -> None:
        """Update the parameters with the gradient of the scalar `loss`.

        `only` names the parameters to update; None means all. The graph of `loss` is freed: no
        other gradient can be taken through it. With a `scale`, a gradient that is not finite
        updates no parameter, and all gradients are in memory at once.

        Raises GradientOverflow if the scale cannot decrease further.
        """
        moved = {n: var for n, var in self.parameters.items() if only is None or n in only}
        # A variable, as is every number that changes: Jittor compiles constants into kernels.
        factor = None if scale is None else jt.array([float(scale.value)])
        scaled = loss if factor is None else loss * factor
        gradients = jt.grad(scaled, list(moved.values()), retain_graph=False)
        distributed.all_reduce_mean(gradients)
        if scale is not None:
            finite = _are_finite(gradients)
            scale.update(finite)
            if not finite:
                return
        self.n_step += 1
        corrected1 = 1 - self.beta1**self.n_step
        corrected2 = math.sqrt(1 - self.beta2**self.n_step)
        # The formula with sqrt(1 - beta2^t) moved out of the fraction: two numbers change per step
        # instead of three, and none becomes 1, for which Jittor would compile another kernel.
        rate = learning_rate * corrected2 / corrected1
        epsilon = EPSILON * corrected2
        # Each update runs as soon as its gradient exists, which frees the gradient.
        jt.flags.node_order = 1
        try:
            for (name, parameter), gradient in zip(moved.items(), gradients, strict=True):
                self._decay(name, parameter, learning_rate)
                self._update(name, parameter, gradient, factor, self._rate_of(name, rate), epsilon)
        finally:
            jt.flags.node_order = 0

    def _rate_of(self, name: str, rate: float) -> float:
        """The rate of one parameter, given the optimizer's."""
        return rate

    def _decay(self, name: str, parameter: jt.Var, learning_rate: float) -> None:
        """Change a parameter before the update."""

    def _update(
        self,
        name: str,
        parameter: jt.Var,
        gradient: jt.Var,
        factor: jt.Var | None,
        rate: float,
        epsilon: float,
    ) -> None:
        # Not fused with the operator that computes it: each would compile another kernel.
        g = gradient.stop_grad().stop_fuse().reshape(-1)
        if factor is not None:
            g = g / factor
        v = self.second[name]
        v_new = self.beta2 * v + (1 - self.beta2) * g * g
        m_new = g
        if self.beta1:
            m = self.first[name]
            m_new = self.beta1 * m + (1 - self.beta1) * g
            m.update(m_new)
        p_new = parameter.reshape(-1) - rate * m_new / (v_new.sqrt() + epsilon)
        v.update(v_new)
        parameter.update(p_new.reshape(parameter.shape))

    def restart(self) -> None:
        """Reset moments and step count."""
        self.n_step = 0
        for moment in (*self.second.values(), *self.first.values()):
            moment.update(jt.zeros_like(moment))

    def state(self) -> dict[str, jt.Var]:
        """The flat moments: `second.<name>`, and `first.<name>` unless beta1 is 0."""
        state = {f"second.{name}": var for name, var in self.second.items()}
        return state | {f"first.{name}": var for name, var in self.first.items()}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    p = (1 - factor * learning_rate * decay) p before Adam's update with factor * learning_rate, as
    torch.optim.AdamW does.

    Args:
        decays: decay of each parameter.
        factors: factor of each parameter.
    """

    def __init__(
        self,
        parameters: Mapping[str, jt.Var],
        *,
        beta1: float,
        beta2: float,
        decays: Mapping[str, float],
        factors: Mapping[str, float],
    ) -> None:
        super().__init__(parameters, beta1=beta1, beta2=beta2)
        self.decays, self.factors = dict(decays), dict(factors)

    def _rate_of(self, name: str, rate: float) -> float:
        return self.factors[name] * rate

    def _decay(self, name: str, parameter: jt.Var, learning_rate: float) -> None:
        if self.decays[name]:
            kept = 1 - self.factors[name] * learning_rate * self.decays[name]
            # Flat, as in `_update`: one kernel for all shapes.
            shrunk = parameter.reshape(-1).detach() * kept
            parameter.update(shrunk.reshape(parameter.shape))


def _are_finite(gradients: list[jt.Var]) -> bool:
    """Whether all gradients are finite: one value that is not makes the sum not finite."""
    sums = [gradient.stop_grad().stop_fuse().reshape(-1).sum() for gradient in gradients]
    return math.isfinite(jt.concat(sums).sum().item())


def _zeros(var: jt.Var) -> jt.Var:
    return jt.zeros((int(var.numel()),), var.dtype).stop_grad()
