"""Finds the kinks of a pass: arguments at which a gradient jumps and rounding selects the side.

The slope of a leaky ReLU at 1e-8 is 1 or 0.2, depending on the order of the processor's sums.
`Search` finds the first such argument of a new golden, and the parameter that shifts it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# A kink is near within this many times the typical error, which is measured in float64 on inputs
# and weights changed by a multiple of float32's rounding. float32's error is mostly 1 to 5 times
# smaller.
REACH = 8.0
# Number of kinks in the first pass, doubled for each further pass: a search with a result is short.
WINDOW = 16


@dataclass(frozen=True)
class Kink:
    """The argument of a kinked function, whose gradient jumps at the argument 0.

    `compares`: the argument is a difference, which a bias common to both sides does not change.
    `update`: number of gradients computed before it.
    """

    index: int
    argument: torch.Tensor
    compares: bool
    update: int


@dataclass(frozen=True)
class Near:
    """Arguments of one function that rounding may carry across 0.

    `key` is the parameter whose rows along `axis` change the channels of the argument; None if no
    parameter is known. With `shifts` the row is a bias: the argument changes by the same amount.
    """

    kink: Kink
    channels: list[int]
    argument: torch.Tensor
    margin: torch.Tensor
    key: str | None
    axis: int
    shifts: bool

    def gap(self, channel: int) -> Callable[[float], float]:
        """Distance from 0, beyond the margin, of a channel's arguments as a function of a shift."""
        values = np.sort(self.argument[:, channel].numpy(), axis=None)
        margin = float(self.margin.expand(self.argument.shape)[:, channel].max())

        def beyond(shift: float) -> float:
            place = int(np.searchsorted(values, -shift))
            around = values[max(place - 1, 0) : place + 1]
            return float(np.min(np.abs(around + shift))) - margin

        return beyond


def name_parameters(network: nn.Module, start: str) -> None:
    """Sets the recipe key of each parameter, which `Near.key` refers to."""
    for name, parameter in network.named_parameters():
        parameter.recipe_key = start + name


class Search:
    """Searches for kinks that rounding may cross, in a golden that is resampled repeatedly."""

    def __init__(self) -> None:
        self.margins: list[torch.Tensor] = []
        self.window = WINDOW

    def first(self, exact: Callable[[], object], moved: Callable[[], object]) -> Near | None:
        """The first such kink, or None.

        exact: the passes in float64; moved: the same with a rounding error on every input and
        weight. The margins of the previous search may end this one early; they are measured again
        before it returns None.
        """
        while True:
            arguments: list[torch.Tensor] = []
            near = self._run(exact, partial(self._keep, arguments))
            near = near or self._run(moved, partial(self._compare, arguments))
            if near is not None or len(arguments) < self.window:
                return near
            self.window *= 2

    def _run(self, passes: Callable[[], object], show: Callable[[Kink], None]) -> Near | None:
        try:
            with _Watch(show):
                passes()
        except _Stop as stop:
            return stop.near
        return None

    def _keep(self, arguments: list[torch.Tensor], kink: Kink) -> None:
        if kink.index == self.window:
            raise _Stop(None)
        arguments.append(kink.argument.detach())
        if kink.index < len(self.margins):
            self._check(kink, arguments[-1])

    def _compare(self, arguments: list[torch.Tensor], kink: Kink) -> None:
        if kink.index == len(arguments):
            raise _Stop(None)
        argument = arguments[kink.index]
        margin = REACH * _typical(kink.argument.detach() - argument)
        self.margins[kink.index : kink.index + 1] = [margin]
        self._check(kink, argument)

    def _check(self, kink: Kink, argument: torch.Tensor) -> None:
        margin = self.margins[kink.index]
        # An argument of exactly 0 is not due to rounding: it follows a ReLU or a dropout.
        near = (argument.abs() < margin) & (argument != 0)
        if near.any():
            others = tuple(axis for axis in range(argument.dim()) if axis != 1)
            channels = near.any(dim=others).nonzero().flatten().tolist()
            raise _Stop(Near(kink, channels, argument, margin, *_origin(kink)))


class _Stop(Exception):
    """Ends the passes at a near kink, or at the end of the window."""

    def __init__(self, near: Near | None) -> None:
        super().__init__()
        self.near = near


class _Watch(TorchFunctionMode):
    """Reports each kink with a gradient, in the order of the passes."""

    def __init__(self, show: Callable[[Kink], None]) -> None:
        super().__init__()
        self.show = show
        self.count = 0
        self.updates = 0

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.Tensor.backward:
            self.updates += 1
        find = _KINKED.get(function)
        if find is not None and torch.is_grad_enabled():
            argument = find(*args, **(kwargs or {}))
            if argument.requires_grad:
                compares = function in _COMPARING
                self.show(Kink(self.count, argument, compares, self.updates))
                self.count += 1
        return function(*args, **(kwargs or {}))


def _pool_gap(x: torch.Tensor, size: Any, *rest: Any, **others: Any) -> torch.Tensor:
    """The largest minus the second largest value of each 2 x 2 window."""
    sides = [side // 2 for side in x.shape[2:]]
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2).reshape(*x.shape[:2], *sides, 4)
    first, second = windows.topk(2).values.unbind(-1)
    return first - second


# Every kinked function of the references and its argument, which is 0 at the kink. The clamp is
# that of the hinge loss.
_KINKED: dict[Any, Callable[..., torch.Tensor]] = {
    F.leaky_relu: lambda x, *_, **__: x,
    F.relu: lambda x, *_, **__: x,
    F.relu6: lambda x, *_, **__: torch.where(x < 3, x, x - 6),
    torch.clamp: lambda x, max: x - max,
    F.l1_loss: lambda ours, theirs, **_: ours - theirs,
    F.max_pool2d: _pool_gap,
}
_COMPARING = (F.l1_loss, F.max_pool2d)


def _typical(error: torch.Tensor) -> torch.Tensor:
    """The root mean square of each map of (N, C, H, W), at least half of that of all maps.

    Instance norm over a few pixels may amplify rounding in one map but not in the next.
    """
    squares = error.square()
    maps = squares.mean(dim=tuple(range(2, error.dim())), keepdim=True)
    return torch.maximum(maps, squares.mean() / 4).sqrt()


def _origin(kink: Kink) -> tuple[str | None, int, bool]:
    """Key, axis and shifts of a `Near`: of the nearest bias that shifts it, or of a weight.

    Breadth-first search of the graph: the fewest other kinks depend on the nearest parameter.
    `idle`: a bias beyond this node has no effect, because of a norm or a difference.
    """
    channels = kink.argument.shape[1]
    weight: tuple[str | None, int, bool] = (None, 0, False)
    queue = deque([(kink.argument.grad_fn, kink.compares)])
    seen = set(queue)
    while queue:
        node, idle = queue.popleft()
        key = getattr(getattr(node, "variable", None), "recipe_key", None)
        if key is not None:
            shape = list(node.variable.shape)
            if not idle and key.endswith("bias") and shape == [channels]:
                return key, 0, True
            if weight[0] is None and len(shape) > 1 and channels in shape[:2]:
                weight = key, shape.index(channels), False
                if idle:
                    break
        for place, (following, _) in enumerate(node.next_functions):
            found = following, idle or (place == 0 and "BatchNorm" in node.name())
            if following is not None and found not in seen:
                seen.add(found)
                queue.append(found)
    return weight
