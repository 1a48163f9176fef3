"""Placing oneDNN for Jittor; other tests use the real Jittor."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

import pytest

from options.errors import UserError
from runtime import onednn
from runtime.onednn import ONEDNN_FOLDER, ONEDNN_MARK, onednn_of, place_onednn
from runtime.settings import settings_for


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replaces the installed wheels by a library and two headers."""
    folder = tmp_path / "wheels"
    (folder / "include/oneapi/dnnl").mkdir(parents=True)
    (folder / "libdnnl.so.2").write_bytes(b"the library")
    (folder / "include/dnnl.hpp").write_text("// header")
    (folder / "include/oneapi/dnnl/dnnl_version.h").write_text(
        "#define DNNL_VERSION_MAJOR 2\n#define DNNL_VERSION_MINOR 6\n#define DNNL_VERSION_PATCH 0\n"
    )
    headers = [
        (folder / "include" / name, name) for name in ("dnnl.hpp", "oneapi/dnnl/dnnl_version.h")
    ]
    monkeypatch.setattr(onednn, "onednn_wheel_files", lambda: (folder / "libdnnl.so.2", headers))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1")
    return folder


def mkl(home: Path) -> Path:
    return home / ".cache/jittor/mkl" / ONEDNN_FOLDER


def test_a_placed_onednn_is_complete_and_outlives_the_environment(
    tmp_path: Path, wheels: Path
) -> None:
    placed = place_onednn(tmp_path)
    assert placed is not None and placed.ours and placed.version == "2.6.0"
    shutil.rmtree(wheels)
    folder = mkl(tmp_path)
    assert (folder / "lib/libmkldnn.so").read_bytes() == b"the library"
    assert not (folder / "lib/libmkldnn.so").is_symlink()
    assert (folder / "lib/libdnnl.so.2").read_bytes() == b"the library"
    assert (folder / "include/dnnl.hpp").is_file()
    assert os.listdir(folder.parent) == [ONEDNN_FOLDER]
    assert place_onednn(tmp_path) == placed


def test_onednn_is_copied_if_it_cannot_be_linked(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    place_onednn(tmp_path)
    assert (mkl(tmp_path) / "lib/libmkldnn.so").stat().st_nlink == 1


def test_an_installation_of_the_user_is_left_untouched(tmp_path: Path, wheels: Path) -> None:
    (mkl(tmp_path) / "lib").mkdir(parents=True)
    (mkl(tmp_path) / "include").mkdir()
    (mkl(tmp_path) / "lib/libmkldnn.so").write_bytes(b"the user's")
    found = place_onednn(tmp_path)
    assert found is not None and not found.ours
    assert (mkl(tmp_path) / "lib/libmkldnn.so").read_bytes() == b"the user's"
    assert not (mkl(tmp_path) / ONEDNN_MARK).exists()


@pytest.mark.parametrize("marked", [True, False])
def test_a_dangling_library_is_replaced_and_only_ours_is_removed(
    tmp_path: Path, wheels: Path, marked: bool
) -> None:
    folder = mkl(tmp_path)
    (folder / "lib").mkdir(parents=True)
    (folder / "include").mkdir()
    (folder / "lib/libmkldnn.so").symlink_to(tmp_path / "gone/libdnnl.so")
    (folder / "notes").write_text("whose?")
    if marked:
        (folder / ONEDNN_MARK).touch()
    assert onednn_of(tmp_path) is None
    place_onednn(tmp_path)
    assert (folder / "lib/libmkldnn.so").read_bytes() == b"the library"
    kept = list(folder.parent.glob("replaced-*/*/notes"))
    assert len(kept) == (0 if marked else 1)


def test_a_dangling_folder_is_replaced(tmp_path: Path, wheels: Path) -> None:
    mkl(tmp_path).parent.mkdir(parents=True)
    mkl(tmp_path).symlink_to(tmp_path / "gone")
    assert place_onednn(tmp_path) is not None
    assert (mkl(tmp_path) / "lib/libmkldnn.so").is_file()


def test_an_interrupted_placement_leaves_nothing(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(UserError, match="No space left"):
        place_onednn(tmp_path)
    assert os.listdir(mkl(tmp_path).parent) == []


def test_a_folder_that_jittor_may_use_instead_is_an_error(tmp_path: Path, wheels: Path) -> None:
    (mkl(tmp_path).parent / "dnnl_lnx_broken").mkdir(parents=True)
    with pytest.raises(UserError, match="dnnl_lnx_broken"):
        place_onednn(tmp_path)


def test_missing_wheels_name_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "onednn_wheel_files", lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(UserError, match=r"pip install -r requirements\.txt"):
        place_onednn(tmp_path)


def test_an_architecture_without_wheels_runs_without_onednn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onednn, "onednn_wheel_files", lambda: None)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert place_onednn(tmp_path) is None
    assert capsys.readouterr().err.count("\n") == 1
    assert settings_for({}, None, None, tmp_path)["use_mkl"] == "0"


def test_the_installed_wheels_are_found() -> None:
    found = onednn.onednn_wheel_files()
    if found is None:
        pytest.skip("the wheels are not installed")
    library, headers = found
    assert library.is_file() and library.name == "libdnnl.so.2"
    assert {"dnnl.hpp", "oneapi/dnnl/dnnl_version.h"} <= {name for _, name in headers}
    assert all(path.is_file() for path, _ in headers)
