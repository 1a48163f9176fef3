"""Schedules: the phases of a training run, read from built-in or user-written text files.

    # Comments start with #: purpose, expected time, expected score.
    --size 384 512
    phase  last_epoch  batch_size  subset       learning_rate
    I      38          2           total        2e-4
    II     71          30          selection_1  1.2e-3

Lines that start with -- are flags of train.py: defaults that the command line overrides.
Epochs count from 1. A phase starts after the last epoch of the previous phase and ends with its
own `last_epoch`. An optional sixth column, stage, selects the part of the generator that a phase
trains: all (the default), or for pix2pixhd global (its global generator, at half the size) or
enhancer (its enhancer alone).
"""

from __future__ import annotations

import codecs
import contextlib
import math
import os
import re
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from options.errors import UserError, quote
from options.fields import MOST, closest, read_number
from options.generators import GENERATORS
from options.paths import read_bytes

SUBSETS = ("total", "selection_1", "selection_2")
COLUMNS = ("phase", "last_epoch", "batch_size", "subset", "learning_rate")
STAGE_COLUMN = "stage"
# Parts that a phase can train: the whole generator, or a part that some generators have.
STAGES = ("all", *dict.fromkeys(part for spec in GENERATORS.values() for part in spec.stages))
FOLDER = Path(__file__).parent / "schedules"
# Task -> name of a built-in schedule -> name of the one that replaces it.
ALIASES_BY_TASK = {
    "translation": {"quick": "quick_translation"},
    "segmentation": {"quick": "quick_segmenter"},
}


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs with one batch size, one subset of the pairs and one learning rate.

    `stage` is the part of the generator that the phase trains.
    """

    name: str
    last_epoch: int
    batch_size: int
    subset: str
    learning_rate: float
    stage: str = "all"

    def epochs(self, previous_last_epoch: int) -> range:
        """The epochs of this phase, given the last epoch of the previous one (0 for the first)."""
        return range(previous_last_epoch + 1, self.last_epoch + 1)


@dataclass(frozen=True)
class Schedule:
    """The phases of a run, and the flags that the schedule sets as defaults.

    `flags` maps `--flag` to its value as written ("" for a switch such as `--no-flip`).
    `flag_lines` maps it to its line in the file.
    """

    name: str
    phases: tuple[Phase, ...]
    flags: dict[str, str] = field(default_factory=dict)
    path: str = ""
    flag_lines: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def is_built_in(self) -> bool:
        """Whether the schedule is part of this project, and not the user's own."""
        return Path(self.path).parent == FOLDER

    @property
    def last_epoch(self) -> int:
        return self.phases[-1].last_epoch

    def phase(self, name: str) -> Phase:
        """The phase called `name`; UserError lists the valid names."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        names = ", ".join(phase.name for phase in self.phases)
        raise UserError(
            f"--phase: expected a phase of schedule {self.name} ({names}), got {quote(name)}. "
            "Remove the flag to run all phases"
        )

    def epochs(self, name: str) -> range:
        """The epochs of the phase called `name`."""
        index = self.phases.index(self.phase(name))
        return self.phases[index].epochs(self.phases[index - 1].last_epoch if index else 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain name, phases and flags, for JSON."""
        return {
            "name": self.name,
            "phases": [asdict(phase) for phase in self.phases],
            "flags": dict(self.flags),
        }

    def describe(self) -> str:
        """An aligned table of the phases, with the epochs of each."""
        staged = any(phase.stage != "all" for phase in self.phases)
        rows = [["phase", "epochs", "batch_size", "subset", "learning_rate"]]
        rows[0] += [STAGE_COLUMN] * staged
        for phase in self.phases:
            epochs = self.epochs(phase.name)
            row = [
                phase.name,
                f"{epochs[0]}-{epochs[-1]}",
                str(phase.batch_size),
                phase.subset,
                f"{phase.learning_rate:g}",
            ]
            rows.append(row + [phase.stage] * staged)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        return "\n".join([f"schedule {self.name}", *(line.rstrip() for line in lines)])


def built_in_schedules() -> tuple[str, ...]:
    """The names of the built-in schedules."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))


def load_schedule(name_or_path: str, task: str = "synthesis") -> Schedule:
    """Reads a built-in schedule by name, or a schedule file by path; UserError if it is invalid."""
    names = built_in_schedules()
    name_or_path = ALIASES_BY_TASK.get(task, {}).get(name_or_path, name_or_path)
    path = FOLDER / f"{name_or_path}.txt" if name_or_path in names else Path(name_or_path)
    with contextlib.suppress(RuntimeError):  # no such user
        path = path.expanduser()
    # os.path answers False for names that no file can have
    if os.path.isdir(path):
        raise UserError(
            f"--schedule: expected a schedule file, got the folder {quote(name_or_path)}. Name the "
            "file in it"
        )
    if not os.path.isfile(path):
        near = closest(name_or_path, names) or "main"
        raise UserError(
            f"--schedule: expected {', '.join(names)} or the path of a schedule file, got "
            f"{quote(name_or_path)} (e.g. --schedule {near})"
        )
    try:
        text = _decode(read_bytes(path))
    except OSError as error:
        raise UserError(
            f"{path}: expected a readable schedule, got {error.strerror}. Change its permissions, "
            "or copy it"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected a schedule in UTF-8, got {error.reason} at byte {error.start}. Save "
            "it as UTF-8"
        ) from None
    shown = path.stem if path.parent == FOLDER else str(path)
    return parse_schedule(text, name=path.stem, source=shown, path=str(path))


def _decode(content: bytes) -> str:
    """Decodes UTF-8, or UTF-16 with its byte order mark, which editors on Windows may save."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if content.startswith(marks) else "utf-8-sig")
    if "\0" in text:
        raise UnicodeDecodeError("utf-8", content, content.index(0), len(content), "a zero byte")
    return text


