from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from options.command_line import parse_test, parse_train
from options.errors import UserError
from options.fields import Option, option_fields
from options.groups import SEGMENTATION
from options.test import TestOptions
from options.train import RUN_FIELDS, RunOptions

ROOT = Path(__file__).resolve().parents[2]
ROW = "phase last_epoch batch_size subset learning_rate\nI 3 1 total 2e-4\n"


def schedule_file(folder: Path, flags: str) -> str:
    path = folder / "mine.txt"
    path.write_text(f"# mine\n{flags}\n{ROW}", encoding="utf-8")
    return str(path)


def error_of(argv: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        parse_train(argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("schedule", ["quick", "main", "aux"])
@pytest.mark.parametrize("generator", ["tsit", "spade", "pix2pix", "pix2pixhd"])
def test_every_schedule_runs_with_every_generator(schedule: str, generator: str) -> None:
    options = parse_train(["--schedule", schedule, "--generator", generator])
    assert options.generator.generator == generator
    assert options.training.name == f"demo-{schedule}-{generator}"
    assert RunOptions.from_json(options.to_json()) == options


def test_main_and_aux_and_quick() -> None:
    options = parse_train(["--schedule", "main"])
    assert options.generator.generator == "tsit" and options.generator.num_downsamples == 7
    assert (options.data.height, options.data.width) == (384, 512)
    assert (options.loss.lambda_vgg, options.loss.lambda_feature) == (20, 10)
    assert options.loss.gan_loss == "hinge" and options.loss.vgg_required
    aux = parse_train(["--schedule", "aux"])
    assert aux.generator.generator == "spade" and aux.generator.num_downsamples == 6
    quick = parse_train([])
    assert quick.training.schedule == "quick" and not quick.loss.vgg_required


def test_the_main_run_as_in_the_report() -> None:
    options = parse_train(["--schedule", "main", "--vgg-distance", "cosine", "--no-style-stream"])
    assert options.loss.vgg_distance == "cosine" and not options.generator.style_stream


def test_flag_over_schedule_over_default(tmp_path: Path) -> None:
    path = schedule_file(tmp_path, "--size 256 256\n--lambda-vgg 5 --no-flip\n--seed=7")
    options = parse_train(["--schedule", path, "--lambda-vgg", "3", "--height", "128"])
    assert (options.data.height, options.data.width) == (128, 256)
    assert options.loss.lambda_vgg == 3.0
    assert options.data.flip is False and options.training.seed == 7
    assert options.loss.lambda_feature == RUN_FIELDS["lambda_feature"].default
    assert options.training.name == "demo-mine-tsit"
    assert parse_train(["--schedule", path, "--flip"]).data.flip is True


def test_none_overrides_a_schedule(tmp_path: Path) -> None:
    path = schedule_file(tmp_path, "--unknown-label 255")
    assert parse_train(["--schedule", path]).data.unknown_label == 255
    assert parse_train(["--schedule", path, "--unknown-label", "none"]).data.unknown_label is None


@pytest.mark.parametrize("option", RUN_FIELDS.values(), ids=lambda option: option.name)
def test_every_flag_in_both_spellings(option: Option, tmp_path: Path) -> None:
    # Satisfies the needs of every flag: SPADE with its encoder, TSIT with its style stream, or a
    # SegFormer.
    encoder = option.name in ("vae", "latent_size", "lambda_kl")
    base = ["--generator", "spade", "--num-downsamples", "5", "--vae"] if encoder else []
    if option.needs is SEGMENTATION or option.group == "segmenter":
        base = ["--task", "segmentation"]
        base += ["--encoder", "mit_b0"] * (option.name in ("encoder_weights", "drop_path"))
    if option.name in ("segmenter", "second_segmenter", "segmentation_loss"):
        base = ["--lambda-segmentation", "1", "--segmenter", "some-file"]
    if option.name == "segmenter":
        base = base[:2]
    if option.name in ("evaluate_layouts", "best_measure"):
        base = ["--evaluate-every", "5", "--segmenter", "some-file"]
    if option.name in ("lambda_segmentation", "segmenter_discriminator"):
        base = ["--segmenter", "some-file"]
    argv: list[str] = []
    value: Any
    if option.kind is bool:
        value = not option.default
    elif option.choices:
        value = option.choices[0]
        argv = [value]
    elif option.name == "schedule":
        value = schedule_file(tmp_path, "")
        argv = [value]
    else:
        value = {"phase": "I", "height": 160, "width": 160, "num_downsamples": 5}.get(option.name)
        if value is None and option.kind is str:
            value = "some-text"
        elif value is None:
            value = 0.5 if 1 in (option.below, option.maximum) or option.maximum == 0.9 else 3
            value = max(value, option.minimum or 0)
            value = 0.25 if option.name == "min_scale" else value
        argv = [str(value)]
    for name in (option.name, option.name.replace("_", "-"), *(a[2:] for a in option.flags)):
        switch = name if option.kind is not bool or value else f"no-{name}"
        given = parse_train([*base, f"--{switch}", *argv])
        assert given.get(option.name) == value
        if argv:
            assert parse_train([*base, f"--{switch}={argv[0]}"]).get(option.name) == value


def test_underscores_stay_in_values() -> None:
    options = parse_train(["--input_path=a_b/c-d", "--gan_loss", "least_squares"])
    assert options.data.input_path == "a_b/c-d" and options.loss.gan_loss == "least_squares"


def test_size_sets_both_sides() -> None:
    options = parse_train(["--size", "192", "256"])
    assert (options.data.height, options.data.width) == (192, 256)
    assert "expected no --height next to it, got --height 64" in error_of(
        ["--size", "96", "128", "--height", "64"]
    )


@pytest.mark.parametrize(("word", "num_downsamples"), [("normal", 5), ("more", 6), ("most", 7)])
def test_depth_words_of_spade(word: str, num_downsamples: int) -> None:
    argv = ["--generator", "spade", "--size", "384", "512", "--num-downsamples", word]
    assert parse_train(argv).generator.num_downsamples == num_downsamples
    line = error_of(["--generator", "tsit", "--size", "384", "512", "--num-downsamples", word])
    assert line.endswith(f"Write --num-downsamples {num_downsamples}")


def test_a_depth_word_of_a_schedule_is_valid_for_another_generator() -> None:
    options = parse_train(["--schedule", "aux", "--generator", "tsit"])
    assert options.generator.num_downsamples == 6


@pytest.mark.parametrize(
    ("argv", "need"),
    [
        (["--generator", "spade", "--fadain-alpha", "0.5"], "--generator tsit"),
        (["--generator", "spade", "--fadain-alpha", "1"], "--generator tsit"),
        (["--generator", "spade", "--start", "noise"], "--generator tsit"),
        (["--generator", "spade", "--start", "layout"], "--generator tsit"),
        (["--generator", "spade", "--style-stream"], "--generator tsit"),
        (["--generator", "spade", "--latent-size", "256"], "--vae"),
        (["--vae", "--start", "noise"], "without --vae"),
        (["--generator", "pix2pix", "--vae"], "--generator tsit or spade"),
        (["--generator", "pix2pixhd", "--norm", "batch"], "--generator tsit, spade or pix2pix"),
        (["--no-style-stream", "--fadain-alpha", "0.5"], "--style-stream"),
        (["--lambda-vgg", "0", "--vgg-weights", "x.pth"], "--lambda-vgg above 0"),
    ],
)
def test_a_flag_without_effect_is_an_error_even_at_its_default(argv: list[str], need: str) -> None:
    line = error_of(argv)
    assert need in line and "has no effect without" in line and line.endswith(". Remove it")


def test_a_generator_sets_its_published_values(tmp_path: Path) -> None:
    options = parse_train(["--schedule", "main", "--generator", "pix2pix"])
    assert (options.loss.gan_loss, options.loss.lambda_l1) == ("cross_entropy", 100)
    assert (options.loss.lambda_vgg, options.loss.lambda_feature) == (0, 0)
    assert options.discriminator.discriminator_scales == 1
    assert (options.optimizer.beta1, options.optimizer.ttur) == (0.5, False)
    assert options.data.height == 384  # the schedule sets the rest
    flags = ["--gan-loss", "hinge", "--lambda-vgg", "5"]
    chosen = parse_train(["--schedule", "main", "--generator", "pix2pix", *flags])
    assert (chosen.loss.gan_loss, chosen.loss.lambda_vgg) == ("hinge", 5)
    # A schedule for this generator takes precedence.
    path = schedule_file(tmp_path, "--generator pix2pix --lambda-l1 50 --size 256 256")
    own = parse_train(["--schedule", path])
    assert (own.loss.lambda_l1, own.loss.gan_loss) == (50, "cross_entropy")


def test_the_coarse_to_fine_schedule_needs_its_generator() -> None:
    options = parse_train(["--schedule", "pix2pixhd"])
    assert (options.generator.generator, options.generator.num_downsamples) == ("pix2pixhd", 5)
    assert (options.loss.gan_loss, options.loss.lambda_vgg) == ("least_squares", 10)
    assert options.discriminator.discriminator_scales == 3
    line = error_of(["--schedule", "pix2pixhd", "--generator", "spade"])
    assert "expected --generator pix2pixhd for phase I (stage global), got spade" in line


def test_flags_of_another_generator_are_dropped_with_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    path = schedule_file(tmp_path, "--fadain-alpha 0.5\n--lambda-vgg 7")
    assert parse_train(["--schedule", path], notes.append).generator.fadain_alpha == 0.5
    assert not notes
    options = parse_train(["--schedule", path, "--generator", "spade"], notes.append)
    assert options.generator.fadain_alpha == 1.0 and options.loss.lambda_vgg == 7
    note = "--fadain-alpha 0.5 has no effect without --generator tsit --style-stream and is dropped"
    assert notes == [f"{path}, line 2: {note}"]
    path = schedule_file(tmp_path, "--generator spade --vae\n--latent-size 64")
    notes.clear()
    options = parse_train(["--schedule", path, "--no-vae"], notes.append)
    assert not options.generator.vae and options.generator.latent_size == 256
    note = "--latent-size 64 has no effect without --vae and is dropped"
    assert notes == [f"{path}, line 3: {note}"]


@pytest.mark.parametrize(
    ("flags", "argv", "kept", "note"),
    [
        ("--lambda-vgg 20", ["--task", "translation"], ("lambda_vgg", 20.0), "--lambda-vgg 1"),
        ("--discriminator-layers 4", ["--task", "translation"], ("discriminator_layers", 4),
         "--discriminator-layers 3"),
        ("--lambda-l1 7", ["--generator", "pix2pix"], ("lambda_l1", 7.0), "--lambda-l1 100"),
        ("--beta1 0", ["--generator", "pix2pixhd"], ("beta1", 0.0), "--beta1 0.5"),
        ("--ttur", ["--generator", "pix2pix"], ("ttur", True), "--no-ttur"),
        ("--generator spade --num-downsamples 6", ["--generator", "pix2pixhd"],
         ("num_downsamples", 6), "--num-downsamples 5"),
    ],
)  # fmt: skip
def test_the_users_schedule_is_kept_with_a_note(
    tmp_path: Path, flags: str, argv: list[str], kept: tuple[str, object], note: str
) -> None:
    notes: list[str] = []
    path = schedule_file(tmp_path, flags)
    options = parse_train(["--data", "DIR", "--schedule", path, *argv], notes.append)
    assert options.get(kept[0]) == kept[1]
    (line,) = notes
    assert line.startswith(f"{path}, line 2: {flags.split(' --')[-1].removeprefix('--')[:4]}") or (
        f"{path}, line 2: --" in line
    )
    assert f"was published with {note}" in line
    # the command line takes precedence, and equal values need no note
    notes.clear()
    flag = note.split()
    options = parse_train(["--data", "DIR", "--schedule", path, *argv, *flag], notes.append)
    assert not notes


def test_a_schedule_that_does_not_fit_the_task_is_an_error(tmp_path: Path) -> None:
    path = schedule_file(tmp_path, "--start layout")
    line = error_of(["--data", "DIR", "--schedule", path, "--task", "translation"])
    assert "--task translation: expected --start noise, got --start layout" in line


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ("--hieght 3", "--hieght: unknown flag. Did you mean --height?"),
        ("--seed x", "--seed: expected an integer"),
        ("--seed", "--seed: expected a value, got none"),
        ("--size 3", "--size: expected two values (H W), got fewer"),
        ("--flip yes", "--flip: expected no value, got 'yes'"),
        ("--flip yes no", "expected a flag before a value, got 'yes'"),
        ("--name x", "--name: expected flags that many runs share"),
        ("--schedule main", "--schedule: expected flags that many runs share"),
        ("--data x", "--data: expected flags that many runs share"),
        ("--help", "--help: expected on the command line only"),
        ("--generator spade --start noise", "--start noise has no effect without"),
        ("--device cpu --precision float16", "has no effect without --device cuda"),
        (
            "--generator tsit --num-downsamples more",
            "more is a depth of spade, got --generator tsit",
        ),
        ("--size 96 128 --height 96", "--height: expected each flag once"),
    ],
)
def test_an_invalid_flag_in_a_schedule_names_file_and_line(
    tmp_path: Path, flags: str, rule: str
) -> None:
    path = schedule_file(tmp_path, flags)
    line = error_of(["--schedule", path])
    assert line.startswith(f"{path}, line 2: ") and rule in line


