"""Command lines of train.py and test.py, parsed into the options dataclasses.

    options = parse_train(sys.argv[1:])     # flag > schedule file > default
    options = parse_test(sys.argv[1:])

`--input_path` and `--input-path` are the same flag. Errors raise UserError with one line; `--help`
prints and raises SystemExit(0).
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from options.errors import UserError, cut, quote
from options.fields import Option, closest, option_fields
from options.generators import DEPTH_WORDS, GENERATORS, PUBLISHED_TASKS
from options.rules import no_effect
from options.schedule import Schedule, load_schedule
from options.test import TestOptions
from options.train import RUN_FIELDS, RUN_GROUPS, RunOptions

TRAIN_USAGE = """bash train.sh [FLAGS]        set up the environment once, then train
       python train.py [FLAGS]      train, in an environment that is set up

  bash train.sh
      generate the demo dataset, train schedule quick, make the submission
  bash train.sh --data DIR --schedule main --name RUN
      the contest run; the same command again resumes where it stopped
  bash train.sh --data DIR --schedule aux --name RUN-aux
      the second model of the contest run
  bash train.sh --data DIR --task translation --name RUN
      translate the photos in DIR/content to the style of those in DIR/style
  bash train.sh --data DIR --task segmentation --name RUN
      train a segmenter on the pairs in DIR, to measure images with
"""
TEST_USAGE = """bash test.sh --name RUN [FLAGS]        set up the environment once, then generate
       python test.py --input_path LABELS --output_path DIR [FLAGS]

  bash test.sh --name RUN
      generate an image per test layout: images, submission.zip, overview.png
  bash test.sh --name RUN --input_path LABELS --img_path STYLES --output_path DIR
      the flags of the contest
  bash test.sh --name RUN --style a.jpg --style-to b.jpg --steps 8
      interpolate from one style to another, per layout
"""
EPILOG = "Flags may be written with - or _: --input-path is --input_path."
TRAIN_EPILOG = (
    "Flags in a schedule file (options/schedules/NAME.txt) override the defaults above, and the "
    "command line overrides both. A generator named on the command line also sets its published "
    "values, except those that your own schedule file sets. " + EPILOG
)
# The help starts with the flags that most runs set.
HELP_ORDER = (
    "training", "data", "generator", "discriminator", "loss", "segmenter", "optimizer",
)  # fmt: skip

# Flags of a single run; a schedule is shared by many runs.
NOT_IN_SCHEDULES = ("input_path", "name", "schedule", "phase", "results_path", "dry_run")


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises its errors as UserError."""

    def error(self, message: str) -> NoReturn:
        found = re.match(r"argument (\S+): (.*)", cut(message))
        if not found:
            raise UserError(f"flags: {cut(message)}. See --help")
        flag, fault = found[1].split("/")[0], found[2]
        if fault.startswith("expected"):
            expected, got = ("two values (H W)", "fewer") if "2" in fault else ("a value", "none")
            raise UserError(f"{flag}: expected {expected}, got {got}. See --help")
        if fault.startswith("ignored explicit argument"):
            value = fault.removeprefix("ignored explicit argument ")
            raise UserError(
                f"{flag}: expected no value, got {value}. Write {flag} or {_opposite(flag)}"
            )
        raise UserError(f"{flag}: {fault}. See --help")


def _opposite(flag: str) -> str:
    return "--" + flag[5:] if flag.startswith("--no-") else "--no-" + flag[2:]


