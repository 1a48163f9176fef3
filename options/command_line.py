"""Flags of train.py and test.py: made from the options dataclasses, read into them.

    options = parse_train(sys.argv[1:])     # flag > schedule file > default
    options = parse_test(sys.argv[1:])

`--input_path` and `--input-path` are the same flag. What is wrong raises UserError with one line;
`--help` prints and leaves with SystemExit(0).
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
from options.run import (
    PUBLISHED,
    PUBLISHED_TASKS,
    RUN_FIELDS,
    RUN_GROUPS,
    SPADE_DEPTHS,
    Option,
    RunOptions,
    TestOptions,
    closest,
    does_not_apply,
    option_fields,
    show_flag,
    unused_options,
)
from options.schedule import Schedule, load_schedule, stage_needs

TRAIN_USAGE = """bash train.sh [FLAGS]        set up the environment once, then train
       python train.py [FLAGS]      train, in an environment that is set up

  bash train.sh
      draw the demo dataset, train schedule quick, make the submission
  bash train.sh --data DIR --schedule main --name RUN
      the contest's run; the same command again resumes where it stopped
  bash train.sh --data DIR --schedule aux --name RUN-aux
      the second model
  bash train.sh --data DIR --task translation --name RUN
      from the photographs in DIR/content to the style of those in DIR/style
"""
TEST_USAGE = """bash test.sh --name RUN [FLAGS]                              set up once, then draw
       python test.py --input_path LABELS --output_path DIR [FLAGS]

  bash test.sh --name RUN
      draw every test layout with the run's generator: pictures, submission.zip, overview.png
  bash test.sh --name RUN --input_path LABELS --img_path STYLES --output_path DIR
      the contest's own flags
  bash test.sh --name RUN --style a.jpg --style-to b.jpg --steps 8
      a strip for each layout, from one style to another
"""
EPILOG = "A flag may be written with - or with _: --input-path is --input_path."
TRAIN_EPILOG = (
    "The flags in a schedule file (options/schedules/NAME.txt) win over the defaults above, and "
    "the command line wins over both; a generator that it chooses brings what it was published "
    "with, but for what a schedule of your own sets. " + EPILOG
)
# The help opens with what most runs set.
HELP_ORDER = ("training", "data", "generator", "discriminator", "loss", "optimizer")

# What belongs to one run and not to a recipe that many runs share.
NOT_IN_SCHEDULES = ("input_path", "name", "schedule", "phase", "results_path", "dry_run")


class _Parser(argparse.ArgumentParser):
    """argparse, with its complaints raised as UserError."""

    def error(self, message: str) -> NoReturn:
        found = re.match(r"argument (\S+): (.*)", cut(message))
        if not found:
            raise UserError(f"flags are read as --flag value: {cut(message)}; see --help")
        flag, fault = found[1].split("/")[0], found[2]
        if fault.startswith("expected"):
            count = "two values (H W)" if "2" in fault else "a value"
            raise UserError(f"{flag} takes {count}: none follows it, or too few; see --help")
        if fault.startswith("ignored explicit argument"):
            value = fault.removeprefix("ignored explicit argument ")
            raise UserError(
                f"{flag} takes no value: {value} follows it; write {flag} or its opposite "
                f"{_opposite(flag)}"
            )
        raise UserError(f"{flag}: {fault}; see --help")


def _opposite(flag: str) -> str:
    return "--" + flag[5:] if flag.startswith("--no-") else "--no-" + flag[2:]


class _Switch(argparse.Action):
    """`--flip` stores True, `--no-flip` False.

    argparse's BooleanOptionalAction writes its own default into the help, where the real one
    (of the dataclass) already stands.
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
    parser.add_argument("-h", "--help", action="help", help="print this and stop")
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
    names = [option.flag, *option.aliases]
    if option.kind is bool:
        group.add_argument(*names, dest=option.name, action=_Switch, help=help)
    else:
        group.add_argument(*names, dest=option.name, metavar=option.metavar, help=help)