def test_a_flag_of_a_schedule_may_have_a_value_with_spaces(tmp_path: Path) -> None:
    path = schedule_file(tmp_path, "--vgg-weights '/a b/vgg.pth'")
    assert parse_train(["--schedule", path]).loss.vgg_weights == "/a b/vgg.pth"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--hieght", "384"], "--hieght: unknown flag. Did you mean --height?"),
        (["--lamda_vgg=3"], "--lamda-vgg: unknown flag. Did you mean --lambda-vgg?"),
        (["-name", "x"], "-name: unknown flag. Did you mean --name?"),
        (["--sched", "main"], "--sched: unknown flag. Did you mean --schedule?"),
        (["--zzzz"], "--zzzz: unknown flag. See --help"),
    ],
)
def test_a_misspelled_flag_names_the_closest(argv: list[str], line: str) -> None:
    assert error_of(argv) == line


@pytest.mark.parametrize(
    ("argv", "rule"),
    [
        (["main"], "expected a flag before a value, got 'main'"),
        (["--name"], "--name: expected a value, got none"),
        (["--name", "--flip"], "--name: expected a value, got none"),
        (["--size", "384"], "--size: expected two values (H W), got fewer"),
        (["--no-flip=1"], "--flip: expected no value, got '1'. Write --flip or --no-flip"),
        (["--generator", "spad"], "got 'spad' (e.g. --generator spade)"),
        (["--seed", "-1"], "got -1 (e.g. --seed 0)"),
        (["--seed", "1.5"], "expected an integer from 0 to 4294967295, got '1.5'"),
        (["--beta1", "one"], "got 'one'"),
        (["--data", ""], "--input-path: expected a text that is not empty, got ''"),
        (["--phase", "V"], "expected a phase of schedule quick (I, II, III), got 'V'"),
        (["--name", "a/b"], "plain file name"),
        (["--name", ".."], "plain file name"),
        (["--name", "x" * 201], "plain file name"),
        (["--name", "a\nb"], "plain file name"),
        (["--name", "a\0b"], "expected a text that is not empty"),
        (["--name="], "expected a text that is not empty"),
        (["--name", "\udcb7"], r"--name: expected UTF-8, got '\udcb7'"),
        (["--data", "/data/\udcb7\udce7"], "--input-path: expected UTF-8"),
        (["--seed", "٣"], "got '٣'"),
        (["--seed", "1_000"], "got '1_000'"),
        (["--lambda-vgg", "１"], "got '１'"),
        (["--lambda-vgg", "nan"], "got nan"),
        (["--lambda-vgg", "1e999"], "got inf"),
        (["--seed", "9" * 5000], "... (5000 characters) (e.g. --seed 0)"),
        (["--seed", "9" * 3000], "... (3000 characters) (e.g. --seed 0)"),
        (["--epoch-images", "9" * 400], "from 1 to 1000000000"),
        (["--log-every", "1e30"], "got '1e30'"),
        (["--size", "0", "0"], "--height: expected an integer from 16 to 8192, got 0"),
        (["--size", "-32", "32"], "from 16 to 8192, got -32"),
        (["--a\nb"], r"'--a\nb': unknown flag"),
        (["--schedule", "x" * 9999], "characters) (e.g. --schedule main)"),
        (["--schedule", "a\0b"], "expected a text that is not empty"),
        (["--schedule", "/"], "got the folder '/'. Name the file in it"),
        (["--schedule", "~nobody-of-that-name/x"], "or the path of a schedule file, got '~nobody"),
        (["--schedule", "main", "--size", "380", "500"], "256 x 384 and 384 x 512"),
    ],
)
def test_an_invalid_value_is_one_clear_line(argv: list[str], rule: str) -> None:
    assert rule in error_of(argv)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("../shared/camvid", "camvid"),
        ("camvid/", "camvid"),
        ("/data/my photos (2)", "my-photos-2"),
        ("/data/风景", "风景"),
        ("/", "data"),
        ("...", "data"),
    ],
)
def test_derived_name(path: str, name: str) -> None:
    assert parse_train(["--data", path]).training.name == f"{name}-quick-tsit"


