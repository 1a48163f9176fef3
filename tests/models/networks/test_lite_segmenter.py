"""The small segmenter: its two parts, which have goldens of their own, and what training keeps."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.kernels import packed
from models.layers.convolution import prepare_for_inference
from models.layers.resampling import resize_bilinear
from models.networks.lite_segmenter import LiteSegmenter

SIZE = (33, 50)


@pytest.fixture(scope="module")
def network() -> LiteSegmenter:
    jt.set_global_seed(0)
    return LiteSegmenter(classes=5)


def image() -> jt.Var:
    return jt.array(np.random.default_rng(0).uniform(-1, 1, (1, 3, *SIZE)).astype(np.float32))


def test_the_head_reads_the_features_of_the_encoder(network: LiteSegmenter) -> None:
    network.eval()
    with jt.no_grad():
        logits = network(image())
        assert logits.shape == [1, 5, 9, 13]
        expected = network.head(network.encoder.features(image()))
        np.testing.assert_array_equal(logits.numpy(), expected.numpy())
        resized = resize_bilinear(logits, SIZE).numpy()
        np.testing.assert_array_equal(network.segment(image()).numpy(), resized.argmax(1))


def test_training_keeps_the_statistics_of_the_encoder_and_moves_those_of_the_head(
    network: LiteSegmenter,
) -> None:
    network.train()
    assert network.is_training() and network.head.is_training()
    assert not network.encoder.stem.norm.is_training()
    before = {name: var.numpy().copy() for name, var in network.state_dict().items()}
    jt.sync([network(image())])
    moved = {n for n, v in network.state_dict().items() if (v.numpy() != before[n]).any()}
    assert moved == {"head.norm.running_mean", "head.norm.running_variance"}


def test_it_has_no_classifier() -> None:
    names = LiteSegmenter(classes=2).state_dict()
    assert not any(name.startswith(("encoder.head", "encoder.classifier")) for name in names)


@pytest.mark.skipif(not packed.available(), reason="Jittor has no oneDNN")
def test_prepared_for_inference_it_predicts_the_same() -> None:
    jt.set_global_seed(1)
    network = LiteSegmenter(classes=5)
    network.eval()
    with jt.no_grad():
        plain = network(image()).numpy()
        prepare_for_inference(network)
        np.testing.assert_allclose(network(image()).numpy(), plain, rtol=0, atol=1e-4)
