"""Schedules: phases of a training run, read from a text file that users write too.

    # Lines that begin with # say what it is, how long it takes, what it reaches.
    --size 384 512
    phase  last_epoch  batch_size  subset       learning_rate
    I      38          2           total        2e-4
    II     71          30          selection_1  1.2e-3

A sixth column, stage, may say what a phase trains: all (as without it), or for pix2pixhd global
(its global generator, at half the size) or enhancer (its enhancer alone).
Lines that begin with -- are flags of train.py: defaults that the command line overrules.
Epochs count from 1; a phase runs from the epoch after the last phase's last to its own last.
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
from options.paths import read_bytes
from options.run import MOST, closest, read_number

SUBSETS = ("total", "selection_1", "selection_2")
COLUMNS = ("phase", "last_epoch", "batch_size", "subset", "learning_rate")
STAGE_COLUMN = "stage"
# Stage -> the generator that has it, None for every one.
STAGES: dict[str, str | None] = {"all": None, "global": "pix2pixhd", "enhancer": "pix2pixhd"}
FOLDER = Path(__file__).parent / "schedules"
# Task -> built-in schedules that another one stands for.
STANDS_FOR = {"translation": {"quick": "quick_translation"}}


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one batch size, one subset of the pairs and one learning rate.

    `stage` says what of the generator it trains.
    """

    name: str
    last_epoch: int
    batch_size: int
    subset: str
    learning_rate: float
    stage: str = "all"

    def epochs(self, previous_last_epoch: int) -> range:
        """The epochs of this phase, given the last epoch of the phase before (0 for none)."""
        return range(previous_last_epoch + 1, self.last_epoch + 1)


@dataclass(frozen=True)
class Schedule:
    """The phases of a run, and the flags that it sets as defaults.

    `flags` maps `--flag` to its value as written ("" for a switch such as `--no-flip`);
    `flag_lines` says on which line of the file each stands.
    """

    name: str
    phases: tuple[Phase, ...]
    flags: dict[str, str] = field(default_factory=dict)
    path: str = ""
    flag_lines: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with the program; another is a person's own."""
        return Path(self.path).parent == FOLDER

    @property
    def last_epoch(self) -> int:
        return self.phases[-1].last_epoch

    def phase(self, name: str) -> Phase:
        """The phase called `name`; UserError names those that there are."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        names = ", ".join(phase.name for phase in self.phases)
        raise UserError(
            f"--phase is a phase of schedule {self.name}: {quote(name)} is not; "
            f"write one of {names}, or leave it out to run all"
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
        """The table of the phases, aligned, with the epochs of each."""
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


def stage_needs(stage: str) -> str | None:
    """The generator that a stage needs, or None where any will do."""
    return STAGES[stage]


def built_in_schedules() -> tuple[str, ...]:
    """The names of the schedules that come with the program."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))


def load_schedule(name_or_path: str, task: str = "synthesis") -> Schedule:
    """Read a built-in schedule by name, or a schedule file by path; UserError where it is off."""
    names = built_in_schedules()
    name_or_path = STANDS_FOR.get(task, {}).get(name_or_path, name_or_path)
    path = FOLDER / f"{name_or_path}.txt" if name_or_path in names else Path(name_or_path)
    with contextlib.suppress(RuntimeError):  # nobody is called that
        path = path.expanduser()
    # os.path, to which a name that is too long or no name is no file either
    if os.path.isdir(path):
        raise UserError(
            f"--schedule is a schedule file: {quote(name_or_path)} is a folder; name the file in it"
        )
    if not os.path.isfile(path):
        near = closest(name_or_path, names)
        known = ", ".join(names)
        mend = f"write --schedule {near}" if near else f"write one of {known}"
        raise UserError(
            f"--schedule is {known} or the path of a schedule file: {quote(name_or_path)} is "
            "neither; "
            f"{mend}"
        )
    try:
        text = _decode(read_bytes(path))
    except OSError as error:
        raise UserError(
            f"{path}: a schedule must be readable: {error.strerror}; let it be read, or copy it"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: a schedule is a text file in UTF-8: {error.reason} at byte {error.start}; "
            "save it as UTF-8"
        ) from None
    shown = path.stem if path.parent == FOLDER else str(path)
    return parse_schedule(text, name=path.stem, source=shown, path=str(path))


