"""Converted checkpoints generate the images of the PyTorch reference, in test.py."""

from __future__ import annotations

import json
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reference.goldens import FOLDER
from tests.tools.golden_case import Case, network, run_test, write_jittor
from tools.convert_checkpoint import main
from weights.published_names import BATCH_COUNT
from weights.safe_pickle import read_pickle
from weights.safetensors_file import read_metadata, read_tensors, write_tensors
from weights.snapshots import read_snapshot
from weights.torch_file import write_torch


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("spade_normal", ("--classes", 5, "--instances")),
        ("spade_most", ()),
        ("spade_vae", ()),
        ("tsit_style", ()),
        ("tsit_translation", ()),
    ],
)
def test_a_converted_checkpoint_generates_the_image_of_the_reference(
    name: str, flags: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(name, tmp_path)
    source = case.write_torch()
    size = ("--size", *case.size)
    assert main([str(source), str(case.target), *map(str, (*flags, *size))]) == 0
    case.generate(monkeypatch)
    # The way back gives the same bytes.
    assert main([str(case.target), str(tmp_path / "back"), "--to", "torch"]) == 0
    for path in source.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_the_first_version_of_this_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("tsit_first_version", tmp_path)
    source = tmp_path / "jittor"
    source.mkdir()
    for letter, name in (("G", "generator"), ("E", "encoder")):
        write_jittor(source / f"main_net_{letter}.pkl", network(case.state, name))
    command = [str(source), str(case.target), "--classes", "5", "--size", *map(str, case.size)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "first.weight" not in printed  # a dense layer of the style vector reads no plane
    assert "content_stream.blocks.0.conv_0.weight[:, 5:12]" in printed
    assert "5:12]: for ids from 5 on only" in printed
    assert "  not used: content_stream.res_0.conv_0.weight, " in printed
    assert " more: follows from weight_orig, weight_u and weight_v" in printed
    options = read_snapshot(case.target).options
    assert options.data.classes == 5 and options.generator.content_channels == 12
    case.generate(monkeypatch)


def test_the_report_of_a_conversion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("spade_most", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    assert main([str(source), str(case.target)]) == 0
    printed = capsys.readouterr().out
    assert "latest_net_G.pth: SPADE generator, " in printed and "float32" in printed
    assert (
        "found: classes 5, unknown none, instance channel no, size 256 x 256, channels 4, "
        "downsamples 7, norm batch, style vector none" in printed
    )
    counts = [n for n in network(case.state, "generator") if n.endswith(BATCH_COUNT)]
    shown = ", ".join(f"{name} scalar" for name in counts[:10])
    assert f"  not used: {shown} and {len(counts) - 10} more: kept for --to torch" in printed
    assert printed.count("not used") == 1
    assert f"bash test.sh --checkpoint {case.target} --input_path LABELS" in printed


def test_a_style_vector_without_its_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("spade_vae", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    command = [str(source), str(case.target), "--size", *map(str, case.size)]
    assert main(command) == 0
    labels, *_ = case.write_inputs()[1:2]
    common = ("--checkpoint", case.target, "--input_path", labels)
    assert run_test(*common, "--output_path", tmp_path / "a") == 0
    assert run_test(*common, "--output_path", tmp_path / "b", "--style", "noise") == 0
    first, second = ((tmp_path / name / "layout.jpg").read_bytes() for name in "ab")
    assert first == second
    capsys.readouterr()
    assert run_test(*common, "--style", tmp_path / "style.png") == 2
    assert "--style: expected a generator that takes its style from" in capsys.readouterr().err


def test_a_pickle_as_checkpoint_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "latest_net_G.pth"
    path.write_bytes(pickle.dumps({}))
    assert run_test("--checkpoint", path, "--input_path", tmp_path) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"python -m tools.convert_checkpoint {path} latest_net_G.safetensors" in printed


@pytest.mark.parametrize("name", ["torch_zip_half", "torch_zip_float"])
def test_a_discriminator_there_and_back(name: str, tmp_path: Path) -> None:
    source = FOLDER / f"{name}.pth"
    target = tmp_path / "d.safetensors"
    assert main([str(source), str(target)]) == 0
    assert read_metadata(target)["family"] == "discriminator"
    assert main([str(target), str(tmp_path / "back.pth"), "--to", "torch"]) == 0
    before, after = read_pickle(source), read_pickle(tmp_path / "back.pth")
    assert list(before) == list(after)
    for key, array in before.items():
        assert after[key].dtype == array.dtype
        np.testing.assert_array_equal(after[key], array)
    direct = tmp_path / "direct.pth"
    assert main([str(source), str(direct), "--to", "torch"]) == 0
    assert direct.read_bytes() == (tmp_path / "back.pth").read_bytes()


def test_vgg_becomes_a_file_for_the_perceptual_loss(tmp_path: Path) -> None:
    from models.networks.vgg import VGG19
    from weights.pretrained import read_weights

    shapes = {name: tuple(var.shape) for name, var in VGG19().state_dict().items()}
    random = np.random.RandomState(0)
    arrays = {
        name: np.full(shape, random.standard_normal(), np.float16) for name, shape in shapes.items()
    }
    extra = {"features.34.weight": np.ones(2, np.float16), "classifier.0.bias": np.zeros(3)}
    source, target = tmp_path / "vgg19.pth", tmp_path / "vgg19.safetensors"
    write_torch(source, arrays | extra)
    assert main([str(source), str(target)]) == 0
    found = read_weights(target, shapes)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert main([str(target), str(tmp_path / "back.pth"), "--to", "torch"]) == 0
    assert (tmp_path / "back.pth").read_bytes() == source.read_bytes()


def test_missing_and_misshapen_arrays_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("spade_normal", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    arrays = read_pickle(source)
    arrays["up_1.conv_0.bias"] = np.zeros(3, np.float32)
    del arrays["up_2.conv_0.bias"]
    write_torch(source, arrays)
    assert main([str(source), str(case.target)]) == 2
    printed = capsys.readouterr().err
    assert "1 missing: generator.blocks.5.conv_0.bias" in printed
    assert "1 misshapen: generator.blocks.4.conv_0.bias 3 for 16" in printed
    assert not case.target.exists()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["SRC"], "the following arguments are required: DST"),
        (["{source}", "a.pth"], "DST: expected a .safetensors file, got a.pth"),
        (["{folder}", "a.safetensors"], r"SRC: expected a folder with a \*_net_G"),
        (["absent.pth", "a.safetensors"], "No such file"),
        (["{source}", "a.safetensors", "--num-downsamples", "9"], "--num-downsamples"),
        (["{project}", "b.safetensors"], "a file of this project already"),
        (["{project}", "b", "--to", "torch", "--key", "a"], "a file of this project, without keys"),
        (["{folder}/page.pth", "a.safetensors"], r"got a web page \(HTML\)"),
    ],
)
def test_errors(
    arguments: list[str],
    rule: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.pth").write_text("<html>")
    project = tmp_path / "d.safetensors"
    source = FOLDER / "torch_zip_half.pth"
    main([str(source), str(project)])
    capsys.readouterr()
    places = {"source": source, "folder": tmp_path, "project": project}
    assert main([text.format(**places) for text in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert re.search(rule, printed)


def test_averaged_weights_are_converted_to_torch(tmp_path: Path) -> None:
    case = Case("spade_most", tmp_path)
    assert main([str(case.write_torch()), str(case.target)]) == 0
    tensors, metadata = read_tensors(case.target)
    raw = np.array(tensors["raw.generator.last.bias"])
    path = tmp_path / "trained.safetensors"
    write_tensors(path, {**tensors, "ema.generator.last.bias": raw + 1}, metadata)
    for flags, bias in (([], raw + 1), (["--weights", "raw"], raw)):
        assert main([str(path), str(tmp_path / "g.pth"), "--to", "torch", *flags]) == 0
        np.testing.assert_array_equal(read_pickle(tmp_path / "g.pth")["conv_img.bias"], bias)


def test_generator_and_encoder_do_not_fit_one_pth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Case("spade_vae", tmp_path).write_torch()
    assert main([str(source), str(tmp_path / "a.pth"), "--to", "torch"]) == 2
    assert "expected a folder for latest_net_G.pth and latest_net_E.pth" in capsys.readouterr().err


def test_a_strangers_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, victim = tmp_path / "latest_net_G.pth", tmp_path / "victim"
    path.write_bytes(b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(str(victim))))
    path.write_bytes(path.read_bytes() + str(victim).encode() + b"\x85R.")
    assert main([str(path), str(tmp_path / "a.safetensors")]) == 2
    printed = capsys.readouterr().err
    assert (
        "got a request for os.mkdir, which could run code" in printed and printed.count("\n") == 1
    )
    assert [item.name for item in tmp_path.iterdir()] == ["latest_net_G.pth"]
    pickle.loads(path.read_bytes())
    assert victim.is_dir()  # the attack works on pickle.loads


def test_a_baseline_has_no_published_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("spade_most", tmp_path)
    assert main([str(case.write_torch()), str(case.target)]) == 0
    tensors, metadata = read_tensors(case.target)
    words = json.loads(metadata["options"])
    words["generator"]["generator"] = "pix2pix"
    path = tmp_path / "trained.safetensors"
    write_tensors(path, tensors, metadata | {"options": json.dumps(words)})
    assert main([str(path), str(tmp_path / "g.pth"), "--to", "torch"]) == 2
    assert "a pix2pix generator" in capsys.readouterr().err
    assert not (tmp_path / "g.pth").exists()


def test_one_of_several_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("spade_vae", tmp_path)
    source = case.write_torch()
    generator, encoder = (read_pickle(source / f"latest_net_{letter}.pth") for letter in "GE")
    path = tmp_path / "all.pth"
    content = {"netG": generator, "netE": {f"module.{n}": a for n, a in encoder.items()}}
    path.write_bytes(pickle.dumps(content | {"netG_ema": generator, "iteration": 7}))
    command = [str(path), str(case.target), "--size", *map(str, case.size)]
    assert main(command) == 2
    assert "got 2: netG (SPADE generator), netG_ema" in capsys.readouterr().err
    assert main([*command, "--key", "netG_ema"]) == 0
    printed = capsys.readouterr().out
    assert "all.pth under netG_ema: SPADE generator, " in printed
    assert "not used: iteration: no tensor" in printed
    path.write_bytes(pickle.dumps(content))
    assert main([*command[:1], str(tmp_path / "both.safetensors"), *command[2:]]) == 0
    assert main([str(source), str(case.target), *command[2:]]) == 0
    both, folder = (read_tensors(p)[0] for p in (tmp_path / "both.safetensors", case.target))
    assert list(both) == list(folder)
    for name, array in folder.items():
        np.testing.assert_array_equal(both[name], array, err_msg=name)
    capsys.readouterr()
    assert main([str(path), str(tmp_path / "back"), "--to", "torch"]) == 0
    names = sorted(item.name for item in (tmp_path / "back").iterdir())
    assert names == [".jittor-landscape.json", "all_net_E.pth", "all_net_G.pth"]
    assert main([*command, "--key", "netD"]) == 2
    assert "--key: expected netG (SPADE generator), netE.module" in capsys.readouterr().err
    assert main([str(source), str(case.target), "--key", "netG"]) == 2
    assert "--key: expected a file, got the folder" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("spade_most", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    arrays = read_pickle(source)
    arrays["conv_img.bias"][1] = np.nan
    write_torch(source, arrays)
    assert main([str(source), str(case.target)]) == 2
    printed = capsys.readouterr().err
    assert (
        "got 1 NaN or Inf in 1 tensors: conv_img.bias (1)" in printed and printed.count("\n") == 1
    )
    assert not case.target.exists()


def test_two_generators_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1_net_G.pth", "2_net_G.pth"):
        (tmp_path / name).write_bytes((FOLDER / "torch_zip_half.pth").read_bytes())
    assert main([str(tmp_path), str(tmp_path / "a.safetensors")]) == 2
    assert "expected one file *_net_G, got 2: 1_net_G.pth, 2_net_G.pth" in capsys.readouterr().err


def test_the_snapshot_has_the_format_of_training(tmp_path: Path) -> None:
    case = Case("spade_vae", tmp_path)
    source = case.write_torch()
    assert main([str(source), str(case.target), "--size", *map(str, case.size)]) == 0
    tensors, metadata = read_tensors(case.target)
    assert {name.split(".")[0] for name in tensors} == {"raw", "kept"}
    assert json.loads(metadata["options"])["generator"]["vae"] is True
    assert metadata["converted"] == "latest_net_G.pth, latest_net_E.pth"
    snapshot = read_snapshot(case.target)
    assert snapshot.has_encoder and snapshot.takes_photo and not snapshot.averaged


def test_a_converted_translation_needs_its_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("tsit_translation", tmp_path)
    command = [str(case.write_torch()), str(case.target), "--size", *map(str, case.size)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "found: content photos (--task translation), size 128 x 256, channels 2" in printed
    assert "note: 3 content planes are taken as photos" in printed
    assert "--input_path CONTENT --output_path OUT --img_path STYLES" in printed
    _, contents, _, style = case.write_inputs()
    assert run_test("--checkpoint", case.target) == 2
    assert "Name --input_path CONTENT" in capsys.readouterr().err
    assert run_test("--checkpoint", case.target, "--input_path", contents) == 2
    assert "Name --img_path STYLES, or --style PHOTO" in capsys.readouterr().err
    common = (
        "--checkpoint",
        case.target,
        "--input_path",
        contents,
        "--output_path",
        tmp_path / "o",
    )
    assert run_test(*common, "--style", "noise") == 2
    assert "takes its style only from a photo" in capsys.readouterr().err
    assert run_test(*common, "--img_path", Path(str(style)).parent) == 0
    assert "styles: random, from 1 in" in capsys.readouterr().out
    with Image.open(tmp_path / "o/content.jpg") as image:
        assert image.size == (256, 128)  # that of the training


def test_only_earlier_conversions_are_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check comes before the work, and the report announces a replacement."""
    case = Case("spade_most", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    published = source.read_bytes()
    trained = tmp_path / "generator-0110.safetensors"
    assert main([str(source), str(case.target)]) == 0
    tensors, metadata = read_tensors(case.target)
    del metadata["converted"]
    write_tensors(trained, tensors, metadata)
    (tmp_path / "mine.safetensors").write_text("mine")
    (tmp_path / "link.safetensors").symlink_to(case.target)
    (tmp_path / "folder.safetensors").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.glob("*.safetensors") if path.is_file()}
    capsys.readouterr()
    absent = str(tmp_path / "absent.pth")
    for name, reason in (
        (trained.name, "it is the snapshot of a training"),
        ("mine.safetensors", "this program did not convert it"),
        ("link.safetensors", "it is not a file"),
        ("folder.safetensors", "it is not a file"),
        ("mine.safetensors/x.safetensors", "expected a folder, got a file"),
    ):
        assert main([absent, str(tmp_path / name)]) == 2
        printed = capsys.readouterr().err
        assert (
            reason in printed and "name another dst" in printed.lower() and printed.count("\n") == 1
        )
    assert {path: path.read_bytes() for path in before} == before
    assert main([str(source), str(case.target)]) == 0
    assert f"replaces: {case.target}, an earlier conversion" in capsys.readouterr().out
    # The way back, into the folder of the download, and onto its file.
    for target in (source.parent, source):
        assert main([str(case.target), str(target), "--to", "torch"]) == 2
        assert f"{source} is in the way: this program did not" in capsys.readouterr().err
        assert source.read_bytes() == published
    for target in (tmp_path / "new/deep", tmp_path / "new/deep/g.pth"):
        for printed in ("written: ", "replaces: "):
            assert main([str(case.target), str(target), "--to", "torch"]) == 0
            assert capsys.readouterr().out.startswith(printed)
    (tmp_path / "new/deep/g.pth").write_bytes(published[:-1])
    assert main([absent, str(tmp_path / "new/deep/g.pth"), "--to", "torch"]) == 2
    assert "it was changed since" in capsys.readouterr().err


def test_the_folder_of_the_target_is_made(tmp_path: Path) -> None:
    source = FOLDER / "torch_zip_half.pth"
    assert main([str(source), str(tmp_path / "new/deep/d.safetensors")]) == 0
    assert read_metadata(tmp_path / "new/deep/d.safetensors")["family"] == "discriminator"
    assert main([str(source), str(tmp_path / "new/deep/d.safetensors")]) == 0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"family": "gan"}, "expected a family in its metadata .* got 'gan'"),
        ({"family": "encoder"}, "expected the names of the style encoder .*, got others: discrim"),
    ],
)
def test_a_file_of_this_project_with_other_metadata(
    change: dict[str, str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.safetensors"
    assert main([str(FOLDER / "torch_zip_half.pth"), str(path)]) == 0
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, metadata | change)
    assert main([str(path), str(tmp_path / "d.pth"), "--to", "torch"]) == 2
    printed = capsys.readouterr().err
    assert re.search(fault, printed) and printed.count("\n") == 1
    assert not (tmp_path / "d.pth").exists()
