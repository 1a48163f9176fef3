"""Statistics as .npz: the round trip, files of pytorch-fid, and files that are no statistics."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics.features import FeatureSet
from metrics.frechet import frechet_distance, statistics_of
from metrics.statistics_file import read_statistics, write_statistics
from options.errors import UserError

FEATURES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def write(path: Path, features: FeatureSet) -> Path:
    with path.open("wb") as file:
        write_statistics(file, features)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for count in (5, 2):  # more features than dimensions, and fewer
        statistics = statistics_of(FEATURES[:count])
        path = write(tmp_path / "s.npz", FeatureSet(statistics, FEATURES[:count]))
        found = read_statistics(path, 3, "the network")
        np.testing.assert_array_equal(found.statistics.mean, statistics.mean)
        np.testing.assert_array_equal(found.statistics.covariance, statistics.covariance)
        np.testing.assert_array_equal(found.sample, FEATURES[:count])
        assert found.statistics.count == count
        assert frechet_distance(found.statistics, statistics) == pytest.approx(0, abs=1e-6)


def test_pytorch_fid_reads_mu_and_sigma(tmp_path: Path) -> None:
    path = write(tmp_path / "s.npz", FeatureSet(statistics_of(FEATURES), FEATURES))
    with np.load(path) as file:
        mu, sigma = file["mu"][:], file["sigma"][:]
    np.testing.assert_allclose(mu, FEATURES.mean(0), rtol=1e-6)
    np.testing.assert_allclose(sigma, np.cov(FEATURES.T), rtol=1e-5)
    assert mu.dtype == sigma.dtype == np.float64


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_pytorch_fid_has_neither_count_nor_sample(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "s.npz", mu=FEATURES.mean(0), sigma=np.cov(FEATURES.T))
    found = read_statistics(tmp_path / "s.npz", 3, "the network")
    assert found.statistics.count is None and found.sample is None
    expected = statistics_of(FEATURES)
    assert frechet_distance(found.statistics, expected) == pytest.approx(0, abs=1e-6)
    path = write(tmp_path / "again.npz", found)
    assert read_statistics(path, 3, "the network").statistics.count is None


GOOD: dict[str, Any] = {"mu": np.zeros(3), "sigma": np.eye(3)}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(3)}, "expected the arrays mu and sigma, got mu"),
        ({"other": np.zeros(3)}, "expected the arrays mu and sigma, got none"),
        ({"mu": np.zeros(4), "sigma": np.eye(4)}, r"mu of shape \(3,\) for the network, got"),
        ({**GOOD, "sigma": np.zeros(9)}, r"sigma of shape \(3, 3\)"),
        ({**GOOD, "mu": np.array([0, np.nan, 0])}, "finite numbers in mu"),
        ({**GOOD, "sigma": np.full((3, 3), np.inf)}, "finite numbers in sigma"),
        ({**GOOD, "mu": np.zeros(3, int)}, "finite numbers in mu"),
        ({**GOOD, "mu": np.array([None] * 3)}, "damage or another kind of file"),
        ({**GOOD, "count": np.array(1)}, "count of 2 or more, got 1"),
        ({**GOOD, "count": np.array([5, 5])}, "count of 2 or more"),
        ({**GOOD, "count": np.array(5.0)}, "count of 2 or more"),
        ({**GOOD, "sample": np.zeros((5, 4))}, r"sample of shape \(5, 3\)"),
        ({**GOOD, "sample": np.zeros((1, 3))}, r"sample of shape \(2, 3\)"),
        ({**GOOD, "sample": np.array(1.0)}, r"sample of shape \(2, 3\)"),
    ],
)
def test_other_arrays_are_refused_in_one_line(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UserError, match=words) as caught:
        read_statistics(tmp_path / "s.npz", 3, "the network")
    assert "\n" not in str(caught.value) and "s.npz: expected" in str(caught.value)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def cut() -> bytes:
    file = io.BytesIO()
    np.savez(file, **GOOD)
    return file.getvalue()[:-40]


def flipped() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **GOOD)
    content = bytearray(file.getvalue())
    content[60:70] = bytes(10)
    return bytes(content)


@pytest.mark.parametrize("content", [b"", b"text", npy(), cut(), flipped()])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"s\.npz: expected statistics as \.npz") as caught:
        read_statistics(tmp_path / "s.npz", 3, "the network")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.npz", tmp_path):
        with pytest.raises(UserError, match=r"expected a readable \.npz file"):
            read_statistics(path, 3, "the network")
