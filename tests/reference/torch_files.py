"""Regenerates the small .pth files in tests/goldens: `python -m tests.reference.torch_files`.

torch_zip_half.pth, torch_legacy_half.pth, torch_zip_bfloat16.pth and torch_zip_float.pth are a
discriminator of SPADE and TSIT, written by PyTorch. written_here.pth is written by
weights/torch_file.py; this program loads it with `torch.load(weights_only=True)` and compares, so
that a test without PyTorch only compares bytes. Needs PyTorch 2.13 (see README.md in this folder).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from .goldens import FOLDER, sample_recipe, seed_of

OPTIONS = {"in_channels": 5, "channels": 2, "layers": 2, "scales": 1}


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The random float32 values of the tensor `name`."""
    recipe = {"kind": "uniform", "shape": shape, "low": -1.0, "high": 1.0, "seed": seed_of(name)}
    return sample_recipe(recipe)


def every_kind() -> dict[str, np.ndarray]:
    """Arrays of every supported dtype, and of unusual shapes."""
    arrays = {
        f"layer.{kind}": (50 * numbers(kind, (2, 3))).astype(kind)
        for kind in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "bool")
    }
    arrays["layer.uint8"] = np.arange(6, dtype=np.uint8)
    arrays["layer.num_batches_tracked"] = np.array(7, np.int64)
    arrays["layer.empty"] = np.zeros((0, 4), np.float32)
    arrays["übung.weight"] = numbers("transposed", (3, 2, 2)).T
    return arrays


def main() -> None:
    import torch

    from weights.torch_file import write_torch

    from .discriminator import MultiscaleDiscriminator

    network = MultiscaleDiscriminator(**OPTIONS)
    state = {
        name: torch.from_numpy(numbers(name, tuple(value.shape)))
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    for name, precision, zipped in (
        ("torch_zip_float", torch.float32, True),
        ("torch_zip_half", torch.float16, True),
        ("torch_legacy_half", torch.float16, False),
        ("torch_zip_bfloat16", torch.bfloat16, True),
    ):
        content = io.BytesIO()
        torch.save(
            network.to(precision).state_dict(), content, _use_new_zipfile_serialization=zipped
        )
        (FOLDER / f"{name}.pth").write_bytes(content.getvalue())
    path: Path = FOLDER / "written_here.pth"
    arrays = every_kind()
    write_torch(path, arrays)
    read = torch.load(path, weights_only=True)
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].numpy().dtype == array.dtype, name
        np.testing.assert_array_equal(read[name].numpy(), array, err_msg=name)
    for name in ("torch_zip_float", "torch_zip_half", "torch_legacy_half", "torch_zip_bfloat16"):
        print(f"{name}.pth: {(FOLDER / f'{name}.pth').stat().st_size} bytes")
    print(f"{path.name}: {path.stat().st_size} bytes, read by PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
