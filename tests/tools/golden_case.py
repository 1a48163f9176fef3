"""Golden images with the files of a user: published weights, layouts and photos."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference.submission import QUALITY
from runtime.start import start_jittor
from tests.reference.goldens import Golden, load, settle
from weights.published_names import BATCH_COUNT
from weights.safe_pickle import JITTOR_MARK
from weights.torch_file import write_torch

# The handlers of Jittor would end the tests when a test kills a process.
start_jittor("cpu")

from inference.synthesizer import Synthesizer  # noqa: E402

Arrays = dict[str, np.ndarray]
ROOT = Path(__file__).resolve().parents[2]


def run_test(*arguments: object) -> int:
    """Return the exit code of test.py, whose name is also that of a standard module."""
    spec = importlib.util.spec_from_file_location("entry", ROOT / "test.py")
    assert spec is not None and spec.loader is not None
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    code: int = entry.main(["--device", "cpu", *map(str, arguments)])
    return code


def network(state: Arrays, name: str) -> Arrays:
    return {n.removeprefix(name + "."): a for n, a in state.items() if n.startswith(name + ".")}


def write_jittor(path: Path, arrays: Arrays) -> None:
    """Write as this design's first version: no counts, and the quotients of spectral norm."""
    state = {name: array for name, array in arrays.items() if not name.endswith(BATCH_COUNT)}
    for name in [name for name in state if name.endswith("weight_orig")]:
        state[name.removesuffix("_orig")] = state[name] * 2
    content = pickle.dumps(state, 4)
    path.write_bytes(content + hashlib.sha1(content).digest() + JITTOR_MARK)


class Case:
    """A golden image with the files that a user would have."""

    def __init__(self, name: str, folder: Path) -> None:
        self.golden: Golden = load(f"picture_{name}")
        self.inputs = self.golden.section("in")
        # The goldens have a longer name for it.
        self.photo = next((a for n, a in self.inputs.items() if n.startswith("photo")), None)
        self.state = self.golden.section("state")
        self.folder = folder
        self.target = folder / "converted.safetensors"
        self.size = tuple(self.golden.options["size"])

    def write_torch(self) -> Path:
        """Write latest_net_G.pth, and latest_net_E.pth if there is an encoder."""
        source = self.folder / "published"
        source.mkdir()
        settled = settle(self.state)
        for letter, name in (("G", "generator"), ("E", "encoder")):
            if arrays := network(settled, name):
                counts = {n: np.array(7, np.int64) for n in arrays if n.endswith(BATCH_COUNT)}
                write_torch(source / f"latest_net_{letter}.pth", arrays | counts)
        return source

    def generate(self, monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
        """Generate with the converted file, and compare with the reference's image."""
        flags = (*flags, *self.write_inputs())
        images: list[np.ndarray] = []
        synthesize: Callable[..., np.ndarray] = Synthesizer.synthesize

        def keep(synthesizer: Synthesizer, *arguments: Any, **rest: Any) -> np.ndarray:
            images.append(synthesize(synthesizer, *arguments, **rest))
            return images[-1]

        monkeypatch.setattr(Synthesizer, "synthesize", keep)
        if "z" in self.inputs:
            monkeypatch.setattr(Synthesizer, "sample_noise", lambda *_: self.inputs["z"])
        output = self.folder / "output"
        common = ("--checkpoint", self.target, "--output_path", output)
        assert run_test(*common, "--size", *self.size, *flags) == 0
        (image,) = images
        self.compare(image)
        written = io.BytesIO()
        Image.fromarray(image).save(written, "JPEG", quality=QUALITY)
        stem = "content" if "content" in self.inputs else "layout"
        assert (output / f"{stem}.jpg").read_bytes() == written.getvalue()

    def write_inputs(self) -> list[object]:
        labels = self.folder / "labels"
        labels.mkdir()
        if "content" in self.inputs:
            content = self.inputs["content"].astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(content).save(labels / "content.png")
        else:
            Image.fromarray(self.inputs["ids"][0].astype(np.uint8)).save(labels / "layout.png")
        flags: list[object] = ["--input_path", labels]
        if self.photo is not None:
            photo = self.photo.astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(photo).save(self.folder / "style.png")
            flags += ["--style", self.folder / "style.png"]
        if "instances" in self.inputs:
            instances = self.folder / "instances"
            instances.mkdir()
            plane = self.inputs["instances"][0].astype(np.uint8)
            Image.fromarray(plane).save(instances / "layout.png")
            flags += ["--instance_path", instances]
        return flags

    def compare(self, image: np.ndarray) -> None:
        """Check the 1024 pixels that the golden keeps, to one gray level."""
        expected = np.rint((self.golden.samples["out/eval.image"] + 1) * 127.5)
        assert len(np.unique(expected)) > 20
        key = "out/eval.image"
        planes = image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        found = self.golden.difference(key, planes).absolute
        assert found <= 1.5 / 127.5, f"{found * 127.5:.2f} gray levels"
