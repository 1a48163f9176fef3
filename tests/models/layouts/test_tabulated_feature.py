"""Tabulated features have the values and gradients of dense feature maps."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.layers.convolution import Conv2d, add_bias, convolve
from models.layers.fade import FADE
from models.layers.normalization import instance_norm
from models.layers.resampling import downsample, pool_average
from models.layers.residual import SPADEResidualBlock, StreamResidualBlock, leaky_relu
from models.layouts import tabulated_feature
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import TabulatedFeature, dense
from models.networks.discriminator import MultiScaleDiscriminator
from models.networks.spade import SPADEGenerator
from models.networks.tsit import TSITGenerator
from tests.models.inputs import shape, values

FORWARD = 1e-4  # absolute
GRADIENT = 1e-3  # relative, in norm


class DenseLayout(Layout):
    """A layout with dense one-hot planes: every layer uses its dense algorithm."""

    def feature(self, size: tuple[int, int] | None = None, *, by_image: bool = False) -> jt.Var:
        return self.one_hot(size)


@pytest.fixture(autouse=True)
def tables_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses tables even for random layouts, which have as many neighborhoods as pixels."""
    monkeypatch.setattr(tabulated_feature, "DENSE_SHARE", 1.0)


def _layouts(
    batch: int, size: tuple[int, int], classes: int, edges: bool = False
) -> tuple[Layout, DenseLayout]:
    random = np.random.RandomState(batch)
    blocks = random.randint(0, classes, (batch, -(-size[0] // 4), -(-size[1] // 4)))
    ids = np.kron(blocks, np.ones((1, 4, 4), np.int64))[:, : size[0], : size[1]]
    ids[:, -1, ::3] = random.randint(0, classes, ids[:, -1, ::3].shape)
    planes = None
    if edges:
        planes = jt.array((random.rand(batch, 1, *size) < 0.2).astype(np.float32))
    arguments = (jt.array(ids.astype(np.int32)), classes, planes)
    return Layout(*arguments), DenseLayout(*arguments)


def _check(
    parameters: list[jt.Var],
    run: Callable[[Layout], jt.Var],
    layouts: tuple[Layout, DenseLayout],
) -> None:
    """Compares the outputs of both layouts, and the gradients of their weighted sums."""
    outputs, gradients = [], []
    for layout in layouts:
        output = dense(run(layout))
        loss = (output * values(*output.shape, seed=7)).sum()
        gradients.append([gradient.numpy() for gradient in jt.grad(loss, parameters)])
        outputs.append(output.numpy())
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=FORWARD)
    largest = max(np.linalg.norm(expected) for expected in gradients[1])
    for got, expected in zip(*gradients, strict=True):
        # The gradient of a bias before a norm is rounding only.
        scale = max(np.linalg.norm(expected), 1e-3 * largest)
        assert np.linalg.norm(got - expected) <= GRADIENT * scale


@pytest.mark.parametrize("kernel", [(1, 1, 0), (3, 1, 1), (4, 2, 2)])
@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_convolution_of_a_layout(kernel: tuple[int, int, int], edges: bool, batch: int) -> None:
    size, stride, padding = kernel
    layouts = _layouts(batch, (10, 14), 5, edges)
    layer = Conv2d(5 + edges, 6, size, stride=stride, padding=padding)
    _check(layer.parameters(), layer, _features(layouts))


def _features(layouts: tuple[Layout, DenseLayout]) -> tuple:
    return layouts[0].feature(by_image=True), layouts[1].feature()


CHAIN: dict[str, Callable] = {
    "convolution": lambda x, weight: convolve(x, weight, padding=1),
    "stride": lambda x, weight: convolve(x, weight, stride=2, padding=1),
    "pointwise": lambda x, weight: convolve(x, weight[:, :, :1, :1]),
    "bias": lambda x, weight: add_bias(x, weight[:, 0, 0, 0]),
    "activation": lambda x, weight: leaky_relu(x),
    "norm": lambda x, weight: instance_norm(x),
    "downsample": lambda x, weight: downsample(x),
    "pool": lambda x, weight: pool_average(x),
    "sum": lambda x, weight: convolve(x, weight, padding=1) + x,
    "sum the other way": lambda x, weight: x + convolve(x, weight, padding=1),
    "sum of one partition": lambda x, weight: x + x,
}


@pytest.mark.parametrize("name", CHAIN)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_operator_on_a_feature(name: str, batch: int) -> None:
    layouts = _layouts(batch, (9, 13), 4)
    first, weight = values(4, 4, 3, 3), values(4, 4, 3, 3, seed=1)

    def run(x: TabulatedFeature | jt.Var) -> TabulatedFeature | jt.Var:
        feature = convolve(x, first, padding=1)
        assert isinstance(feature, TabulatedFeature) == isinstance(x, TabulatedFeature)
        result = CHAIN[name](feature, weight)
        assert shape(result) == shape(dense(result))
        return result

    _check(
        [first, weight]
        if name not in ("activation", "norm", "downsample", "pool", "sum of one partition")
        else [first],
        run,
        _features(layouts),
    )


def test_a_sum_with_a_dense_map_is_dense() -> None:
    table, full = _features(_layouts(2, (8, 8), 4))
    other = values(2, 4, 8, 8)
    np.testing.assert_array_equal((table + other).numpy(), (full + other).numpy())


def test_a_convolution_with_many_neighborhoods_is_dense(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tabulated_feature, "DENSE_SHARE", 0.5)
    monkeypatch.setattr(tabulated_feature, "SMALL_PIXELS", 0)
    random = np.random.RandomState(0).randint(0, 9, (1, 16, 16)).astype(np.int32)
    for ids, is_table in ((random, False), (np.zeros_like(random), True)):
        feature = Layout(jt.array(ids), 9).feature()
        result = convolve(feature, values(3, 9, 3, 3), padding=1)
        assert isinstance(result, TabulatedFeature) == is_table


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize(("classes", "edges"), [(2, False), (29, False), (183, True)])
def test_a_spade_block(batch: int, classes: int, edges: bool) -> None:
    layouts = _layouts(batch, (12, 18), classes, edges)
    block = SPADEResidualBlock(6, 4, classes + edges, "batch")
    block.eval()
    block.train()
    x = values(batch, 6, 6, 9)
    _check([x, *_trained(block)], lambda layout: block(x, layout), layouts)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("classes", [5, 29])
def test_a_stream_block_and_fade(batch: int, classes: int) -> None:
    layouts = _layouts(batch, (12, 16), classes)
    blocks = nn.ModuleList([StreamResidualBlock(classes, 4), StreamResidualBlock(4, 6)])
    fade = FADE(6)
    x = values(batch, 6, 6, 8)

    def run(layout: Layout) -> jt.Var:
        features = layout.feature(by_image=True)
        return fade(x, blocks[1](downsample(blocks[0](features))))

    for block in blocks:
        block.eval()  # no power iteration between the two runs
    parameters = [p for p in (*blocks.parameters(), *fade.parameters()) if p.shape]
    for parameter in parameters:
        parameter.start_grad()
    _check([x, *parameters], run, layouts)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_generators(batch: int) -> None:
    layouts = _layouts(batch, (32, 48), 29)
    style = values(batch, 3, 32, 48)
    spade = SPADEGenerator(layout_channels=29, channels=2, num_downsamples=4)
    tsit = TSITGenerator(layout_channels=29, channels=2, num_downsamples=4)
    for network in (spade, tsit):
        network.eval()
    with jt.no_grad():
        for run in (spade, lambda layout: tsit(layout, style)):
            table, full = (run(layout).numpy() for layout in layouts)
            np.testing.assert_allclose(table, full, rtol=0, atol=FORWARD)


@pytest.mark.parametrize("edges", [False, True])
def test_the_discriminator(edges: bool) -> None:
    layouts = _layouts(2, (24, 30), 7, edges)
    network = MultiScaleDiscriminator(layout_channels=7 + edges, channels=4, layers=3)
    network.eval()
    image = values(2, 3, 24, 30)
    parameters = [p for p in network.parameters() if not isinstance(p, list)]
    for parameter in parameters:
        parameter.start_grad()

    def run(layout: Layout) -> jt.Var:
        (scales,) = network(layout, image)
        return jt.concat([f.reshape((-1,)) for scale in scales for f in scale])

    _check([image, *parameters], run, layouts)


def _trained(network: nn.Module) -> list[jt.Var]:
    network.eval()
    parameters = [p for _, p in network.named_parameters()]
    for parameter in parameters:
        parameter.start_grad()
    return parameters
