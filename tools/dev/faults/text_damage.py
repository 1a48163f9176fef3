"""Damage to lists, schedules and JSON. The order of the tables decides the numbered cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.dev.faults.any_damage import Damage, Random

NUMBERS = ["nan", "inf", "-1", "0", "1e400", "-0.0", "1" * 5000, "٣", "0x10", "1e-320", "", "2.5"]


def line_damage(path: Path, random: Random) -> None:
    """Replace one line."""
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
    """Replace one word or number of the text."""
    text = path.read_bytes().decode("utf-8", "replace")
    words = text.split(" ")
    index = random.randrange(len(words))
    words[index] = random.choice([*NUMBERS, "--", "--no-such", "I", "total", "../../x", "true"])
    path.write_bytes(" ".join(words).encode("utf-8", "surrogateescape"))


def other_encoding(path: Path, random: Random) -> None:
    """Encode the text differently."""
    text = path.read_bytes().decode("utf-8", "replace")
    path.write_bytes(text.encode(random.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"])))


def other_line_ends(path: Path, random: Random) -> None:
    """Write other line ends."""
    path.write_bytes(path.read_bytes().replace(b"\n", random.choice([b"\r\n", b"\r", b"\n\n"])))


TEXT: list[Damage] = [line_damage, word_damage, other_encoding, other_line_ends]


def _json_places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            _json_places(value[key], found)
    return found


def change_json(value: Any, random: Random) -> Any:
    """A JSON value in which one entry is missing, repeated or of another type."""
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
    """Change one value of the JSON."""
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps(change_json(value, random)))


def json_form(path: Path, random: Random) -> None:
    """Break the syntax of the JSON."""
    text = path.read_text()
    strange = ["[" * 100_000, '{"a":' * 50_000, "1" * 10_000, text[:-2], text + text, "NaN", '"\\']
    path.write_text(random.choice([*strange, text.replace('"', "'"), text.replace(":", ":,", 1)]))


JSON: list[Damage] = [json_value, json_value, json_form, other_encoding]
