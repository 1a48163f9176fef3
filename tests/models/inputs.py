"""Inputs of tests, the same at every run.

They are arrays, not operators like jt.randn: Jittor would fuse those with the first operator of
what is tested, and compile that once more.
"""

from __future__ import annotations

import jittor as jt
import numpy as np

from models.layout import Layout

CLASSES = 5


def values(*shape: int, seed: int = 0) -> jt.Var:
    """Numbers uniform in [-1, 1)."""
    random = np.random.RandomState(seed)
    return jt.array((2 * random.random_sample(shape) - 1).astype(np.float32))


def full(value: float, *shape: int) -> jt.Var:
    """The same number everywhere."""
    return jt.array(np.full(shape, value, np.float32))


def layout(batch: int, height: int, width: int) -> Layout:
    """A class of `CLASSES` for each pixel."""
    ids = np.random.RandomState(0).randint(0, CLASSES, (batch, height, width))
    return Layout(jt.array(ids.astype(np.int32)), CLASSES)