class _Switch(argparse.Action):
    """Stores True for `--flip` and False for `--no-flip`.

    argparse's BooleanOptionalAction would add a second default to the help, next to that of the
    dataclass.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, **rest: Any) -> None:
        names = [*option_strings, *(_opposite(name) for name in option_strings)]
        super().__init__(names, dest, nargs=0, **rest)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, not (option_string or "").startswith("--no-"))


def _build(usage: str, epilog: str, groups: Mapping[str, type]) -> _Parser:
    width = max(80, min(110, shutil.get_terminal_size((100, 24)).columns))
    parser = _Parser(
        usage=usage,
        epilog=epilog,
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, 2, 34, width),
    )
    for title, cls in groups.items():
        text = (cls.__doc__ or "").splitlines()[0].rstrip(".")
        group = parser.add_argument_group(f"{title} ({text[0].lower()}{text[1:]})")
        for option in option_fields(cls):
            _add(group, option)
        if "height" in {option.name for option in option_fields(cls)}:
            group.add_argument(
                "--size", nargs=2, metavar=("H", "W"), help="--height and --width in one flag"
            )
    parser.add_argument("-h", "--help", action="help", help="print this help and exit")
    return parser


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    help = option.help.replace("%", "%%")
    if option.default is not None:
        shown = option.default
        if isinstance(shown, bool):
            shown = "on" if shown else "off"
        elif isinstance(shown, float) and shown.is_integer():
            shown = int(shown)
        help += f" (default: {shown})"
    names = [option.flag, *option.flags]
    if option.kind is bool:
        group.add_argument(*names, dest=option.name, action=_Switch, help=help)
    else:
        group.add_argument(*names, dest=option.name, metavar=option.metavar, help=help)


def _read(parser: _Parser, argv: Sequence[str]) -> dict[str, str | bool]:
    """Returns field -> its text on the command line (True or False for a switch)."""
    words = [_hyphens(word) for word in argv]
    space, left = parser.parse_known_args(words)
    if left:
        raise _unknown(parser, left[0])
    given: dict[str, Any] = vars(space)
    for name, value in given.items():
        # argparse drops a value of -- and keeps the remaining ones
        if isinstance(value, list) and len(value) != (2 if name == "size" else 1):
            parser.error(f"argument --{name.replace('_', '-')}: expected {len(value) + 1}")
    if "size" in given:
        height, width = given.pop("size")
        twice = [name for name in ("height", "width") if name in given]
        if twice:
            raise UserError(
                f"--size: expected no --{twice[0]} next to it, got --{twice[0]} {given[twice[0]]}. "
                "Remove one of the two"
            )
        given.update(height=height, width=width)
    return given


def _hyphens(word: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def _unknown(parser: _Parser, word: str) -> UserError:
    if not word.startswith("-"):
        return UserError(f"flags: expected a flag before a value, got {quote(word)}. See --help")
    flag = word.partition("=")[0]
    known = [name for action in parser._actions for name in action.option_strings]
    near = closest("--" + flag.lstrip("-"), known)
    fix = f"Did you mean {near}?" if near else "See --help"
    shown = flag if flag.isprintable() and len(flag) < 80 else quote(flag)
    return UserError(f"{shown}: unknown flag. {fix}")


def parse_train(argv: Sequence[str], log: Callable[[str], object] | None = None) -> RunOptions:
    """Parses train.py's arguments (flag over schedule file over default) and checks every rule.

    Without --name the run is called `<data>-<schedule>-<generator>`. If the command line names
    another generator or task than the user's own schedule, flags of the schedule without effect
    are dropped; `log` receives a note for each of them, and for each that differs from the
    published value.
    """
    parser = _build(TRAIN_USAGE, TRAIN_EPILOG, {group: RUN_GROUPS[group] for group in HELP_ORDER})
    raw = _read(parser, argv)
    given = {name: RUN_FIELDS[name].parse(text) for name, text in raw.items()}
    task = given.get("task", RUN_FIELDS["task"].default)
    schedule = load_schedule(given.get("schedule", RUN_FIELDS["schedule"].default), task)
    recipe, places = _read_recipe(parser, schedule)
    if "task" in recipe and "task" in given and recipe["task"] != task:
        raise UserError(
            f"--schedule {schedule.name}: expected --task {recipe['task']}, got --task {task}. "
            "Name another --schedule"
        )
    merged = _merge(recipe, given, own=not schedule.is_built_in)
    options = _assemble(merged)
    notes = _notes_on_published(recipe, given, options) if not schedule.is_built_in else {}
    # Drop the schedule's flags for a generator that the command line replaces.
    while stale := {n: need for n, need in options.unused().items() if n in merged}:
        for name, need in stale.items():
            if name in given:
                raise no_effect(RUN_FIELDS[name], given[name], need)
            if name in recipe and not schedule.is_built_in:
                shown = RUN_FIELDS[name].show(recipe[name])
                notes[name] = f"{shown} has no effect without {need} and is dropped"
            del merged[name]
        options = _assemble(merged)
    _check_depth_word(raw, options)
    _check_stages(schedule, options)
    _check_data(schedule, options)
    if options.training.phase is not None:
        schedule.phase(options.training.phase)
    if options.training.name is None:
        options = _assemble({**merged, "name": _derive_name(options, schedule)})
    options.validate()
    for name, note in notes.items():
        if log is not None:
            log(f"{places[name]}: {note}")
    return options


def parse_test(argv: Sequence[str]) -> TestOptions:
    """Parses test.py's arguments and checks every rule."""
    fields = {option.name: option for option in option_fields(TestOptions)}
    raw = _read(_build(TEST_USAGE, EPILOG, {"test": TestOptions}), argv)
    return TestOptions(**{name: fields[name].parse(text) for name, text in raw.items()}).validate()


