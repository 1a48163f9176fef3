"""Every damage changes its file, and the seed decides how."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.dev.faults.any_damage import ANY
from tools.dev.faults.damage import OWN
from tools.dev.faults.inputs import fingerprints
from tools.dev.faults.weight_damage import zip_entry
from weights.safetensors_file import write_tensors
from weights.torch_file import write_torch


def write_intact_file(folder: Path, kind: str) -> Path:
    if kind in ("label", "photo"):
        path = folder / "a.png"
        Image.fromarray(np.arange(48 * 32, dtype=np.uint8).reshape(32, 48) % 29).save(path)
    elif kind == "json":
        path = folder / "a.json"
        path.write_text('{"a.png": "b.jpg", "c.png": ["d.jpg", 3]}')
    elif kind == "tensors":
        path = folder / "a.safetensors"
        write_tensors(path, {"x": np.ones((2, 3), np.float32)}, {"options": "{}"})
    elif kind == "torch":
        path = folder / "a.pth"
        write_torch(path, {"x": np.ones((2, 3), np.float32)})
    else:
        path = folder / "a.txt"
        path.write_text("one\ntwo words\n")
    return path


def content_of(folder: Path) -> list[tuple[str, str]]:
    return sorted(fingerprints(folder).items())


@pytest.mark.parametrize("kind", sorted(OWN))
def test_each_damage_changes_the_file_and_follows_the_seed(tmp_path: Path, kind: str) -> None:
    for number, chosen in enumerate([*ANY, *OWN[kind]]):
        contents = []
        for copy in "ab":
            folder = tmp_path / f"{number}{copy}"
            folder.mkdir()
            path = write_intact_file(folder, kind)
            intact = content_of(folder)
            # some damages change nothing, such as zeros written over zeros
            chance = random.Random(number)
            for _ in range(5):
                if content_of(folder) == intact:
                    chosen(path, chance)
            assert content_of(folder) != intact, chosen.__name__
            contents.append([(n, c.rsplit(" ", 1)[0]) for n, c in content_of(folder)])
        if chosen is not zip_entry:  # it writes the time into the zip
            names = [[name for name, _ in content] for content in contents]
            assert names[0] == names[1], chosen.__name__