def test_a_derived_name_is_cut(tmp_path: Path) -> None:
    path = tmp_path / f"{'山' * 60}.txt"
    path.write_text(ROW)
    name = parse_train(["--data", "风" * 60, "--schedule", str(path)]).training.name
    assert name == f"{'风' * 26}-{'山' * 26}-tsit"


def test_derived_name_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lakes" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "lakes" / "x")
    assert parse_train(["--data", "."]).training.name == "x-quick-tsit"
    assert parse_train(["--data", ".."]).training.name == "lakes-quick-tsit"


def test_translation_sets_its_published_values(tmp_path: Path) -> None:
    base = ["--data", "DIR", "--task", "translation"]
    quick = parse_train(base)
    assert quick.training.name == "DIR-quick_translation-tsit"
    assert quick.training.schedule == "quick" and not quick.loss.vgg_required
    published = parse_train([*base, "--schedule", "translation"])
    assert parse_train(["--data", "DIR", "--schedule", "translation"]) == published
    mine = parse_train([*base, "--schedule", schedule_file(tmp_path, "--epoch-images 9")])
    for options in (quick, published, mine):
        assert options.generator.generator == "tsit" and options.generator.start == "noise"
        assert options.discriminator.discriminator_layers == 3
        assert (options.loss.lambda_vgg, options.loss.lambda_feature) == (1, 1)
        assert RunOptions.from_json(options.to_json()) == options
    assert (published.data.height, published.data.width) == (256, 256)
    assert parse_train([*base, "--lambda-vgg", "2"]).loss.lambda_vgg == 2