def _read_recipe(parser: _Parser, schedule: Schedule) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns field -> value and field -> file and line for the flags of a schedule file."""
    source = schedule.path if schedule.path else schedule.name
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    raw: dict[str, str | bool] = {}
    for flag, text in schedule.flags.items():
        place = f"{source}, line {schedule.flag_lines.get(flag, 0)}"
        try:
            words = shlex.split(text)
            if flag in ("-h", "--help"):
                raise UserError("--help: expected on the command line only. Remove it")
            # A value may start with a minus; joined by = argparse does not read it as a flag.
            read = _read(parser, [f"{flag}={words[0]}"] if len(words) == 1 else [flag, *words])
            for name, value in read.items():
                if name in NOT_IN_SCHEDULES:
                    raise UserError(
                        f"{flag}: expected flags that many runs share, got a flag of a single run. "
                        "Write it on the command line"
                    )
                if name in values:
                    raise UserError(
                        f"{flag}: expected each flag once, got {name} again. Remove one"
                    )
                values[name], raw[name] = RUN_FIELDS[name].parse(value), value
                places[name] = place
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
    options = _assemble(_merge(values, {}, own=True))
    for name, need in options.unused().items():
        if name in values:
            raise UserError(f"{places[name]}: {no_effect(RUN_FIELDS[name], values[name], need)}")
    try:
        _check_depth_word(raw, options)
    except UserError as error:
        raise UserError(f"{places['num_downsamples']}: {error}") from None
    return values, places


def _merge(recipe: Mapping[str, Any], given: Mapping[str, Any], *, own: bool) -> dict[str, Any]:
    """Returns field -> value: flag over schedule, plus the published values.

    The published values of generator and task override a built-in schedule made for others. They
    never override the user's own schedule: its values are deliberate.
    """
    published = _published(recipe, given)
    if own or _chosen(recipe, given) == _chosen(recipe, {}):
        return {**published, **recipe, **given}
    return {**recipe, **published, **given}


def _chosen(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str]:
    """Returns generator and task."""
    defaults = {name: RUN_FIELDS[name].default for name in ("generator", "task")}
    merged = {**defaults, **recipe, **given}
    return merged["generator"], merged["task"]


def _published(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    generator, task = _chosen(recipe, given)
    return {**GENERATORS[generator].published, **PUBLISHED_TASKS.get(task, {})}


def _notes_on_published(
    recipe: Mapping[str, Any], given: Mapping[str, Any], options: RunOptions
) -> dict[str, str]:
    """Returns field -> a note on each schedule flag that differs from the published value."""
    generator, task = _chosen(recipe, given)
    if (generator, task) == _chosen(recipe, {}):
        return {}
    unused = options.unused()
    return {
        name: f"{RUN_FIELDS[name].show(recipe[name])} is kept; {generator} for {task} was "
        f"published with {RUN_FIELDS[name].show(value)}"
        for name, value in _published(recipe, given).items()
        if name in recipe and name not in {*given, *unused} and recipe[name] != value
    }


def _assemble(values: Mapping[str, Any]) -> RunOptions:
    groups: dict[str, dict[str, Any]] = {group: {} for group in RUN_GROUPS}
    for name, value in values.items():
        groups[RUN_FIELDS[name].group][name] = value
    return RunOptions(**{group: cls(**groups[group]) for group, cls in RUN_GROUPS.items()})


def _check_depth_word(raw: Mapping[str, str | bool], options: RunOptions) -> None:
    word, generator = raw.get("num_downsamples"), options.generator
    if word in DEPTH_WORDS and word not in generator.spec.depth_words:
        raise UserError(
            f"--num-downsamples: {word} is a depth of spade, got --generator "
            f"{generator.generator}. Write --num-downsamples {DEPTH_WORDS[str(word)]}"
        )


def _check_stages(schedule: Schedule, options: RunOptions) -> None:
    generator = options.generator
    for phase in schedule.phases:
        if phase.stage in ("all", *generator.spec.stages):
            continue
        others = [name for name, spec in GENERATORS.items() if phase.stage in spec.stages]
        raise UserError(
            f"--schedule {schedule.name}: expected --generator {' or '.join(others)} for phase "
            f"{phase.name} (stage {phase.stage}), got {generator.generator}. Name another "
            "--schedule, or write stage all"
        )


def _check_data(schedule: Schedule, options: RunOptions) -> None:
    if options.data.task != "translation":
        return
    if options.data.input_path is None:
        raise UserError(
            "--task translation: expected photos, got the built-in dataset of pairs. Name --data "
            "DIR with DIR/content and DIR/style"
        )
    for phase in schedule.phases:
        if phase.subset != "total":
            raise UserError(
                f"--task translation: expected subset total, got {phase.subset} in phase "
                f"{phase.name} of schedule {schedule.name}, which is chosen by layouts. Write "
                "--schedule quick or translation"
            )


def _derive_name(options: RunOptions, schedule: Schedule) -> str:
    data = "demo"
    if options.data.input_path is not None:
        path = Path(options.data.input_path)
        data = path.name if path.name not in ("", "..") else path.resolve().name
    parts = [_shorten(re.sub(r"[^\w.-]+", "-", part).strip("-.")) for part in (data, schedule.name)]
    segments = options.data.task == "segmentation"
    network = options.segmenter.encoder if segments else options.generator.generator
    return "-".join([parts[0] or "data", parts[1] or "schedule", network])


def _shorten(part: str) -> str:
    """Cuts to 40 characters and 80 bytes; a run's name may have 200 bytes."""
    return part[:40].encode()[:80].decode(errors="ignore")
