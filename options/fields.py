"""Fields of the options dataclasses, with flag, range, help and rules.

    depth: int = option(7, "number of 2x downsamplings", minimum=4, maximum=8, resume="fixed")

`option_fields` lists the fields of a dataclass; `read_groups` and `read_fields` read JSON.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from options.errors import UserError, quote
from options.json_text import parse_json

# Upper bound of every count: a larger number is a typing error, and no array could hold so many.
MOST = 10**9

# Whether a run may resume with another value: no; yes, with a log message; yes.
Resume: TypeAlias = Literal["fixed", "logged", "free"]


@dataclass(frozen=True)
class Need:
    """A condition on the other options without which a flag has no effect.

    `flags` names, in words, the flags that fulfill it.
    """

    flags: str
    holds: Callable[[Any], bool]


def option(
    default: Any,
    help: str,
    *,
    flags: Sequence[str] = (),
    metavar: str | None = None,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    words: Mapping[str, int] | None = None,
    resume: Resume = "fixed",
    needs: Need | None = None,
    optional_in_files: bool = False,
) -> Any:
    """A dataclass field with the metadata of an `Option`."""
    metadata = dict(locals())
    del metadata["default"]
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """A field of an options dataclass, as a flag with its rules.

    `kind` is bool, int, float or str. `choices` is empty if any value of the kind is valid.
    `words` maps names to the numbers that they mean. `resume` is whether a run may resume with
    another value. `needs` is the condition under which the field has an effect. Files may omit a
    field that is `optional_in_files`: it then has its default.
    """

    group: str
    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    flags: tuple[str, ...]
    metavar: str
    minimum: float | None
    maximum: float | None
    above: float | None
    below: float | None
    words: Mapping[str, int]
    resume: Resume
    needs: Need | None
    optional_in_files: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def expects(self) -> str:
        """The valid values, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "a text that is not empty"
        text = "an integer" if self.kind is int else "a number"
        if self.minimum is not None and self.maximum is not None:
            text += f" from {_plain(self.minimum)} to {_plain(self.maximum)}"
        elif self.minimum is not None:
            text += f" of {_plain(self.minimum)} or more"
        if self.above is not None:
            text += f" above {_plain(self.above)}"
        if self.below is not None:
            text += f" and below {_plain(self.below)}"
        if self.words:
            text += " or " + ", ".join(self.words)
        return text + (" or none" if self.optional else "")

    def refuse(self, value: Any) -> UserError:
        """The error for a value that is not valid."""
        rule = f"{self.flag}: expected {self.expects}, got {_show(value)}"
        if self.kind is bool:
            return UserError(f"{rule}. Write {self.flag} or --no-{self.flag[2:]}")
        example: Any = closest(str(value), self.choices)
        if example is None:
            example = self.metavar if self.default in (None, value) else self.default
        return UserError(f"{rule} (e.g. {self.flag} {show(example)})")

    def parse(self, text: str | bool) -> Any:
        """Parse a flag's text into the field's value, or raise UserError."""
        if isinstance(text, bool):
            return self.check(text)
        value: Any = text
        if self.optional and self.kind is not str and text.lower() == "none":
            return None
        if text in self.words:
            value = self.words[text]
        elif self.kind in (int, float):
            try:
                value = read_number(self.kind, text)
            except ValueError:
                raise self.refuse(text) from None
        return self.check(value)

    def check(self, value: Any) -> Any:
        """Return `value` (an integer as float for a float field), or raise UserError."""
        if value is None and self.optional:
            return None
        if self.kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if type(value) is not self.kind:
            raise self.refuse(value)
        if self.choices and value not in self.choices:
            raise self.refuse(value)
        if isinstance(value, str):
            fits = bool(value.strip()) and "\0" not in value
            check_encoding(self.flag, value)
        else:
            fits = isinstance(value, bool) or self._in_range(value)
        if not fits:
            raise self.refuse(value)
        return value

    def show(self, value: Any) -> str:
        """The flag with this value, as a user types it."""
        if self.kind is bool:
            return self.flag if value else f"--no-{self.flag[2:]}"
        one_line = not isinstance(value, str) or value.isprintable()
        return f"{self.flag} {show(value) if one_line else quote(value)}"

    def _in_range(self, value: Any) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def read_number(kind: type, text: str) -> Any:
    """Parse a number of `kind` in ASCII digits without underscores; raise ValueError otherwise."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return kind(text)


def check_encoding(flag: str, text: str) -> None:
    """Check that a text is UTF-8: options.json, logs and image names cannot hold other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{flag}: expected UTF-8, got {quote(text)}. Rename the file or folder, or link to it "
            "under another name"
        ) from None


