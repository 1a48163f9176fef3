"""Damage to images and label files. The order of the table decides the numbered cases."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tools.dev.faults.any_damage import Damage, Random


def _as_image(path: Path, random: Random) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image.copy()


def other_mode(path: Path, random: Random) -> None:
    """Save the image in another color mode."""
    image = _as_image(path, random).convert("L")
    mode = random.choice(["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I;16"])
    image.convert(mode).save(path, "PNG")


def other_palette(path: Path, random: Random) -> None:
    """Save the ids with another palette."""
    image = Image.fromarray(np.asarray(_as_image(path, random).convert("L")) % 29, "P")
    palette = list(range(256))
    random.shuffle(palette)
    colors = random.choice(
        [
            [value for entry in palette for value in (entry, entry, entry)],
            [random.randrange(256) for _ in range(768)],
            [0, 0, 0] * 256,
            [1, 2, 3],
        ]
    )
    image.putpalette(colors)
    image.save(path, "PNG", transparency=random.choice([0, 3, bytes(range(29))]))


def strange_ids(path: Path, random: Random) -> None:
    """Change every id."""
    ids = np.asarray(_as_image(path, random).convert("I")).astype(np.int64)
    shift = random.choice(
        [lambda i: i + 1, lambda i: i * 8, lambda i: 65535 - i, lambda i: i + 200]
    )
    Image.fromarray(shift(ids).astype(np.uint16)).save(path, "PNG")


def other_size(path: Path, random: Random) -> None:
    """Resize the image."""
    size = random.choice([(1, 1), (47, 31), (32, 48), (4800, 32), (1, 3000)])
    form = "JPEG" if path.suffix == ".jpg" else "PNG"
    _as_image(path, random).resize(size, Image.Resampling.NEAREST).save(path, form)


def large_header(path: Path, random: Random) -> None:
    """Write a PNG whose header claims an enormous size or no pixels."""
    target = io.BytesIO()
    Image.new("L", (48, 32)).save(target, "PNG")
    content = bytearray(target.getvalue())
    content[16:24] = struct.pack(">II", *random.choice([(60000, 60000), (0, 9), (2**31 - 1, 1)]))
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def large_text(path: Path, random: Random) -> None:
    """Write a PNG whose comment unpacks to many megabytes."""
    target = io.BytesIO()
    _as_image(path, random).save(target, "PNG")
    content = target.getvalue()
    data = b"comment\0\0" + zlib.compress(bytes(random.choice([3, 80]) << 20))
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + data))
    path.write_bytes(content[:33] + chunk + content[33:])


def animated(path: Path, random: Random) -> None:
    """Save several frames."""
    frames = [Image.new("P", (48, 32), color) for color in range(3)]
    form = random.choice(["GIF", "PNG", "TIFF", "WEBP"])
    if form == "WEBP":
        frames = [frame.convert("RGB") for frame in frames]
    frames[0].save(path, form, save_all=True, append_images=frames[1:])


def other_lossless_form(path: Path, random: Random) -> None:
    """Save the ids in another lossless format, with or without its suffix."""
    form = random.choice(["BMP", "TIFF", "GIF"])
    target = path.with_suffix("." + form.lower()) if random.random() < 0.7 else path
    image = _as_image(path, random).convert("L")
    path.unlink()
    image.save(target, form)


IMAGE: list[Damage] = [
    other_lossless_form,
    other_mode,
    other_palette,
    other_size,
    large_header,
    large_text,
    animated,
    strange_ids,
]