def _decode(content: bytes) -> str:
    """UTF-8; or UTF-16, as Windows' editors may save it, where its mark says so."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if content.startswith(marks) else "utf-8-sig")
    if "\0" in text:
        raise UnicodeDecodeError("utf-8", content, content.index(0), len(content), "a zero byte")
    return text


def parse_schedule(text: str, *, name: str, source: str, path: str = "") -> Schedule:
    """Read the text of a schedule; UserError names `source`, the line and the rule."""
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
                raise UserError(f"{place}: flags stand above the table: {quote(line)}; move it up")
            for flag, value in _split_flags(line, place).items():
                if flag in flags:
                    raise UserError(
                        f"{place}: a flag stands once: {flag} is on line {flag_lines[flag]} too; "
                        "take one out"
                    )
                flags[flag], flag_lines[flag] = value, number
        elif header is None:
            header = _read_header(line, place)
        else:
            phases.append(_read_phase(line, header, phases, place))
    if header is None:
        raise UserError(
            f"{source}, line {number}: a schedule has a table, and the file ended without one; "
            f"write the row: {'  '.join(COLUMNS)}"
        )
    if not phases:
        raise UserError(
            f"{source}, line {number}: a schedule has a phase or more, and the table is empty; "
            "write for example: I  38  2  total  2e-4"
        )
    return Schedule(name=name, phases=tuple(phases), flags=flags, path=path, flag_lines=flag_lines)


def _split_flags(line: str, place: str) -> dict[str, str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(
            f"{place}: quotes come in pairs: {quote(line)} ({error}); close it"
        ) from None
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flag = flag.replace("_", "-")
            if flag in flags:
                raise UserError(f"{place}: a flag stands once: {flag} is here twice; take one out")
            flags[flag] = [value] if equals else []
        elif not flags:
            raise UserError(
                f"{place}: a flag begins with --: {quote(word)} does not; write -{word}"
            )
        else:
            flags[next(reversed(flags))].append(word)
    return {flag: shlex.join(values) for flag, values in flags.items()}


def _read_header(line: str, place: str) -> list[str]:
    header = line.split()
    named = header + [STAGE_COLUMN] * (STAGE_COLUMN not in header)
    if sorted(named) != sorted((*COLUMNS, STAGE_COLUMN)):
        raise UserError(
            f"{place}: the first row names the columns {'  '.join(COLUMNS)}, and may name "
            f"{STAGE_COLUMN}: {quote(line)} does not; write that row there (a flag begins with "
            "--, a comment with #)"
        )
    return header


def _read_phase(line: str, header: list[str], before: list[Phase], place: str) -> Phase:
    cells = line.split()
    if len(cells) != len(header):
        raise UserError(
            f"{place}: a phase has {len(header)} values ({', '.join(header)}): "
            f"{quote(line)} has {len(cells)}; write all of them"
        )
    row = dict(zip(header, cells, strict=True))
    name, subset = row["phase"], row["subset"]
    if name in {phase.name for phase in before}:
        raise UserError(
            f"{place}: a phase's name stands once: {quote(name)} is there; give it another"
        )
    if subset not in SUBSETS:
        raise UserError(
            f"{place}: subset is one of {', '.join(SUBSETS)}: {quote(subset)} is not; write one of "
            "them"
        )
    stage = row.get(STAGE_COLUMN, "all")
    if stage not in STAGES:
        raise UserError(
            f"{place}: stage is one of {', '.join(STAGES)}: {quote(stage)} is not; write one of "
            "them"
        )
    last_epoch = _whole(row, "last_epoch", place)
    previous = before[-1].last_epoch if before else 0
    if last_epoch <= previous:
        raise UserError(
            f"{place}: last_epoch grows from phase to phase: {last_epoch} comes after {previous}; "
            f"write {previous + 1} or more"
        )
    return Phase(
        name=name,
        last_epoch=last_epoch,
        batch_size=_whole(row, "batch_size", place),
        subset=subset,
        learning_rate=_rate(row["learning_rate"], place),
        stage=stage,
    )


def _whole(row: dict[str, str], column: str, place: str) -> int:
    try:
        value = read_number(int, row[column])
    except ValueError:
        value = 0
    if not 1 <= value <= MOST:
        raise UserError(
            f"{place}: {column} is a whole number from 1 to {MOST}: {quote(row[column])} is not; "
            "write for example 4"
        )
    return value


def _rate(text: str, place: str) -> float:
    try:
        value = read_number(float, text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UserError(
            f"{place}: learning_rate is a number above 0, 1 at most: {quote(text)} is not; "
            "write for example 2e-4"
        )
    return value
