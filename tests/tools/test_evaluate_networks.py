"""python -m tools.evaluate with its real networks: their inputs, and a program from end to end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from data.transforms import resize_image
from inference.metric_networks import DIMENSIONS, EFFICIENTNET, INCEPTION, load_network
from runtime import ROOT
from runtime.start import start_jittor
from tools import evaluate
from tools.evaluate import main
from weights import backbones

start_jittor("cpu")


def random_photo(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Noise of all scales, uint8 RGB (H, W, 3)."""
    random = np.random.default_rng(seed)
    photo = np.zeros((*size, 3))
    for side in (2, 5, 12, 30):
        part = Image.fromarray(random.integers(0, 256, (side, side, 3)).astype(np.uint8))
        photo += np.asarray(part.resize(size[::-1], Image.Resampling.BICUBIC)) / 4
    return photo.astype(np.uint8)


def test_efficientnet_takes_images_in_minus_1_to_1() -> None:
    import jittor as jt

    photos = [random_photo(seed, size) for seed, size in enumerate([(96, 128), (224, 224)])]
    inputs = [resize_image(photo, 224, 224) / 127.5 - 1 for photo in photos]
    batch = np.stack(inputs).transpose(0, 3, 1, 2).astype(np.float32)
    expected = backbones.load_efficientnet().pooled(jt.array(batch)).numpy()
    network = load_network(EFFICIENTNET, None)
    found = network.pooled(np.stack([network.prepare(photo) for photo in photos]))
    assert found.shape == (2, network.dimensions) == (2, DIMENSIONS[EFFICIENTNET])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
    assert np.abs(found[0] - found[1]).max() > 0.1 * scale


def test_inception_takes_images_of_any_size_in_0_to_1(monkeypatch: pytest.MonkeyPatch) -> None:
    import jittor as jt

    from models.networks.inception import FIDInception

    jt.set_global_seed(0)
    inception = FIDInception()
    inception.eval()
    photo = random_photo(0, (150, 200))
    batch = (photo[None].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    expected = inception.pooled(jt.array(batch)).numpy()  # resized by the network
    monkeypatch.setattr(backbones, "load_inception", lambda path: inception)
    network = load_network(INCEPTION, "weights.pth")
    found = network.pooled(network.prepare(photo)[None])
    assert found.shape == (1, network.dimensions) == (1, DIMENSIONS[INCEPTION])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-3 * scale)
    turned = network.pooled(network.prepare(photo[::-1, ::-1])[None])
    assert np.abs(turned - expected).max() > 1e-2 * scale


def test_weights_that_are_missing_are_reported_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "measure_distances", None)
    for seed in range(2):
        Image.fromarray(random_photo(seed, (20, 20))).save(tmp_path / f"{seed}.png")
    flags = ["--images", str(tmp_path), "--photos", str(tmp_path)]
    assert main([*flags, "--inception-weights", str(tmp_path / "gone.pth")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(f"error: {tmp_path}/gone.pth: cannot be read")


def test_blurred_images_are_farther_from_the_photos_than_other_photos(tmp_path: Path) -> None:
    for name in ("photos", "others", "blurred"):
        (tmp_path / name).mkdir()
    for seed in range(24):
        photo = Image.fromarray(random_photo(seed, (72, 96)))
        photo.save(tmp_path / ("photos" if seed % 2 else "others") / f"{seed}.jpg", quality=95)
        if not seed % 2:
            blurred = photo.filter(ImageFilter.GaussianBlur(4))
            blurred.save(tmp_path / f"blurred/{seed}.jpg", quality=95)
    distances = []
    for name in ("others", "blurred"):
        command = [sys.executable, "-m", "tools.evaluate", "--device", "cpu"]
        command += ["--images", str(tmp_path / name), "--photos", str(tmp_path / "photos")]
        command += ["--statistics", str(tmp_path / "s.npz"), "--json", str(tmp_path / "out.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        rows = json.loads((tmp_path / "out.json").read_text())["measures"]
        assert (rows[0]["name"], rows[0]["images"], rows[0]["photos"]) == ("FD-EffNet", 12, 12)
        distances.append([row["value"] for row in rows[:2]])
    (near, near_kernel), (far, far_kernel) = distances
    assert far > near > 0 and far_kernel > near_kernel


def test_mask_accuracy_of_a_segformer_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jittor as jt

    from models.networks.segformer import SegFormer, SegFormerShape
    from weights.segmenters import load_segmenter, save_segmenter

    jt.set_global_seed(0)
    network = SegFormer(shape=SegFormerShape((4, 8, 10, 16), (1, 1, 1, 1), 8), classes=5)
    save_segmenter(tmp_path / "segmenter.safetensors", network)
    segmenter = load_segmenter(tmp_path / "segmenter.safetensors")
    # no side is a multiple of 4
    photos = [random_photo(seed, size) for seed, size in enumerate([(50, 67), (45, 39), (50, 67)])]
    shares = []
    for name in ("images", "layouts", "photos"):
        (tmp_path / name).mkdir()
    for number, photo in enumerate(photos):
        one = (photo[None].transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
        ids = segmenter.segment(jt.array(one)).numpy()[0].astype(np.uint8)
        assert ids.shape == photo.shape[:2] and len(np.unique(ids)) > 1
        wrong = slice(0, 10 * number)
        ids[wrong] = (ids[wrong] + 1) % 5
        shares.append(1 - 10 * number / len(ids))
        Image.fromarray(photo).save(tmp_path / f"images/{number}.png")
        Image.fromarray(photo).save(tmp_path / f"photos/{number}.png")
        Image.fromarray(ids).save(tmp_path / f"layouts/{number}.png")
    monkeypatch.setattr(evaluate, "measure_distances", lambda *_: [])
    flags = ["--device", "cpu", "--json", str(tmp_path / "numbers.json"), "--classes", "5"]
    for flag in ("images", "photos", "layouts"):
        flags += [f"--{flag}", str(tmp_path / flag)]
    flags += ["--html", str(tmp_path / "page.html")]
    file = str(tmp_path / "segmenter.safetensors")
    assert main([*flags, "--segmenter", file]) == 0
    measures = json.loads((tmp_path / "numbers.json").read_text())["measures"]
    values = {row["name"]: row["value"] for row in measures}
    # a batch may round the other way at a pixel whose scores are equal
    assert values["mask accuracy"] == pytest.approx(np.mean(shares), abs=1e-3)
    page = (tmp_path / "page.html").read_text()
    assert re.findall(r'class="rank">\d</span> (\d)\.png', page) == ["2", "1", "0"]
    assert main([*flags, "--segmenter", str(tmp_path / "images/0.png")]) == 2
