"""Damage to files, drawn from a seed: what disks, downloads, editors and people do to them.

    damage(path, "label", random)      # changes or replaces the file; says what it did

Every kind of file takes the damages of any file (ANY), and those of its own form.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Random = random.Random
Damage = Callable[[Path, Random], None]
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body></body></html>\n"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 386917263\n"
)
LARGE = 1 << 30  # bytes; a file that damage has made so large is not read
NAMES = [
    "two\nlines",
    " spaces at both ends ",
    "天空与山",
    "e\u0301 decomposed",
    "line\u2028separator",
    "# no comment",
    "-rf",
    "a" * 200,
    "no suffix at all.",
    "tab\there",
    "quote\"and'quote",
    "percent%20",
    "\udcb7\udce7\udcbe\udcb0",  # GBK bytes
    "null.png.exe",
]
NUMBERS = ["nan", "inf", "-1", "0", "1e400", "-0.0", "1" * 5000, "٣", "0x10", "1e-320", "", "2.5"]


def damage(path: Path, kind: str, random: Random) -> str:
    """Damage one file as files of its kind get damaged; the name of what was done."""
    chosen = random.choice([*ANY, *OWN[kind], *OWN[kind], *OWN[kind]])
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGE:
        return "damaged enough"
    try:
        chosen(path, random)
    except (OSError, ValueError, LookupError, struct.error, zipfile.BadZipFile):
        # An earlier damage has left nothing of the file's own form.
        chosen = noise
        chosen(path, random)
    return chosen.__name__


# --- any file


def cut(path: Path, random: Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content) or 1)])


def empty(path: Path, random: Random) -> None:
    path.write_bytes(b"")


def flip_bits(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 3, 20])):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def zero_a_stretch(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    start = random.randrange(len(content) or 1)
    stop = min(len(content), start + random.choice([4, 64, 4096]))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)


def noise(path: Path, random: Random) -> None:
    path.write_bytes(random.randbytes(random.choice([1, 100, 10_000])))


def append(path: Path, random: Random) -> None:
    path.write_bytes(path.read_bytes() + random.randbytes(random.choice([1, 1000])))


def prepend(path: Path, random: Random) -> None:
    path.write_bytes(random.choice([b"\xef\xbb\xbf", b"\n", b"\0"]) + path.read_bytes())


def web_page(path: Path, random: Random) -> None:
    path.write_bytes(random.choice([PAGE, POINTER, b'{"error": "not found"}', b"Not Found"]))


def other_form(path: Path, random: Random) -> None:
    """The name stays, the file is of another form."""
    target = io.BytesIO()
    form = random.choice(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "zip", "npy", "pickle"])
    if form == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("a.txt", "a")
    elif form == "npy":
        np.save(target, np.zeros((2, 2)))
    elif form == "pickle":
        pickle.dump({"a": [1, 2]}, target)
    else:
        Image.new("RGB", (48, 32), "red").save(target, form)
    path.write_bytes(target.getvalue())


def folder_instead(path: Path, random: Random) -> None:
    path.unlink()
    path.mkdir()


def link_instead(path: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to(random.choice([path.name, "nowhere", "/dev/null", "/proc/self/mem"]))


def pipe_instead(path: Path, random: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def missing(path: Path, random: Random) -> None:
    path.unlink()


def sparse(path: Path, random: Random) -> None:
    """A file of many gigabytes, all of them holes."""
    os.truncate(path, 40 << 30)


def renamed(path: Path, random: Random) -> None:
    target = path.with_name(
        random.choice(NAMES) + random.choice([path.suffix, path.suffix.upper()])
    )
    path.rename(target)


def copied(path: Path, random: Random) -> None:
    """A second file of the same stem, or of the same name in other letters."""
    suffix = random.choice([".bmp", ".PNG", ".txt", ".jpg", ".png~", ""])
    path.with_name(path.stem + suffix).write_bytes(path.read_bytes())


ANY: list[Damage] = [
    cut,
    empty,
    flip_bits,
    zero_a_stretch,
    noise,
    append,
    prepend,
    web_page,
    other_form,
    folder_instead,
    link_instead,
    pipe_instead,
    missing,
    sparse,
    renamed,
    copied,
]

# --- images and labels


def _as_image(path: Path, random: Random) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image.copy()


def other_mode(path: Path, random: Random) -> None:
    image = _as_image(path, random).convert("L")
    mode = random.choice(["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I;16"])
    image.convert(mode).save(path, "PNG")


def other_palette(path: Path, random: Random) -> None:
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
    ids = np.asarray(_as_image(path, random).convert("I")).astype(np.int64)
    shift = random.choice(
        [lambda i: i + 1, lambda i: i * 8, lambda i: 65535 - i, lambda i: i + 200]
    )
    Image.fromarray(shift(ids).astype(np.uint16)).save(path, "PNG")


def other_size(path: Path, random: Random) -> None:
    size = random.choice([(1, 1), (47, 31), (32, 48), (4800, 32), (1, 3000)])
    form = "JPEG" if path.suffix == ".jpg" else "PNG"
    _as_image(path, random).resize(size, Image.Resampling.NEAREST).save(path, form)


def large_header(path: Path, random: Random) -> None:
    """A PNG that says of itself that it is enormous, or has no pixel."""
    target = io.BytesIO()
    Image.new("L", (48, 32)).save(target, "PNG")
    content = bytearray(target.getvalue())
    content[16:24] = struct.pack(">II", *random.choice([(60000, 60000), (0, 9), (2**31 - 1, 1)]))
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def large_text(path: Path, random: Random) -> None:
    """A PNG whose comment unpacks to many megabytes."""
    target = io.BytesIO()
    _as_image(path, random).save(target, "PNG")
    content = target.getvalue()
    data = b"comment\0\0" + zlib.compress(bytes(random.choice([3, 80]) << 20))
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + data))
    path.write_bytes(content[:33] + chunk + content[33:])


def animated(path: Path, random: Random) -> None:
    frames = [Image.new("P", (48, 32), color) for color in range(3)]
    form = random.choice(["GIF", "PNG", "TIFF", "WEBP"])
    if form == "WEBP":
        frames = [frame.convert("RGB") for frame in frames]
    frames[0].save(path, form, save_all=True, append_images=frames[1:])


def other_lossless_form(path: Path, random: Random) -> None:
    """Ids in another form of file, with or without its own suffix."""
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

# --- texts: lists, schedules, JSON


def line_damage(path: Path, random: Random) -> None:
    lines = path.read_bytes().split(b"\n")
    index = random.randrange(len(lines))
    lines[index] = random.choice(
        [
            b"\0",
            b"\xff\xfe\xfd",
            lines[index][::-1],
            lines[index] * 3,
            b"x" * 2_000_000,
            b"\x1b[2J",
            "\u2028".join(["a", "b"]).encode(),
            b"",
            lines[0],
        ]
    )
    path.write_bytes(b"\n".join(lines))


def word_damage(path: Path, random: Random) -> None:
    """One word or number of the text is another."""
    text = path.read_bytes().decode("utf-8", "replace")
    words = text.split(" ")
    index = random.randrange(len(words))
    words[index] = random.choice([*NUMBERS, "--", "--no-such", "I", "total", "../../x", "true"])
    path.write_bytes(" ".join(words).encode("utf-8", "surrogateescape"))


def other_encoding(path: Path, random: Random) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    path.write_bytes(text.encode(random.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"])))


def other_line_ends(path: Path, random: Random) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", random.choice([b"\r\n", b"\r", b"\n\n"])))


TEXT: list[Damage] = [line_damage, word_damage, other_encoding, other_line_ends]


def _json_places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            _json_places(value[key], found)
    return found


def change_json(value: Any, random: Random) -> Any:
    """A JSON value with one thing in it missing, doubled or of another kind."""
    places = _json_places(value, [])
    if not places or random.random() < 0.1:
        return random.choice([None, [], {}, "text", 3, [value], True])
    holder, key = random.choice(places)
    if random.random() < 0.25:
        del holder[key]
    else:
        strange: list[Any] = [
            None,
            -1,
            0,
            1e308,
            float("nan"),
            "",
            "x",
            [],
            {},
            True,
            [[]],
            10**30,
            "\ud800",
        ]
        holder[key] = random.choice([*strange, "/etc/passwd", "../..", "a" * 100_000, -0.5])
    return value


def json_value(path: Path, random: Random) -> None:
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps(change_json(value, random)))


def json_form(path: Path, random: Random) -> None:
    text = path.read_text()
    strange = ["[" * 100_000, '{"a":' * 50_000, "1" * 10_000, text[:-2], text + text, "NaN", '"\\']
    path.write_text(random.choice([*strange, text.replace('"', "'"), text.replace(":", ":,", 1)]))


JSON: list[Damage] = [json_value, json_value, json_form, other_encoding]

# --- weights


def _split_safetensors(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _join_safetensors(path: Path, header: Any, data: bytes, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    length = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", length) + text + data)


def tensor_header(path: Path, random: Random) -> None:
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
    """What a file of tensors says of itself is changed: a snapshot's options among it."""
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
    header, data = _split_safetensors(path)
    _join_safetensors(path, header, data, random.choice([0, 1, 2**63, 2**64 - 1, 10**8]))


def not_a_number(path: Path, random: Random) -> None:
    """Some values of some tensor are NaN or infinite."""
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
    """One file inside a zip is missing, cut, renamed or damaged."""
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
    """The pickle inside a .pth is damaged, or one that would run code."""
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
    """The first number of one tensor, or of every tensor, is not finite."""
    value = struct.pack("<f", random.choice([float("nan"), float("inf")]))
    every = random.random() < 0.5
    with zipfile.ZipFile(path) as archive:
        tensors = [name for name in archive.namelist() if "/data/" in name]
    chosen = set(tensors) if every else {random.choice(tensors)}

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, value + content[4:] if name in chosen and len(content) >= 4 else content

    _rewrite_zip(path, change)


TORCH: list[Damage] = [zip_entry, zip_pickle, zip_pickle, zip_not_a_number]

OWN: dict[str, Sequence[Damage]] = {
    "label": IMAGE,
    "photo": IMAGE,
    "text": TEXT,
    "json": JSON,
    "tensors": TENSORS,
    "torch": TORCH,
    "any": ANY,
}