def parse_schedule(text: str, *, name: str, source: str, path: str = "") -> Schedule:
    """Parses the text of a schedule; UserError names `source`, the line and the rule."""
    phases: list[Phase] = []
    flags: dict[str, str] = {}
    flag_lines: dict[str, int] = {}
    header: list[str] | None = None
    number = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].strip()
        if not line:
            continue
        place = f"{source}, line {number}"
        if line.startswith("-"):
            if header is not None:
                raise UserError(
                    f"{place}: expected flags above the table, got {quote(line)} below it. Move "
                    "it up"
                )
            for flag, value in _split_flags(line, place).items():
                if flag in flags:
                    raise UserError(
                        f"{place}: expected each flag once, got {flag} on line {flag_lines[flag]} "
                        "too. Remove one"
                    )
                flags[flag], flag_lines[flag] = value, number
        elif header is None:
            header = _read_header(line, place)
        else:
            phases.append(_read_phase(line, header, phases, place))
    if header is None:
        raise UserError(
            f"{source}, line {number}: expected a table of phases, got the end of the file. Write "
            f"its first row: {'  '.join(COLUMNS)}"
        )
    if not phases:
        raise UserError(
            f"{source}, line {number}: expected at least one phase, got an empty table. Write a "
            "row, e.g. I  38  2  total  2e-4"
        )
    return Schedule(name=name, phases=tuple(phases), flags=flags, path=path, flag_lines=flag_lines)


def _split_flags(line: str, place: str) -> dict[str, str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(
            f"{place}: expected quotes in pairs, got {quote(line)} ({error}). Close the quote"
        ) from None
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flag = flag.replace("_", "-")
            if flag in flags:
                raise UserError(f"{place}: expected each flag once, got {flag} twice. Remove one")
            flags[flag] = [value] if equals else []
        elif not flags:
            raise UserError(
                f"{place}: expected a flag that starts with --, got {quote(word)}. Write -{word}"
            )
        else:
            flags[next(reversed(flags))].append(word)
    return {flag: shlex.join(values) for flag, values in flags.items()}


def _read_header(line: str, place: str) -> list[str]:
    header = line.split()
    named = header + [STAGE_COLUMN] * (STAGE_COLUMN not in header)
    if sorted(named) != sorted((*COLUMNS, STAGE_COLUMN)):
        raise UserError(
            f"{place}: expected the column names {'  '.join(COLUMNS)} (and optionally "
            f"{STAGE_COLUMN}), got {quote(line)}. Write the names first (a flag starts with --, a "
            "comment with #)"
        )
    return header


def _read_phase(line: str, header: list[str], previous: list[Phase], place: str) -> Phase:
    cells = line.split()
    if len(cells) != len(header):
        raise UserError(
            f"{place}: expected {len(header)} values ({', '.join(header)}), got {len(cells)} in "
            f"{quote(line)}. Write all of them"
        )
    row = dict(zip(header, cells, strict=True))
    name, subset = row["phase"], row["subset"]
    if name in {phase.name for phase in previous}:
        raise UserError(
            f"{place}: expected a new phase name, got {quote(name)} again. Choose another"
        )
    if subset not in SUBSETS:
        raise UserError(
            f"{place}: subset: expected one of {', '.join(SUBSETS)}, got {quote(subset)}. Write "
            "one of them"
        )
    stage = row.get(STAGE_COLUMN, "all")
    if stage not in STAGES:
        raise UserError(
            f"{place}: stage: expected one of {', '.join(STAGES)}, got {quote(stage)}. Write one "
            "of them"
        )
    last_epoch = _count(row, "last_epoch", place)
    start = previous[-1].last_epoch if previous else 0
    if last_epoch <= start:
        raise UserError(
            f"{place}: last_epoch: expected {start + 1} or more, got {last_epoch}. The previous "
            f"phase ends with epoch {start}"
        )
    return Phase(
        name=name,
        last_epoch=last_epoch,
        batch_size=_count(row, "batch_size", place),
        subset=subset,
        learning_rate=_rate(row["learning_rate"], place),
        stage=stage,
    )


def _count(row: dict[str, str], column: str, place: str) -> int:
    try:
        value = read_number(int, row[column])
    except ValueError:
        value = 0
    if not 1 <= value <= MOST:
        raise UserError(
            f"{place}: {column}: expected an integer from 1 to {MOST}, got {quote(row[column])} "
            "(e.g. 4)"
        )
    return value


def _rate(text: str, place: str) -> float:
    try:
        value = read_number(float, text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UserError(
            f"{place}: learning_rate: expected a number above 0 and at most 1, got {quote(text)} "
            "(e.g. 2e-4)"
        )
    return value