def closest(word: str, known: tuple[str, ...] | list[str]) -> str | None:
    """The entry of `known` most similar to `word`, None if none is similar."""
    import difflib  # only for an error: keeps the start fast

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


@cache
def option_fields(cls: type) -> tuple[Option, ...]:
    """The options of a flat dataclass, in order."""
    hints = get_type_hints(cls)
    return tuple(_describe_field(cls, f, hints[f.name]) for f in dataclasses.fields(cls))


def _describe_field(cls: type, f: dataclasses.Field[Any], hint: Any) -> Option:
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        optional = True
    metadata = dict(f.metadata)
    choices = tuple(metadata.pop("choices")) or (
        get_args(hint) if get_origin(hint) is Literal else ()
    )
    kind = str if choices else hint
    metavar = metadata.pop("metavar")
    if choices:
        metavar = "{" + ",".join(choices) + "}"
    elif metavar is None:
        metavar = {int: "N", float: "X", str: "TEXT", bool: ""}[kind]
    return Option(
        group=cls.__name__.removesuffix("Options").lower(),
        name=f.name,
        kind=kind,
        choices=choices,
        optional=optional,
        default=f.default,
        flags=tuple(metadata.pop("flags")),
        metavar=metavar,
        words=metadata.pop("words") or {},
        **metadata,
    )


def read_json(text: str, source: str) -> Any:
    """Parse a JSON text in which no name occurs twice; raise UserError that names `source`."""

    def no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(
                f"{source}: expected each name once, got {', '.join(twice)} twice. Remove one"
            )
        return dict(pairs)

    try:
        return parse_json(text, object_pairs_hook=no_twice)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{source}: expected JSON ({error}). Is the file complete?") from None


def read_groups(tree: Any, groups: Mapping[str, type]) -> tuple[dict[str, Any], list[str]]:
    """Read nested dictionaries into dataclasses, group -> instance; also returns the faults.

    A group may be missing if files may omit each of its fields.
    """
    if not isinstance(tree, Mapping):
        return {}, [f"the file holds {type(tree).__name__}, not an object of groups"]
    faults = [f"unknown group {name}" for name in tree if name not in groups]
    read: dict[str, Any] = {}
    for group, cls in groups.items():
        optional = all(option.optional_in_files for option in option_fields(cls))
        if group not in tree and not optional:
            faults.append(f"missing group {group}")
            continue
        values, group_faults = read_fields(tree.get(group, {}), cls, f"{group}.")
        faults += group_faults
        if not group_faults:
            read[group] = cls(**values)
    return read, faults


def read_fields(tree: Any, cls: type, prefix: str) -> tuple[dict[str, Any], list[str]]:
    """Read a dictionary into the fields of a dataclass, name -> value; also returns the faults."""
    if not isinstance(tree, Mapping):
        return {}, [f"{prefix.rstrip('.') or 'the file'} is {type(tree).__name__}, not an object"]
    options = {option.name: option for option in option_fields(cls)}
    faults = [f"unknown {prefix}{name}" for name in tree if name not in options]
    faults += [
        f"missing {prefix}{name}"
        for name, option in options.items()
        if name not in tree and not option.optional_in_files
    ]
    values: dict[str, Any] = {}
    for name, option in options.items():
        if name in tree:
            try:
                values[name] = option.check(tree[name])
            except UserError:
                faults.append(f"{prefix}{name} is {_show(tree[name])}, not {option.expects}")
    return values, faults


def faults_error(source: str, faults: list[str]) -> UserError:
    """The error that lists the faults of a file of options."""
    return UserError(
        f"{source}: expected every field of this version and no other: {'; '.join(faults)}. "
        "Write the file again with this version"
    )


def describe_table(rows: Sequence[tuple[Option, Any]]) -> str:
    """An aligned table of options and values, with the default of each value that differs."""
    names = max(len(option.name) for option, _ in rows)
    shown = max(len(show(value)) for option, value in rows if option.kind is not str)
    lines: list[str] = []
    for option, value in rows:
        if option.group not in lines:
            lines.append(option.group)
        line = f"  {option.name:<{names}}  {show(value):<{shown}}"
        if value != option.default:
            line += f"  (default {show(option.default)})"
        lines.append(line.rstrip())
    return "\n".join(lines)


def show(value: Any) -> str:
    """A value as a user types it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _plain(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 400 else f"{text[:20]}... ({len(text)} characters)"


def _show(value: Any) -> str:
    return quote(value) if isinstance(value, str) else show(value)


def _plain(number: float) -> str:
    return str(int(number)) if abs(number) < 1e15 and number == int(number) else repr(number)