@pytest.mark.parametrize(
    ("argv", "rule"),
    [
        (
            ["--data", "DIR", "--schedule", "main"],
            "expected subset total, got selection_1 in phase II",
        ),
        (["--data", "DIR", "--schedule", "pix2pixhd"], "expected --generator tsit, got pix2pixhd"),
        (["--data", "DIR", "--generator", "spade"], "expected --generator tsit, got spade"),
        (["--data", "DIR", "--vae"], "--vae has no effect without --generator tsit or spade, and"),
        (
            ["--data", "DIR", "--classes", "29"],
            "--classes 29 has no effect without --task synthesis",
        ),
        (["--data", "DIR", "--start", "layout"], "expected --start noise, got --start layout"),
        (["--data", "DIR", "--style-stream"], "--style-stream has no effect without"),
        ([], "--task translation: expected photos"),
    ],
)
def test_translation_rejects_flags_of_layouts(argv: list[str], rule: str) -> None:
    assert rule in error_of(["--task", "translation", *argv])


def test_a_schedule_for_the_other_task() -> None:
    line = error_of(["--data", "DIR", "--schedule", "translation", "--task", "synthesis"])
    assert line.startswith("--schedule translation: expected --task translation, got --task synth")


def test_a_given_name_is_kept() -> None:
    assert parse_train(["--name", "night"]).training.name == "night"