def _read(parser: _Parser, argv: Sequence[str]) -> dict[str, str | bool]:
    """Field -> the text that was given for it (True or False for a switch)."""
    words = [_hyphens(word) for word in argv]
    space, left = parser.parse_known_args(words)
    if left:
        raise _unknown(parser, left[0])
    given: dict[str, Any] = vars(space)
    for name, value in given.items():
        # argparse takes a value of -- for none, and leaves the rest
        if isinstance(value, list) and len(value) != (2 if name == "size" else 1):
            parser.error(f"argument --{name.replace('_', '-')}: expected {len(value) + 1}")
    if "size" in given:
        height, width = given.pop("size")
        twice = [name for name in ("height", "width") if name in given]
        if twice:
            raise UserError(
                f"--size sets height and width: --{twice[0]} {given[twice[0]]} stands beside it; "
                "leave one of them out"
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
        return UserError(
            f"every value follows a flag: {quote(word)} follows none; see --help for the flags"
        )
    flag = word.partition("=")[0]
    known = [name for action in parser._actions for name in action.option_strings]
    near = closest("--" + flag.lstrip("-"), known)
    mend = f"did you mean {near}?" if near else "see --help for the flags"
    shown = flag if flag.isprintable() and len(flag) < 80 else quote(flag)
    return UserError(f"no flag is called {shown}; {mend}")


def parse_train(argv: Sequence[str], say: Callable[[str], object] | None = None) -> RunOptions:
    """Read train.py's arguments: flag over schedule file over default, every rule checked.

    The run's name, where none is given, is derived: `<data>-<schedule>-<generator>`. Where a
    person's own schedule meets a generator or task of the command line, `say` is told what becomes
    of its flags: those that still mean something stay, the others are left out.
    """
    parser = _build(TRAIN_USAGE, TRAIN_EPILOG, {group: RUN_GROUPS[group] for group in HELP_ORDER})
    raw = _read(parser, argv)
    given = {name: RUN_FIELDS[name].parse(text) for name, text in raw.items()}
    task = given.get("task", RUN_FIELDS["task"].default)
    schedule = load_schedule(given.get("schedule", RUN_FIELDS["schedule"].default), task)
    recipe, places = _read_recipe(parser, schedule)
    if "task" in recipe and "task" in given and recipe["task"] != task:
        raise UserError(
            f"schedule {schedule.name} is made for --task {recipe['task']}: --task {task} needs "
            "another; name another --schedule"
        )
    merged = _merge(recipe, given, own=not schedule.is_built_in)
    options = _assemble(merged)
    notes = _notes_on_published(recipe, given, options) if not schedule.is_built_in else {}
    # What a schedule says of a generator that the command line replaced says nothing of the new.
    while stale := {n: need for n, need in unused_options(options).items() if n in merged}:
        for name, need in stale.items():
            if name in given:
                raise does_not_apply(name, given[name], need)
            if name in recipe and not schedule.is_built_in:
                shown = show_flag(name, recipe[name])
                notes[name] = f"{shown} needs {need}, and is left out"
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
        if say is not None:
            say(f"{places[name]}: {note}")
    return options


def parse_test(argv: Sequence[str]) -> TestOptions:
    """Read test.py's arguments, every rule checked."""
    fields = {option.name: option for option in option_fields(TestOptions)}
    raw = _read(_build(TEST_USAGE, EPILOG, {"test": TestOptions}), argv)
    return TestOptions(**{name: fields[name].parse(text) for name, text in raw.items()}).validate()


def _read_recipe(parser: _Parser, schedule: Schedule) -> tuple[dict[str, Any], dict[str, str]]:
    """Field -> value, and field -> file and line, of the flags that a schedule file sets."""
    source = schedule.path if schedule.path else schedule.name
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    raw: dict[str, str | bool] = {}
    for flag, text in schedule.flags.items():
        place = f"{source}, line {schedule.flag_lines.get(flag, 0)}"
        try:
            words = shlex.split(text)
            if flag in ("-h", "--help"):
                raise UserError("--help is for the command line; take it out")
            # One value may begin with a minus: joined with = it is no flag to argparse.
            read = _read(parser, [f"{flag}={words[0]}"] if len(words) == 1 else [flag, *words])
            for name, value in read.items():
                if name in NOT_IN_SCHEDULES:
                    raise UserError(
                        f"a schedule holds what many runs share: {flag} belongs to one run; "
                        "write it on the command line"
                    )
                if name in values:
                    raise UserError(
                        f"a flag stands once: {flag} sets {name} again; take one of them out"
                    )
                values[name], raw[name] = RUN_FIELDS[name].parse(value), value
                places[name] = place
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
    options = _assemble(_merge(values, {}, own=True))
    for name, need in unused_options(options).items():
        if name in values:
            raise UserError(f"{places[name]}: {does_not_apply(name, values[name], need)}")
    try:
        _check_depth_word(raw, options)
    except UserError as error:
        raise UserError(f"{places['halvings']}: {error}") from None
    return values, places


def _merge(recipe: Mapping[str, Any], given: Mapping[str, Any], *, own: bool) -> dict[str, Any]:
    """Field -> value: flag over schedule, with what generator and task were published with.

    That goes before a built-in schedule made for another generator or task. A person's own
    schedule goes before it: whoever wrote a value there meant it.
    """
    published = _published(recipe, given)
    if own or _chosen(recipe, given) == _chosen(recipe, {}):
        return {**published, **recipe, **given}
    return {**recipe, **published, **given}


def _chosen(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str]:
    """Generator and task."""
    defaults = {name: RUN_FIELDS[name].default for name in ("generator", "task")}
    merged = {**defaults, **recipe, **given}
    return merged["generator"], merged["task"]


def _published(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    generator, task = _chosen(recipe, given)
    return {**PUBLISHED.get(generator, {}), **PUBLISHED_TASKS.get(task, {})}


def _notes_on_published(
    recipe: Mapping[str, Any], given: Mapping[str, Any], options: RunOptions
) -> dict[str, str]:
    """Field -> what to say of a flag of a schedule that what the command line chose has not."""
    generator, task = _chosen(recipe, given)
    if (generator, task) == _chosen(recipe, {}):
        return {}
    unused = unused_options(options)
    return {
        name: f"{show_flag(name, recipe[name])} stays, and {generator} in {task} was published "
        f"with {show_flag(name, value)}"
        for name, value in _published(recipe, given).items()
        if name in recipe and name not in {*given, *unused} and recipe[name] != value
    }


def _assemble(values: Mapping[str, Any]) -> RunOptions:
    groups: dict[str, dict[str, Any]] = {group: {} for group in RUN_GROUPS}
    for name, value in values.items():
        groups[RUN_FIELDS[name].group][name] = value
    return RunOptions(**{group: cls(**groups[group]) for group, cls in RUN_GROUPS.items()})


def _check_depth_word(raw: Mapping[str, str | bool], options: RunOptions) -> None:
    word = raw.get("halvings")
    if word in SPADE_DEPTHS and options.generator.generator != "spade":
        raise UserError(
            f"--halvings takes normal, more, most for spade alone: {word} with "
            f"{options.generator.generator} is not; write --halvings {SPADE_DEPTHS[str(word)]}"
        )


def _check_stages(schedule: Schedule, options: RunOptions) -> None:
    generator = options.generator.generator
    for phase in schedule.phases:
        need = stage_needs(phase.stage)
        if need is not None and generator != need:
            raise UserError(
                f"a phase that trains a part needs a generator with that part: phase {phase.name} "
                f"of schedule {schedule.name} has stage {phase.stage}, for --generator {need}, not "
                f"{generator}; write another --schedule, or stage all"
            )


def _check_data(schedule: Schedule, options: RunOptions) -> None:
    if options.data.task != "translation":
        return
    if options.data.input_path is None:
        raise UserError(
            "--task translation needs photographs: the built-in dataset has pairs alone; name "
            "--data DIR with DIR/content and DIR/style"
        )
    for phase in schedule.phases:
        if phase.subset != "total":
            raise UserError(
                f"--task translation takes every photograph, subset total: phase {phase.name} of "
                f"schedule {schedule.name} takes {phase.subset}, chosen by layouts; write "
                "--schedule quick or translation"
            )


def _derive_name(options: RunOptions, schedule: Schedule) -> str:
    data = "demo"
    if options.data.input_path is not None:
        path = Path(options.data.input_path)
        data = path.name if path.name not in ("", "..") else path.resolve().name
    parts = [_shorten(re.sub(r"[^\w.-]+", "-", part).strip("-.")) for part in (data, schedule.name)]
    return "-".join([parts[0] or "data", parts[1] or "schedule", options.generator.generator])


def _shorten(part: str) -> str:
    """At most 40 characters, and 80 bytes: a run's name may have 200."""
    return part[:40].encode()[:80].decode(errors="ignore")
