"""NIMA's weights in the layout of Keras: values, spellings of names, and faults in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from numpy.typing import NDArray

from options.errors import UserError
from runtime.start import start_jittor
from tests.models.golden import check, fetch
from tests.reference.goldens import load
from tests.weights.keras import keras_arrays
from weights.nima import load_nima, name_keras
from weights.safetensors_file import write_tensors
from weights.torch_file import write_torch

start_jittor("cpu")

Arrays = dict[str, NDArray[Any]]
HERE = Path("nima.npz")


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """The reference's weights as idealo's file holds them."""
    return keras_arrays(load("mobilenet_nima").section("state"))


def test_the_layout_of_keras(arrays: Arrays) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    assert len(shapes) == 27 * 5 + 2
    assert shapes["conv1/conv1/kernel:0"] == (3, 3, 3, 32)
    assert shapes["conv1_bn/conv1_bn/moving_variance:0"] == (32,)
    assert shapes["conv_dw_2/conv_dw_2/depthwise_kernel:0"] == (3, 3, 64, 1)
    assert shapes["conv_pw_13/conv_pw_13/kernel:0"] == (1, 1, 1024, 1024)
    assert shapes["conv_pw_1_bn/conv_pw_1_bn/gamma:0"] == (64,)
    assert shapes["dense_1/dense_1/kernel:0"] == (1024, 10)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_file_gives_the_ratings_of_the_reference(
    tmp_path: Path, arrays: Arrays, suffix: str
) -> None:
    path = tmp_path / f"nima.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    else:
        # float64 is rounded to float32
        write_tensors(path, {name: array.astype(np.float64) for name, array in arrays.items()}, {})
    network = load_nima(path)
    assert not network.is_training()
    golden = load("mobilenet_nima")
    image = jt.array(golden.get("in/image"))
    with jt.no_grad():
        results = {"out/pooled": network.pooled(image), "out/distribution": network(image)}
        check(golden, fetch(results))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("conv1/kernel", "conv1/kernel"),
        ("conv1.kernel", "conv1/kernel"),
        ("conv1/conv1/kernel:0", "conv1/kernel"),
        ("conv1/conv1_1/kernel:0", "conv1/kernel"),
        ("model_weights/conv1_bn/conv1_bn/gamma:0", "conv1_bn/gamma"),
        ("mobilenet_1.00_224/conv_pw_3_bn/moving_mean:0", "conv_pw_3_bn/moving_mean"),
        ("conv_dw_12/conv_dw_12/depthwise_kernel:0", "conv_dw_12/depthwise_kernel"),
        ("conv_dw_12/kernel", "conv_dw_12/depthwise_kernel"),
        ("dense/kernel", "dense/kernel"),
        ("dense_7/dense_7/bias:0", "dense/bias"),
    ],
)
def test_spellings_of_one_name(name: str, key: str) -> None:
    array = np.zeros(3)
    optimizer = {"optimizer_weights/Adam/conv1/kernel/m:0": array}
    assert name_keras({name: array} | optimizer, HERE) == {key: array}


def test_an_array_twice_and_an_array_of_no_layer() -> None:
    array = np.zeros(3)
    with pytest.raises(UserError, match=r"one array conv1/kernel, got two, .* conv1\.kernel\."):
        name_keras({"conv1/kernel:0": array, "conv1.kernel": array}, HERE)
    for name in ("block_1_expand/kernel:0", "conv1", "conv1_1/kernel:0", "conv1x/kernel"):
        with pytest.raises(UserError, match=f"idealo's MobileNet, got an array {name}"):
            name_keras({name: array}, HERE)


def without(arrays: Arrays) -> Arrays:
    del arrays["conv_pw_3/conv_pw_3/kernel:0"], arrays["dense_1/dense_1/bias:0"]
    return arrays


def in_the_order_of_torch(arrays: Arrays) -> Arrays:
    return arrays | {"conv1/conv1/kernel:0": np.zeros((32, 3, 3, 3), np.float32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without, "2 missing: conv_pw_3/kernel, dense/bias. docs/weights.md"),
        (
            in_the_order_of_torch,
            "1 of another form: conv1/kernel float32 32x3x3x3 for float 3x3x3x32. docs",
        ),
        (
            lambda arrays: arrays | {"dense_1/dense_1/bias:0": np.zeros(5, np.float32)},
            "dense/bias float32 5 for float 10",
        ),
        (
            lambda arrays: arrays | {"dense_1/dense_1/bias:0": np.zeros(10, np.int64)},
            "dense/bias int64 10 for float 10",
        ),
        (
            lambda arrays: arrays | {"conv_pw_14/kernel:0": np.zeros(3, np.float32)},
            "1 unexpected: conv_pw_14/kernel",
        ),
        (
            lambda arrays: arrays | {"dense_1/dense_1/bias:0": np.full(10, np.nan, np.float32)},
            "10 NaN or Inf in 1 tensors: dense/bias",
        ),
        (
            lambda arrays: (
                arrays | {"conv1_bn/conv1_bn/moving_variance:0": np.full(32, -1, np.float32)}
            ),
            "expected variances of 0 or more, got negative ones: conv1_bn/moving_variance",
        ),
    ],
)
def test_other_arrays_are_named(
    tmp_path: Path, arrays: Arrays, change: Callable[[Arrays], Arrays], words: str
) -> None:
    path = tmp_path / "nima.npz"
    np.savez(path, **change(dict(arrays)))
    assert words in error_of(path)


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_nima(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_other_kinds_of_files(tmp_path: Path) -> None:
    path = tmp_path / "nima.npz"
    assert "cannot be read" in error_of(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "got an HDF5 file, as Keras writes it. docs/weights.md" in error_of(path)
    path.write_bytes(b"\xff\xd8\xff\xe0 a photo")
    assert "got a JPEG image" in error_of(path)
    path.write_bytes(b"\x80\x02}q\x00.")
    assert "got a file of PyTorch or Jittor" in error_of(path)
    write_torch(path, {"conv1.weight": np.zeros(3, np.float32)})
    assert "data.pkl is no array" in error_of(path)
