"""Inputs of the tests of models, the same in every run, and the shapes of outputs.

Inputs are arrays, not results of operators such as jt.randn: Jittor would fuse those with the first
operator under test and compile it once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from models.layouts.layout import Layout
from models.layouts.tabulated_feature import TabulatedFeature

CLASSES = 5

Shape = tuple[int, ...]


def values(*shape: int, seed: int = 0) -> jt.Var:
    """Numbers uniform in [-1, 1)."""
    random = np.random.RandomState(seed)
    return jt.array((2 * random.random_sample(shape) - 1).astype(np.float32))


def full(value: float, *shape: int) -> jt.Var:
    """An array of one value."""
    return jt.array(np.full(shape, value, np.float32))


def layout(batch: int, height: int, width: int) -> Layout:
    """Layouts with a random class of `CLASSES` per pixel."""
    ids = np.random.RandomState(0).randint(0, CLASSES, (batch, height, width))
    return Layout(jt.array(ids.astype(np.int32)), CLASSES)


def shape(x: jt.Var | TabulatedFeature) -> Shape:
    """The shape as a tuple."""
    return tuple(int(length) for length in x.shape)


def record_shapes(modules: Iterable[nn.Module]) -> list[Shape]:
    """A list that receives the output shape of each forward pass of each module."""
    shapes: list[Shape] = []
    for module in modules:
        forward = module.execute

        def execute(*arguments: Any, forward: Any = forward, **options: Any) -> Any:
            output = forward(*arguments, **options)
            shapes.append(shape(output))
            return output

        module.execute = execute
    return shapes
