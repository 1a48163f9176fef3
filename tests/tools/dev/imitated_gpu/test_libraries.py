"""Products, convolutions and random numbers of the imitated libraries, compared with numpy."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tools.dev.imitate_gpu import SOURCES

CUDA_TYPES = {"float32": 0, "float16": 2, "bfloat16": 14}
CUDNN_TYPES = {"float32": 0, "float16": 2, "bfloat16": 9}
ONE, ZERO = ctypes.byref(ctypes.c_float(1)), ctypes.byref(ctypes.c_float(0))
NOT_SUPPORTED = 3000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The imitated libraries, with descriptors that need no cuDNN."""
    path = tmp_path_factory.mktemp("libraries") / "libraries.so"
    sources = [SOURCES / "libraries.c", Path(__file__).with_name("descriptors.c")]
    command = ["gcc", "-w", "-O2", "-shared", "-fPIC", *sources, "-o", path, "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(path))


def rounded(values: NDArray, kind: str) -> NDArray:
    """Round to a type; return float32."""
    if kind == "float16":
        return values.astype(np.float16).astype(np.float32)
    if kind == "bfloat16":
        bits = values.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    return values.astype(np.float32)


def stored(values: NDArray, kind: str) -> NDArray:
    """Convert to the bytes that the library reads."""
    if kind == "float16":
        return np.ascontiguousarray(values, np.float16)
    if kind == "bfloat16":
        return (rounded(np.ascontiguousarray(values), kind).view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(values, np.float32)


def loaded(array: NDArray, kind: str) -> NDArray:
    """Convert the library's bytes to float32."""
    if kind == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def at(array: NDArray) -> ctypes.c_void_p:
    """Address of an array."""
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("kind", CUDA_TYPES)
@pytest.mark.parametrize("transpose_a", [0, 1])
@pytest.mark.parametrize("transpose_b", [0, 1])
def test_products_of_a_batch(
    library: ctypes.CDLL, kind: str, transpose_a: int, transpose_b: int
) -> None:
    random = np.random.default_rng(0)
    m, n, k, batch = 5, 4, 7, 3
    a, b = (rounded(random.standard_normal((batch, *s)), kind) for s in ((m, k), (k, n)))
    # column-major: a matrix is stored as its transpose
    stored_a = stored(a if transpose_a else a.transpose(0, 2, 1), kind)
    stored_b = stored(b if transpose_b else b.transpose(0, 2, 1), kind)
    # beta = 0 ignores the previous content
    c = stored(np.full((batch, n, m), np.nan, np.float32), kind)
    code = library.cublasGemmStridedBatchedEx(
        None, transpose_a, transpose_b, m, n, k, ONE,
        at(stored_a), CUDA_TYPES[kind], k if transpose_a else m, ctypes.c_longlong(m * k),
        at(stored_b), CUDA_TYPES[kind], n if transpose_b else k, ctypes.c_longlong(k * n), ZERO,
        at(c), CUDA_TYPES[kind], m, ctypes.c_longlong(m * n), batch, 68, 0,
    )  # fmt: skip
    assert code == 0
    expected = rounded((a @ b).transpose(0, 2, 1), kind)
    tolerance = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[kind]
    np.testing.assert_allclose(loaded(c, kind), expected, rtol=tolerance, atol=tolerance)


def test_products_can_be_skipped(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones(16, np.float32)
    of_map, of_weight = tensor("float32", (1, 1, 4, 4)), tensor("float32", (1, 1, 1, 1))
    convolution = (ctypes.c_int * 8)(0, 0, 1, 1, 1, 1, 0, 1)
    for expected in (1, 0):
        product, convolved = np.full(1, np.nan, np.float32), np.full(16, np.nan, np.float32)
        one, a = at(ones), at(product)
        library.cublasGemmEx(None, 0, 0, 1, 1, 1, ONE, one, 0, 1, one, 0, 1, ZERO, a, 0, 1, 68, 0)
        library.cudnnConvolutionForward(
            None, ONE, of_map, one, of_weight, one, convolution, 0, None, ctypes.c_size_t(0), ZERO,
            of_map, at(convolved),
        )  # fmt: skip
        assert product.tolist() == [expected] and set(convolved) == {expected}
        monkeypatch.setenv("IMITATED_GPU_WITHOUT_PRODUCTS", "1")


def test_sums_in_16_bits_are_not_supported(library: ctypes.CDLL) -> None:
    array = np.zeros(4, np.float16)
    code = library.cublasGemmEx(
        None, 0, 0, 2, 2, 2, ONE, at(array), 2, 2, at(array), 2, 2, ZERO, at(array), 2, 2, 64, 0
    )
    assert code == 15


def tensor(kind: str, shape: tuple[int, ...]) -> ctypes.Array:
    """A descriptor of a contiguous, row-major array."""
    strides = [int(np.prod(shape[i + 1 :])) for i in range(4)]
    return (ctypes.c_int * 9)(CUDNN_TYPES[kind], *shape, *strides)


@pytest.mark.parametrize(
    ("shape", "outputs", "kernel", "padding", "stride", "dilation", "groups"),
    [
        ((2, 3, 9, 7), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((1, 2, 8, 11), 3, (4, 4), (2, 2), (2, 2), (1, 1), 1),
        ((2, 4, 6, 5), 6, (1, 1), (0, 0), (1, 1), (1, 1), 1),
        ((1, 4, 9, 10), 6, (3, 2), (2, 0), (1, 3), (2, 1), 2),
        ((1, 1, 3, 2), 1, (3, 7), (1, 5), (1, 1), (1, 1), 1),
    ],
)
@pytest.mark.parametrize("kind", CUDNN_TYPES)
def test_a_convolution_and_both_gradients(
    library: ctypes.CDLL,
    kind: str,
    shape: tuple[int, ...],
    outputs: int,
    kernel: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    random = np.random.default_rng(1)
    inner = shape[1] // groups
    image = rounded(random.standard_normal(shape), kind)
    weight = rounded(random.standard_normal((outputs, inner, *kernel)), kind)
    padded = np.pad(image, ((0, 0), (0, 0), *((p, p) for p in padding)))
    sizes = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, p, d, k, s in zip(shape[2:], padding, dilation, kernel, stride, strict=True)
    ]
    given = rounded(random.standard_normal((shape[0], outputs, *sizes)), kind)
    expected = np.zeros(given.shape, np.float64)
    to_padded, to_weight = np.zeros(padded.shape), np.zeros(weight.shape)

    def seen_by(axis: int, k: int) -> slice:
        first = k * dilation[axis]
        return slice(first, first + (sizes[axis] - 1) * stride[axis] + 1, stride[axis])

    for out in range(outputs):
        group = out // (outputs // groups)
        channels = slice(group * inner, (group + 1) * inner)
        for i, j in np.ndindex(*kernel):
            rows, columns = seen_by(0, i), seen_by(1, j)
            seen = padded[:, channels, rows, columns]
            expected[:, out] += np.einsum("nchw,c->nhw", seen, weight[out, :, i, j])
            to_weight[out, :, i, j] = np.einsum("nchw,nhw->c", seen, given[:, out])
            to_padded[:, channels, rows, columns] += np.einsum(
                "nhw,c->nchw", given[:, out], weight[out, :, i, j]
            )
    top, left = padding
    to_image = to_padded[:, :, top : top + shape[2], left : left + shape[3]]

    convolution = (ctypes.c_int * 8)(*padding, *stride, *dilation, 0, groups)
    of_image, of_result = tensor(kind, shape), tensor(kind, given.shape)
    of_weight = tensor(kind, weight.shape)
    x, w, y = (stored(array, kind) for array in (image, weight, given))
    results = [stored(np.full(array.shape, np.nan), kind) for array in (given, image, weight)]
    rest = (convolution, 0, None, ctypes.c_size_t(0), ZERO)
    forward, back, filters = (
        library.cudnnConvolutionForward,
        library.cudnnConvolutionBackwardData,
        library.cudnnConvolutionBackwardFilter,
    )
    assert not forward(
        None, ONE, of_image, at(x), of_weight, at(w), *rest, of_result, at(results[0])
    )
    assert not back(None, ONE, of_weight, at(w), of_result, at(y), *rest, of_image, at(results[1]))
    assert not filters(
        None, ONE, of_image, at(x), of_result, at(y), *rest, of_weight, at(results[2])
    )
    tolerance = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}[kind]
    for got, wanted in zip(results, (expected, to_image, to_weight), strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(loaded(got, kind) / scale, wanted / scale, atol=tolerance)


@pytest.mark.parametrize("wrong", ["sums", "strides", "type"])
def test_unsupported_requests_return_an_error(library: ctypes.CDLL, wrong: str) -> None:
    array = np.zeros(16, np.float32)
    of_array = tensor("float32", (1, 1, 4, 4))
    weight = tensor("float32", (1, 1, 1, 1))
    convolution = (ctypes.c_int * 8)(0, 0, 1, 1, 1, 1, 2 if wrong == "sums" else 0, 1)
    if wrong == "strides":
        of_array[5] = 99
    if wrong == "type":
        of_array[0] = 3
    code = library.cudnnConvolutionForward(
        None, ONE, of_array, at(array), weight, at(array), convolution, 0, None,
        ctypes.c_size_t(0), ZERO, of_array, at(array),
    )  # fmt: skip
    assert code == NOT_SUPPORTED


def test_random_numbers_follow_distribution_and_seed(library: ctypes.CDLL) -> None:
    count = 1 << 18
    numbers = np.empty(count, np.float32)

    def sample(seed: int) -> NDArray:
        library.curandSetPseudoRandomGeneratorSeed(None, ctypes.c_ulonglong(seed))
        library.curandGenerateNormal(
            None, at(numbers), ctypes.c_size_t(count), ctypes.c_float(1), ctypes.c_float(2)
        )
        return (numbers - 1) / 2

    powers = [float((sample(1) ** power).mean()) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(powers, [0, 1, 0, 3], atol=0.05)
    assert not np.array_equal(sample(1).copy(), sample(2))
    np.testing.assert_array_equal(sample(1).copy(), sample(1))
    library.curandGenerateUniform(None, at(numbers), ctypes.c_size_t(count))
    assert 0 < numbers.min() < 1e-4 and 1 - 1e-4 < numbers.max() <= 1
    assert abs(numbers.mean() - 0.5) < 5e-3


@pytest.mark.parametrize("direction", ["Forward", "BackwardData", "BackwardFilter"])
def test_there_is_one_algorithm(library: ctypes.CDLL, direction: str) -> None:
    pointers = [ctypes.c_void_p() for _ in range(5)]
    algorithms = (ctypes.c_int * 10)(*[7] * 10)
    count, size = ctypes.c_int(), ctypes.c_size_t(7)
    ask = getattr(library, f"cudnnGetConvolution{direction}Algorithm_v7")
    ask(*pointers, 1, ctypes.byref(count), ctypes.byref(algorithms))
    assert count.value == 1 and algorithms[0] == algorithms[1] == 0
    find = getattr(library, f"cudnnFindConvolution{direction}AlgorithmEx")
    algorithms[0] = 7
    find(*pointers, None, None, None, 1, ctypes.byref(count), ctypes.byref(algorithms), None, size)
    assert algorithms[0] == 0
    getattr(library, f"cudnnGetConvolution{direction}WorkspaceSize")(
        *pointers, 0, ctypes.byref(size)
    )
    assert size.value == 0
