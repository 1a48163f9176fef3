"""Dynamic loss scaling, which keeps small gradients within the range of float16."""

from __future__ import annotations

LARGEST = 2**24
START = 2**16


class GradientOverflow(Exception):
    """Gradients are not finite with the smallest scale."""


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

    The loss is multiplied by `value`, a power of two, and the gradient divided by it. If a gradient
    is not finite, the step is skipped and the scale divided by 2; after GROW_AFTER good steps it is
    multiplied by 2. float16 holds magnitudes from 6e-8 to 65504.
    """

    GROW_AFTER = 2000

    def __init__(self) -> None:
        self.value = START
        self.good_steps = 0

    def update(self, finite: bool) -> None:
        """Adapt the scale after a step; raises GradientOverflow if the scale is already 1."""
        if finite:
            self.good_steps += 1
            if self.good_steps == self.GROW_AFTER:
                self.value, self.good_steps = min(2 * self.value, LARGEST), 0
        elif self.value == 1:
            raise GradientOverflow
        else:
            self.value, self.good_steps = self.value // 2, 0
