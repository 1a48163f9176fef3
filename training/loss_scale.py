"""The factor that keeps small gradients within float16's range."""

from __future__ import annotations

LARGEST = 2**24
START = 2**16


class GradientOverflow(Exception):
    """Gradients are not finite, and there is no factor left to take away."""


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

    The loss is multiplied by `value`, a power of two, and the gradient divided by it. Where a
    gradient is not finite the step is left out and the factor halved; after GROW_AFTER good steps
    it is doubled. What float16 cannot hold is below 6e-8 and above 65504.
    """

    GROW_AFTER = 2000

    def __init__(self) -> None:
        self.value = START
        self.good_steps = 0

    def update(self, finite: bool) -> None:
        """Take note of a step's gradient; raises GradientOverflow where the factor is 1 already."""
        if finite:
            self.good_steps += 1
            if self.good_steps == self.GROW_AFTER:
                self.value, self.good_steps = min(2 * self.value, LARGEST), 0
        elif self.value == 1:
            raise GradientOverflow
        else:
            self.value, self.good_steps = self.value // 2, 0
