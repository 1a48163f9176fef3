"""Synthetic landscapes: reproducible, with large regions; styles do not change layouts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.classes import CONTEST_CLASSES
from data.folders import find_pairs, find_test_layouts
from data.labels import read_label
from data.synthetic import STYLES, render_pair, scene_of, style_of
from data.synthetic.canvas import without_specks
from data.synthetic.dataset import MARKER, TABLE, DemoSet, write_dataset
from data.synthetic.ground import Camera, Ground
from data.synthetic.noise import Noise, stream
from data.synthetic.scenes import SCENES
from options.errors import UserError

HEIGHT, WIDTH = 96, 128
SKY = CONTEST_CLASSES.index("sky")
Pair = tuple[np.ndarray, np.ndarray, str]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [render_pair(0, index, HEIGHT, WIDTH) for index in range(60)]


def first_of(scene: str) -> int:
    """Return the first pair of seed 0 with this scene."""
    return next(index for index in range(1000) if scene_of(0, index) == scene)


def test_arrays(pairs: list[Pair]) -> None:
    for image, layout, style in pairs:
        assert image.dtype == np.uint8 and image.shape == (HEIGHT, WIDTH, 3)
        assert layout.dtype == np.uint8 and layout.shape == (HEIGHT, WIDTH)
        assert style in STYLES


def test_a_pair_depends_only_on_seed_and_index(pairs: list[Pair]) -> None:
    for index in (7, 3):
        image, layout, style = render_pair(0, index, HEIGHT, WIDTH)
        np.testing.assert_array_equal(image, pairs[index][0])
        np.testing.assert_array_equal(layout, pairs[index][1])
        assert style == pairs[index][2] == style_of(0, index)
    other_seed, _, _ = render_pair(1, 7, HEIGHT, WIDTH)
    assert (other_seed != pairs[7][0]).mean() > 0.5


def test_many_classes_and_no_id_out_of_range(pairs: list[Pair]) -> None:
    shares = np.bincount(np.concatenate([layout.ravel() for _, layout, _ in pairs]), minlength=29)
    assert len(shares) == len(CONTEST_CLASSES)
    shares = shares / shares.sum()
    # A class of 0.1% of the pixels can be learned.
    assert (shares > 0.001).sum() >= 16
    assert (shares > 0).sum() >= 20
    assert 0.15 < shares[SKY] < 0.45


def test_layouts_are_large_regions_without_specks(pairs: list[Pair]) -> None:
    for _, layout, _ in pairs:
        areas = []
        for number in np.unique(layout):
            _, _, stats, _ = cv2.connectedComponentsWithStats(
                (layout == number).astype(np.uint8), connectivity=4
            )
            areas.extend(stats[1:, cv2.CC_STAT_AREA])
        assert min(areas) >= 4
        assert np.mean(areas) > layout.size / 120
        assert np.unique(layout).size >= 3


def test_the_sky_is_above_the_land(pairs: list[Pair]) -> None:
    top = np.mean([(layout[0] == SKY).mean() for _, layout, _ in pairs])
    bottom = np.mean([(layout[-1] == SKY).mean() for _, layout, _ in pairs])
    assert top > 0.7
    assert bottom == 0


@pytest.mark.parametrize("scene", SCENES)
def test_styles_change_the_colors_but_not_the_layout(scene: str) -> None:
    index = first_of(scene)
    rendered = {style: render_pair(0, index, HEIGHT, WIDTH, style) for style in STYLES}
    layouts = [layout for _, layout, _ in rendered.values()]
    for layout in layouts[1:]:
        np.testing.assert_array_equal(layout, layouts[0])
    assert [name for _, _, name in rendered.values()] == list(STYLES)
    means = {style: image.reshape(-1, 3).mean(axis=0) for style, (image, _, _) in rendered.items()}
    for one in STYLES:
        for other in STYLES:
            assert one == other or np.abs(means[one] - means[other]).max() > 4, (one, other)
    brightness = {style: mean.mean() for style, mean in means.items()}
    assert min(brightness, key=lambda style: brightness[style]) == "night"


@pytest.mark.parametrize("scene", SCENES)
def test_the_scene_is_the_same_at_every_size(scene: str) -> None:
    index = first_of(scene)
    _, small, _ = render_pair(0, index, HEIGHT, WIDTH)
    _, large, _ = render_pair(0, index, 2 * HEIGHT, 2 * WIDTH)
    halved = cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    assert (halved == small).mean() > 0.9
    assert set(np.unique(large)) ^ set(np.unique(small)) <= {
        CONTEST_CLASSES.index(name)
        for name in ("boat", "ship", "person", "rock", "plant", "land", "earth", "wall", "grass")
    }


def test_water_mirrors_the_sky() -> None:
    index = first_of("alpine lake")
    lake = CONTEST_CLASSES.index("lake")
    means = {}
    for style in ("noon", "sunset"):
        image, layout, _ = render_pair(0, index, HEIGHT, WIDTH, style)
        means[style] = image[layout == lake].mean(axis=0)
    red, blue = 0, 2
    assert means["noon"][blue] > means["noon"][red]
    assert means["sunset"][red] > means["sunset"][blue]


def test_common_classes_differ_in_color() -> None:
    rendered = [render_pair(0, index, HEIGHT, WIDTH, "noon") for index in range(30)]
    pixels = np.concatenate([image.reshape(-1, 3) for image, _, _ in rendered])
    ids = np.concatenate([layout.ravel() for _, layout, _ in rendered])
    names = ("sky", "tree", "sand", "grass", "sea", "earth", "mountain")
    means = [pixels[ids == CONTEST_CLASSES.index(name)].mean(axis=0) for name in names]
    for i, one in enumerate(means):
        for other in means[:i]:
            assert np.abs(one - other).max() > 12


def test_all_scenes_and_styles_occur() -> None:
    assert {scene_of(0, index) for index in range(200)} == set(SCENES)
    assert {style_of(0, index) for index in range(100)} == set(STYLES)


@pytest.mark.parametrize("size", [(64, 64), (60, 200), (200, 60), (33, 47)])
def test_other_shapes(size: tuple[int, int]) -> None:
    for index in range(4):
        image, layout, _ = render_pair(3, index, *size)
        assert image.shape == (*size, 3) and layout.shape == size


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="style: expected one of noon"):
        render_pair(0, 0, HEIGHT, WIDTH, "dawn")
    with pytest.raises(ValueError, match=r"32\.\.4096"):
        render_pair(0, 0, 16, WIDTH)
    with pytest.raises(ValueError):
        render_pair(-1, 0, HEIGHT, WIDTH)


def test_specks_become_the_nearest_class() -> None:
    layout = np.full((80, 100), 3, np.uint8)
    layout[:, 50:] = 7
    layout[10, 10] = 7
    layout[20:40, 20:40] = 1
    layout[30, 30] = 9
    layout[60, 49] = 12
    cleaned = without_specks(layout)
    assert cleaned[10, 10] == 3
    assert cleaned[30, 30] == 1
    assert cleaned[60, 49] in (3, 7)
    assert set(np.unique(cleaned)) == {1, 3, 7}
    assert (cleaned == layout).sum() == layout.size - 3


def test_the_camera_projects_flat_land() -> None:
    camera = Camera(120, 160, eye=10.0, horizon=0.4, focal=1.0, near=5.0, far=5000.0)
    ground = Ground(camera, Noise(stream(0, 0, "test")))
    ground.cover("grass", 1.0)
    ground.cover("sand", 100 - ground.z)
    view = ground.view()
    np.testing.assert_array_equal(view.sky.any(axis=1).nonzero()[0], np.arange(48))
    rows = np.arange(60, 120)
    seen = camera.focal * camera.height * camera.eye / (rows + 0.5 - 48)
    np.testing.assert_allclose(view.z[60:, 80], seen, rtol=0.01)
    np.testing.assert_allclose(view.height[60:], 0, atol=1e-3)
    boundary = camera.row_at(0.0, 100.0)
    names = np.array(CONTEST_CLASSES)[view.classes()[:, 30]]
    assert names[47] == "sky" and names[int(boundary) - 1] == "grass"
    assert set(names[int(boundary) + 1 :]) == {"sand"}
    assert camera.row_at(0.0, camera.first) == pytest.approx(120)


def test_near_land_hides_far_land() -> None:
    camera = Camera(120, 160, eye=10.0, horizon=0.4, focal=1.0, near=5.0, far=5000.0)
    ground = Ground(camera, Noise(stream(0, 0, "test")))
    # A wall 50 meters away, higher than the eye, in the image's left half.
    wall = (np.abs(ground.z - 50) < 3) & (ground.x < 0)
    ground.height = np.where(wall, 30.0, 0.0).astype(np.float32)
    view = ground.view()
    assert not view.sky[30, :78].any() and view.sky[30, 82:].all()
    assert (view.z[20:60, :78][~view.sky[20:60, :78]] < 54).all()
    assert view.z[55, 100] > 100


WANTED = DemoSet(seed=5, count=3, test_count=2, height=48, width=64)


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_dataset_has_the_contests_form(tmp_path: Path) -> None:
    root = tmp_path / "new" / "demo"
    assert write_dataset(root, WANTED, 1, None) == 5
    pairs = find_pairs(root)
    assert len(pairs.pairs) == 3 and not pairs.images_without_label
    for index, pair in enumerate(pairs.pairs):
        image, layout, _ = render_pair(5, index, 48, 64)
        with Image.open(pair.label_path) as label:
            assert label.mode == "I;16" and label.size == (64, 48)
            np.testing.assert_array_equal(np.array(label), layout)
        np.testing.assert_array_equal(read_label(pair.label_path), layout)
        with Image.open(pair.image_path) as photo:
            assert photo.format == "JPEG" and photo.mode == "RGB"
            # A wrong channel order would swap red and blue.
            error = np.array(photo).astype(int) - image
            assert np.abs(error).mean() < 6
    tests = find_test_layouts(root).paths
    assert len(tests) == 2
    np.testing.assert_array_equal(read_label(tests[0]), render_pair(5, 3, 48, 64)[1])
    assert not (root / "val" / "imgs").exists()
    table = json.loads((root / TABLE).read_text())
    assert sorted(table) == sorted(path.name for path in tests)
    assert set(table.values()) <= {pair.image_path.name for pair in pairs.pairs}
    assert json.loads((root / MARKER).read_text()) == asdict(WANTED)


def test_the_table_cycles_through_the_styles() -> None:
    wanted = replace(WANTED, count=60, test_count=10)
    table = wanted.table()
    stems = {wanted.stem(index) + ".jpg": style_of(5, index) for index in range(60)}
    styles = [stems[photo] for photo in table.values()]
    assert sorted(styles[:5]) == sorted(STYLES) == sorted(styles[5:])
    assert table == wanted.table()


def test_a_complete_folder_is_not_changed(tmp_path: Path) -> None:
    write_dataset(tmp_path, WANTED, 1, None)
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*.*g")}
    assert write_dataset(tmp_path, WANTED, 1, None) == 0
    assert {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*.*g")} == before


def test_an_interrupted_set_is_completed(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_dataset(whole, WANTED, 1, None)

    def stop(done: int, total: int) -> None:
        assert total == 5
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(broken, WANTED, 1, stop)
    assert 0 < len(list(broken.rglob("*.jpg"))) < 3
    assert not list(broken.rglob("*.tmp"))
    # As after a kill in the middle of a write.
    (broken / "train/imgs/.demo_5_000001.jpg.42.tmp").write_bytes(b"half")
    next(broken.rglob("*.jpg")).unlink()
    assert write_dataset(broken, WANTED, 1, None) == 4
    assert contents(broken) == contents(whole)


def test_changes_of_the_user_are_kept(tmp_path: Path) -> None:
    write_dataset(tmp_path, WANTED, 1, None)
    label, table = tmp_path / "train/labels/demo_5_000001.png", tmp_path / TABLE
    mine = {
        label: b"edited",
        table: b"{}",
        tmp_path / "train/imgs/.demo_notes": b"mine",
        tmp_path / "train/imgs/.demo_5_000001.jpg.tmp": b"mine too",
        tmp_path / "train/imgs/holiday.jpg": b"a photo",
    }
    for path, content in mine.items():
        path.write_bytes(content)
    (tmp_path / "train/imgs/demo_5_000001.jpg").unlink()
    assert write_dataset(tmp_path, WANTED, 1, None) == 1
    assert {path: path.read_bytes() for path in mine} == mine
    assert (tmp_path / "train/imgs/demo_5_000001.jpg").stat().st_size > 500


def test_workers_do_not_change_the_files(tmp_path: Path) -> None:
    wanted = replace(WANTED, count=26, test_count=1, height=32, width=32)
    write_dataset(tmp_path / "one", wanted, 1, None)
    write_dataset(tmp_path / "two", wanted, 2, None)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("name", ["notes.txt", "train/imgs/holiday.jpg", MARKER])
def test_a_folder_of_the_user_is_rejected(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="something else"):
        write_dataset(tmp_path, WANTED, 1, None)
    assert contents(tmp_path) == before


def test_another_set_is_rejected(tmp_path: Path) -> None:
    write_dataset(tmp_path, WANTED, 1, None)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="count 3 instead of 4"):
        write_dataset(tmp_path, replace(WANTED, count=4), 1, None)
    assert contents(tmp_path) == before


def test_a_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match="folder"):
            write_dataset(path, WANTED, 1, None)


@pytest.mark.parametrize(
    "change", [{"count": 0}, {"test_count": 0}, {"seed": -1}, {"height": 8}, {"width": 9999}]
)
def test_sets_out_of_range_are_rejected(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(change.values())).__str__()):
        write_dataset(tmp_path / "demo", replace(WANTED, **change), 1, None)
    assert not (tmp_path / "demo").exists()