def test_submission_with_the_flags_of_the_contest() -> None:
    argv = ["--input_path", "labels", "--img_path", "styles", "--output_path", "./results"]
    options = parse_test(argv)
    assert options == TestOptions(input_path="labels", img_path="styles", output_path="./results")
    assert (options.height, options.width) == (None, None)  # those of the contest or the generator
    options = parse_test(
        ["--name=x", "--style", "noise", "--seed=3", "--weights", "raw", "--size", "96", "128"]
    )
    assert (options.style, options.seed, options.weights) == ("noise", 3, "raw")
    assert (options.height, options.width) == (96, 128)


@pytest.mark.parametrize(
    ("argv", "rule"),
    [
        (["--limt", "3"], "Did you mean --limit?"),
        (["--limit", "0"], "--limit: expected an integer from 1 to 1000000000"),
        (["--batch-size", "3"], "--batch-size: unknown flag"),
        (["--weights", "best"], "one of ema, raw"),
        (["--classes", "3"], "--classes: unknown flag"),
        (["--name", "../x"], "plain file name"),
    ],
)
def test_submission_with_invalid_flags(argv: list[str], rule: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_test(argv)
    assert rule in str(caught.value)


@pytest.mark.parametrize("parse", [parse_train, parse_test])
def test_help_starts_with_commands_and_lists_every_flag(
    parse: Callable[[list[str]], object], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    script = "train.sh" if parse is parse_train else "test.sh"
    assert f"bash {script}" in text.splitlines()[0]
    fields = RUN_FIELDS.values() if parse is parse_train else option_fields(TestOptions)
    for option in fields:
        assert f"  {option.flag}" in text
    assert "--size H W" in text and "SUPPRESS" not in text
    if parse is parse_train:
        assert "(default: 384)" in text and "--flip, --no-flip" in text
        assert text.index("--schedule") < text.index("--beta1")


def test_help_is_quick_and_imports_only_light_modules() -> None:
    code = (
        "import sys\n"
        "from options.command_line import parse_train\n"
        "try: parse_train(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'jittor', 'PIL', 'cv2', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    # Ten times the usual time, for a busy machine.
    assert seconds < 2, f"--help took {seconds:.2f} s"


def test_parsing_does_not_change_argv() -> None:
    argv = ["--lambda_vgg", "3"]
    parse_train(argv)
    assert argv == ["--lambda_vgg", "3"]


VALUES = [
    *("", " ", "-", "--", "=", "-1", "+1", "0", "1", "7", "1.5", "1e30", "-1e30", "nan", "-inf"),
    *("9" * 400, "9" * 5000, "0x10", "1_0", "٣", "１２", "true", "none", "None", "normal", "more"),
    *("..", ".", "/", "a/b", "~", "~nobody/x", "x" * 5000, "a\0b", "a\nb", "\udcb7", "风景", "%s"),
    *("--", "--help-me", "-h1", "@file", "tsit", "spade", "pix2pix", "pix2pixhd", "translation"),
    *("main", "quick", "aux", "cuda", "float16", "hinge", "batch", "noise", "ema", "16", "384"),
]


@pytest.mark.parametrize("parse", [parse_train, parse_test])
def test_any_input_is_options_or_one_line(parse: Callable[[list[str]], object]) -> None:
    random = Random(7)
    fields = [*RUN_FIELDS.values()] if parse is parse_train else [*option_fields(TestOptions)]
    flags = ["--size", *(name for option in fields for name in (option.flag, *option.flags))]
    flags += [f"--no-{flag[2:]}" for flag in flags] + [flag.replace("-", "_") for flag in flags]
    flags += [flag[: len(flag) // 2] for flag in flags[:9]]
    outcomes = Counter()
    for _ in range(4000):
        argv = []
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            flag, value = random.choice(flags), random.choice(VALUES)
            form = random.randrange(6)
            argv += [[flag, value], [f"{flag}={value}"], [flag], [value], [flag, value, value],
                     [flag, random.choice(VALUES)]][form]  # fmt: skip
        try:
            parse(argv)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 900, argv
            str(error).encode()
            outcomes["rejected"] += 1
        except SystemExit as done:
            assert done.code == 0
        else:
            outcomes["accepted"] += 1
    assert min(outcomes["rejected"], outcomes["accepted"]) > 30
