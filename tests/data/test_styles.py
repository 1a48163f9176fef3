from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.folders import find_pairs
from data.listing import images_by_stem
from data.reading import read_layout
from data.styles import (
    StyleTable,
    build_layout_index,
    find_style_table,
    read_style_table,
    styles_from_table,
)
from options.errors import UserError


@pytest.mark.parametrize("name", ["label_to_img.json", "label_to_image.json"])
def test_table_is_found(tmp_path: Path, name: str) -> None:
    labels, root = tmp_path / "set/labels", tmp_path / "root"
    labels.mkdir(parents=True)
    root.mkdir()
    layouts = [labels / "a.png"]
    assert find_style_table(layouts, labels, root) == (None, [])
    for place in (root, labels.parent, labels):
        (place / name).write_text('{"a.png": "b.jpg"}')
        found = StyleTable(place / name, {"a": "b"})
        assert find_style_table(layouts, labels, root) == (found, [])


def test_a_table_of_other_layouts_is_skipped(tmp_path: Path) -> None:
    """A table that names one of the layouts is used, and lacks the others."""
    labels, root = tmp_path / "set/labels", tmp_path / "root"
    labels.mkdir(parents=True)
    root.mkdir()
    layouts = [labels / f"{name}.png" for name in "abcdefg"]
    (labels / "label_to_img.json").write_text('{"demo.png": "x.jpg"}')
    found, notes = find_style_table(layouts, labels, root)
    assert found is None
    assert notes == [f"not used: {labels}/label_to_img.json names none of these 7 layouts"]
    (root / "label_to_img.json").write_text('{"g": "x.jpg"}')
    found, notes = find_style_table(layouts, labels, root)
    assert found is not None and found.path.parent == root and len(notes) == 1
    with pytest.raises(UserError, match=r"6 of 7 \(a\.png, .*e\.png and 1 more\)"):
        styles_from_table(found, layouts, {"x": tmp_path / "x.jpg"})


def test_names_with_and_without_suffix(tmp_path: Path) -> None:
    path = tmp_path / "label_to_img.json"
    table = {"a.png": "x.jpg", "b": "y.y", "c.d": "z.v2.JPG", "湖 e.png": "imgs/f g.jpg"}
    path.write_text("\ufeff" + json.dumps(table, ensure_ascii=False), encoding="utf-8")
    assert read_style_table(path) == {"a": "x", "b": "y.y", "c.d": "z.v2", "湖 e": "f g"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_windows_paths(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "label_to_img.json"
    table = {"labels\\a.png": "D:\\set\\imgs\\x.jpg", "b.png": "imgs/sub\\y.jpg"}
    path.write_bytes(json.dumps(table).encode(encoding))
    read = read_style_table(path)
    assert read == {"a": "x", "b": "y"}
    # names on Linux may hold backslashes too
    photos = {"x": Path("x.jpg"), "odd\\y": Path("odd\\y.jpg")}
    layouts = [Path("a.png"), Path("q\\b.png")]
    styles = styles_from_table(StyleTable(path, read), layouts, photos)
    assert styles == [photos["x"], photos["odd\\y"]]


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "label_to_img.json"
    path.symlink_to("label_to_img.json")
    with pytest.raises(UserError, match="leads back to itself"):
        find_style_table([], tmp_path)
    with pytest.raises(UserError, match="leads back to itself"):
        read_style_table(path)
    path.unlink()
    path.write_bytes(b'{"\xff.png": "a.jpg"}')
    with pytest.raises(UserError, match="expected JSON in UTF-8"):
        read_style_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]x", "expected JSON"),
        ('[["a.png", "b.jpg"]]', "one JSON object"),
        ('"a.png"', "one JSON object"),
        ('{"a.png": 3}', "one JSON object"),
        ('{"a.png": "b.jpg", "a": "c.jpg"}', "one photo for a, got both b and c"),
    ],
)
def test_damaged_tables(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "label_to_img.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_style_table(path)


def test_styles_from_table(tmp_path: Path) -> None:
    for name in ("x.jpg", "y.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    photos = images_by_stem(tmp_path)
    layouts = [Path("labels/b.png"), Path("labels/a.png")]

    def choose(entries: dict[str, str]) -> list[Path]:
        return styles_from_table(StyleTable(Path("t.json"), entries), layouts, photos)

    styles = choose({"a": "x", "b": "y", "c": "gone"})
    assert [path.name for path in styles] == ["y.png", "x.jpg"]
    with pytest.raises(UserError, match=r"got none for 1 of 2 \(b\.png\)\. Add"):
        choose({"a": "x"})
    with pytest.raises(UserError, match=r"got 1 that are missing \(gone\)\. Check --img_path"):
        choose({"a": "x", "b": "gone"})


@pytest.mark.parametrize("workers", [1, 2])
def test_nearest_layout(make_dataset: Callable[..., Path], workers: int) -> None:
    pairs = find_pairs(make_dataset(30)).pairs
    seen = []
    index = build_layout_index(
        pairs, workers=workers, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (30, 30)
    assert index.features.dtype == np.float32 and index.features.shape == (30, 48 * 29)
    assert np.allclose(index.features.reshape(30, 48, 29).sum(axis=-1), 1)
    for pair in pairs[::7]:
        layout = read_layout(pair.label_path)
        assert index.nearest(layout) == pair.image_path
        # 10% of it changed, at another size.
        layout[:3] = 28
        assert index.nearest(np.repeat(layout, 3, axis=1)) == pair.image_path


def test_position_counts_and_the_first_of_equals_is_used(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(4)
    sky_above = np.zeros((24, 32), dtype=np.uint8)
    sky_above[:12] = 1
    for name, layout in zip(
        "0123", [sky_above[::-1], sky_above, sky_above, 1 - sky_above], strict=True
    ):
        Image.fromarray(np.ascontiguousarray(layout)).save(
            root / f"train/labels/photo 00{name}.png"
        )
    index = build_layout_index(find_pairs(root).pairs, classes=2)
    assert index.nearest(sky_above.astype(np.int32)).stem == "photo 001"
    with pytest.raises(ValueError, match=r"ids: expected 0\.\.1"):
        index.nearest(np.full((4, 4), 2, dtype=np.int32))


def test_unknown_is_a_class_of_the_index(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2, classes=3)
    Image.fromarray(np.full((24, 32), 255, dtype=np.uint8)).save(
        root / "train/labels/photo 001.png"
    )
    index = build_layout_index(find_pairs(root).pairs, classes=3, unknown_label=255)
    assert index.features.shape == (2, 48 * 4)
    assert index.nearest(np.full((8, 8), 3, dtype=np.int32)).stem == "photo 001"


def test_no_pairs() -> None:
    with pytest.raises(UserError, match="expected training pairs, got none"):
        build_layout_index([])
