"""Damage to safetensors and PyTorch files. The order of the tables decides the numbered cases."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.dev.faults.any_damage import Damage, Random
from tools.dev.faults.text_damage import change_json


def _split_safetensors(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _join_safetensors(path: Path, header: Any, data: bytes, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    length = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", length) + text + data)


def tensor_header(path: Path, random: Random) -> None:
    """Change one entry of the header."""
    header, data = _split_safetensors(path)
    name = random.choice([name for name in header if name != "__metadata__"])
    choice = random.randrange(6)
    if choice == 0:
        header[name]["dtype"] = random.choice(["F99", "BF16", "F16", "I64", "BOOL", "U8", None])
    elif choice == 1:
        header[name]["shape"] = random.choice([[-1], [2**62, 4], [1.5], "x", [], [1] * 100])
    elif choice == 2:
        header[name]["data_offsets"] = random.choice([[0, 1], [5, 2], [-4, 0], [0, 2**60], None])
    elif choice == 3:
        header[random.choice(["x", "raw.generator.extra", ""])] = header.pop(name)
    elif choice == 4:
        del header[name]
    else:
        header = change_json(header, random)
    _join_safetensors(path, header, data)


def tensor_metadata(path: Path, random: Random) -> None:
    """Change the metadata of a tensor file, such as the options of a snapshot."""
    header, data = _split_safetensors(path)
    metadata = header.get("__metadata__", {})
    if "options" in metadata and random.random() < 0.7:
        try:
            options = change_json(json.loads(metadata["options"]), random)
            metadata["options"] = json.dumps(options)
        except ValueError:
            metadata["options"] = ""
    else:
        header["__metadata__"] = change_json(metadata, random)
    _join_safetensors(path, header, data)


def tensor_length(path: Path, random: Random) -> None:
    """Write a wrong length of the header."""
    header, data = _split_safetensors(path)
    _join_safetensors(path, header, data, random.choice([0, 1, 2**63, 2**64 - 1, 10**8]))


def not_a_number(path: Path, random: Random) -> None:
    """Make some values of some tensors NaN or infinite."""
    header, data = _split_safetensors(path)
    floats = [
        entry["data_offsets"]
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    ]
    changed = bytearray(data)
    for start, stop in random.sample(floats, min(len(floats), random.choice([1, 2, 40]))):
        if stop > start:
            value = random.choice([float("nan"), float("inf"), float("-inf")])
            changed[start : start + 4] = struct.pack("<f", value)
    _join_safetensors(path, header, bytes(changed))


TENSORS: list[Damage] = [
    tensor_header,
    tensor_header,
    tensor_metadata,
    tensor_metadata,
    tensor_length,
    not_a_number,
]


def _rewrite_zip(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            changed = change(name, content)
            if changed is not None:
                archive.writestr(*changed)


def zip_entry(path: Path, random: Random) -> None:
    """Remove, cut, rename or damage one file inside a zip."""
    with zipfile.ZipFile(path) as archive:
        chosen = random.choice(archive.namelist())
    choice = random.randrange(5)

    def change(name: str, content: bytes) -> tuple[str, bytes] | None:
        if name != chosen:
            return name, content
        if choice == 0:
            return None
        if choice == 1:
            return name, content[: len(content) // 2]
        if choice == 2:
            return random.choice(["../../x", "/tmp/x", "a:b/c", name + "x"]), content
        if choice == 3:
            return name, bytes(random.choice([0, 1, 50 << 20]))
        flipped = bytearray(content or b"\0")
        flipped[random.randrange(len(flipped))] ^= 0xFF
        return name, bytes(flipped)

    _rewrite_zip(path, change)


def zip_pickle(path: Path, random: Random) -> None:
    """Damage the pickle inside a .pth, or replace it with one that would run code."""
    harmful = b"cos\nsystem\n(S'touch pwned'\ntR."
    strange = [harmful, b"(" * 100_000, b"\x80\x04]" + b"\x94]" * 50_000 + b".", b".", b"N."]
    strange += [b"X\xff\xff\xff\x7fab", b"\x80\x02}q\x00(K\x01K\x02u.", b"I" + b"9" * 6000 + b"\n."]

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        if not name.endswith("data.pkl"):
            return name, content
        flipped = bytearray(content)
        for _ in range(random.choice([1, 5])):
            flipped[random.randrange(len(flipped))] = random.randrange(256)
        return name, random.choice([*strange, bytes(flipped), bytes(flipped), bytes(flipped)])

    _rewrite_zip(path, change)


def zip_not_a_number(path: Path, random: Random) -> None:
    """Make the first number of one tensor, or of every tensor, NaN or infinite."""
    value = struct.pack("<f", random.choice([float("nan"), float("inf")]))
    every = random.random() < 0.5
    with zipfile.ZipFile(path) as archive:
        tensors = [name for name in archive.namelist() if "/data/" in name]
    chosen = set(tensors) if every else {random.choice(tensors)}

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, value + content[4:] if name in chosen and len(content) >= 4 else content

    _rewrite_zip(path, change)


TORCH: list[Damage] = [zip_entry, zip_pickle, zip_pickle, zip_not_a_number]
