"""Sums of class probabilities against Jittor's own operators, at sizes that the golden has not."""

from __future__ import annotations

from typing import get_args

import jittor as jt
import numpy as np
import pytest

from models.kernels.class_probabilities import PixelSums, Term
from models.layers.resampling import resize_bilinear
from tests.models.inputs import CLASSES, values


@pytest.mark.parametrize("size", [(9, 13), (4, 5), (1, 1), (18, 7)])
@pytest.mark.parametrize("term", get_args(Term))
def test_sums_and_gradients_per_image(term: Term, size: tuple[int, int]) -> None:
    logits = values(2, CLASSES, 9, 13)
    # Also ids below and above the classes, which add nothing.
    ids = np.random.RandomState(1).randint(-1, CLASSES + 1, (2, *size)).astype(np.int32)
    sums = PixelSums(term)(logits, jt.array(ids))
    planes = jt.array((ids[:, None] == np.arange(CLASSES).reshape(1, -1, 1, 1)).astype(np.float32))
    x = jt.exp(resize_bilinear(logits, size))
    p = x / x.sum(dim=1, keepdims=True)
    terms = planes * (-jt.log(p) if term == "negative_log" else p)
    weights = jt.array([1.0, -2.0])  # a gradient of its own for each image
    expected = terms.sum(dims=(1, 2, 3))
    np.testing.assert_allclose(sums.numpy(), expected.numpy(), rtol=1e-5)
    found, plain = (jt.grad((weights * s).sum(), logits).numpy() for s in (sums, expected))
    np.testing.assert_allclose(found, plain, atol=1e-5 * np.abs(plain).max())
