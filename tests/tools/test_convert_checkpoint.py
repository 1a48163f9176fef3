"""Converted checkpoints, drawn with by test.py and held to the PyTorch reference's pictures."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.published import BATCH_COUNT
from tests.reference.goldens import FOLDER, Golden, load, settle
from tools.convert_checkpoint import main
from tools.start import start_jittor
from tools.submission import QUALITY
from training.checkpoint import read_snapshot
from training.safe_pickle import JITTOR_MARK, read_pickle
from training.tensor_file import read_metadata, read_tensors, write_tensors
from training.torch_file import write_torch

# Jittor's own handlers would end the tests when a test kills a process.
start_jittor("cpu")

from training.painter import Painter  # noqa: E402

Arrays = dict[str, np.ndarray]
ROOT = Path(__file__).resolve().parents[2]


def draw(*arguments: object) -> int:
    """test.py's exit code; its name is also the standard library's."""
    spec = importlib.util.spec_from_file_location("entry", ROOT / "test.py")
    assert spec is not None and spec.loader is not None
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    code: int = entry.main(["--device", "cpu", *map(str, arguments)])
    return code


def network(state: Arrays, name: str) -> Arrays:
    return {n.removeprefix(name + "."): a for n, a in state.items() if n.startswith(name + ".")}


def write_jittor(path: Path, arrays: Arrays) -> None:
    """As this design's first version saved: no counts, and each weight that spectral norm made."""
    state = {name: array for name, array in arrays.items() if not name.endswith(BATCH_COUNT)}
    for name in [name for name in state if name.endswith("weight_orig")]:
        state[name.removesuffix("_orig")] = state[name] * 2
    content = pickle.dumps(state, 4)
    path.write_bytes(content + hashlib.sha1(content).digest() + JITTOR_MARK)


class Case:
    """A golden picture with the files that a person would have."""

    def __init__(self, name: str, folder: Path) -> None:
        self.golden: Golden = load(f"picture_{name}")
        self.inputs = self.golden.section("in")
        self.state = self.golden.section("state")
        self.folder = folder
        self.target = folder / "converted.safetensors"
        self.size = tuple(self.golden.options["size"])

    def write_torch(self) -> Path:
        """latest_net_G.pth, and latest_net_E.pth where there is one."""
        source = self.folder / "published"
        source.mkdir()
        settled = settle(self.state)
        for letter, name in (("G", "generator"), ("E", "encoder")):
            if arrays := network(settled, name):
                counts = {n: np.array(7, np.int64) for n in arrays if n.endswith(BATCH_COUNT)}
                write_torch(source / f"latest_net_{letter}.pth", arrays | counts)
        return source

    def draw(self, monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
        """Draw with the converted file, and compare with the reference's picture."""
        flags = (*flags, *self.write_inputs())
        painted: list[np.ndarray] = []
        paint: Callable[..., np.ndarray] = Painter.paint

        def keep(painter: Painter, *arguments: Any, **rest: Any) -> np.ndarray:
            painted.append(paint(painter, *arguments, **rest))
            return painted[-1]

        monkeypatch.setattr(Painter, "paint", keep)
        if "z" in self.inputs:
            monkeypatch.setattr(Painter, "sample_noise", lambda *_: self.inputs["z"])
        output = self.folder / "output"
        common = ("--checkpoint", self.target, "--output_path", output)
        assert draw(*common, "--size", *self.size, *flags) == 0
        (picture,) = painted
        self.compare(picture)
        written = io.BytesIO()
        Image.fromarray(picture).save(written, "JPEG", quality=QUALITY)
        stem = "content" if "content" in self.inputs else "layout"
        assert (output / f"{stem}.jpg").read_bytes() == written.getvalue()

    def write_inputs(self) -> list[object]:
        labels = self.folder / "labels"
        labels.mkdir()
        if "content" in self.inputs:
            content = self.inputs["content"].astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(content).save(labels / "content.png")
        else:
            Image.fromarray(self.inputs["ids"][0].astype(np.uint8)).save(labels / "layout.png")
        flags: list[object] = ["--input_path", labels]
        if "photograph" in self.inputs:
            photograph = self.inputs["photograph"].astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(photograph).save(self.folder / "style.png")
            flags += ["--style", self.folder / "style.png"]
        if "instances" in self.inputs:
            instances = self.folder / "instances"
            instances.mkdir()
            plane = self.inputs["instances"][0].astype(np.uint8)
            Image.fromarray(plane).save(instances / "layout.png")
            flags += ["--instance_path", instances]
        return flags

    def compare(self, picture: np.ndarray) -> None:
        """At the 1024 places that the golden keeps, no more than one grey level off."""
        expected = np.rint((self.golden.samples["out/eval.image"] + 1) * 127.5)
        assert len(np.unique(expected)) > 20
        key = "out/eval.image"
        planes = picture.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        found = self.golden.difference(key, planes).absolute
        assert found <= 1.5 / 127.5, f"{found * 127.5:.2f} grey levels"


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
def test_a_converted_checkpoint_draws_the_references_picture(
    name: str, flags: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(name, tmp_path)
    source = case.write_torch()
    size = ("--size", *case.size)
    assert main([str(source), str(case.target), *map(str, (*flags, *size))]) == 0
    case.draw(monkeypatch)
    # ... and back, byte for byte.
    assert main([str(case.target), str(tmp_path / "back"), "--to", "torch"]) == 0
    for path in source.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_this_designs_first_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("tsit_first_version", tmp_path)
    source = tmp_path / "jittor"
    source.mkdir()
    for letter, name in (("G", "generator"), ("E", "encoder")):
        write_jittor(source / f"main_net_{letter}.pkl", network(case.state, name))
    command = [str(source), str(case.target), "--classes", "5", "--size", *map(str, case.size)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "first.weight" not in said  # a dense layer of the style vector reads no plane
    assert "content_stream.blocks.0.conv_0.weight[:, 5:12]" in said
    assert "5:12]: read by ids from 5 on alone" in said
    assert "  not used: content_stream.res_0.conv_0.weight, " in said
    assert " more: follows from weight_orig, weight_u and weight_v" in said
    options = read_snapshot(case.target).options
    assert options.data.classes == 5 and options.generator.content_channels == 12
    case.draw(monkeypatch)


def test_what_is_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("spade_most", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    assert main([str(source), str(case.target)]) == 0
    said = capsys.readouterr().out
    assert "latest_net_G.pth: SPADE generator, " in said and "float32" in said
    assert (
        "found: classes 5, unknown none, instance channel no, size 256 x 256, channels 4, "
        "halvings 7, norm batch, style vector none" in said
    )
    counts = [n for n in network(case.state, "generator") if n.endswith(BATCH_COUNT)]
    shown = ", ".join(f"{name} scalar" for name in counts[:10])
    assert f"  not used: {shown} and {len(counts) - 10} more: kept for --to torch" in said
    assert said.count("not used") == 1
    assert f"bash test.sh --checkpoint {case.target} --input_path LABELS" in said


def test_a_style_vector_without_its_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("spade_vae", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    command = [str(source), str(case.target), "--size", *map(str, case.size)]
    assert main(command) == 0
    labels, *_ = case.write_inputs()[1:2]
    common = ("--checkpoint", case.target, "--input_path", labels)
    assert draw(*common, "--output_path", tmp_path / "a") == 0
    assert draw(*common, "--output_path", tmp_path / "b", "--style", "noise") == 0
    first, second = ((tmp_path / name / "layout.jpg").read_bytes() for name in "ab")
    assert first == second
    capsys.readouterr()
    assert draw(*common, "--style", tmp_path / "style.png") == 2
    assert "--style needs a generator that takes its style from" in capsys.readouterr().err


def test_a_pickle_as_checkpoint_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "latest_net_G.pth"
    path.write_bytes(pickle.dumps({}))
    assert draw("--checkpoint", path, "--input_path", tmp_path) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"python -m tools.convert_checkpoint {path} latest_net_G.safetensors" in said


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
    from training.vgg_weights import read_weights

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


def test_shapes_that_are_off_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("spade_normal", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    arrays = read_pickle(source)
    arrays["up_1.conv_0.bias"] = np.zeros(3, np.float32)
    del arrays["up_2.conv_0.bias"]
    write_torch(source, arrays)
    assert main([str(source), str(case.target)]) == 2
    said = capsys.readouterr().err
    assert "1 missing: generator.blocks.5.conv_0.bias" in said
    assert "1 misshapen: generator.blocks.4.conv_0.bias 3 for 16" in said
    assert not case.target.exists()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["SRC"], "the following arguments are required: DST"),
        (["{source}", "a.pth"], "DST is a .safetensors file"),
        (["{folder}", "a.safetensors"], r"a folder holds \*_net_G"),
        (["absent.pth", "a.safetensors"], "No such file"),
        (["{source}", "a.safetensors", "--halvings", "9"], "--halvings"),
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
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert re.search(rule, said)


def test_averaged_weights_are_what_goes_to_torch(tmp_path: Path) -> None:
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
    assert "DST of latest_net_G.pth and latest_net_E.pth is a folder" in capsys.readouterr().err


def test_a_strangers_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, victim = tmp_path / "latest_net_G.pth", tmp_path / "victim"
    path.write_bytes(b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(str(victim))))
    path.write_bytes(path.read_bytes() + str(victim).encode() + b"\x85R.")
    assert main([str(path), str(tmp_path / "a.safetensors")]) == 2
    said = capsys.readouterr().err
    assert "asks for os.mkdir, which could run code" in said and said.count("\n") == 1
    assert [item.name for item in tmp_path.iterdir()] == ["latest_net_G.pth"]
    pickle.loads(path.read_bytes())
    assert victim.is_dir()  # so the attack is a real one


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
    assert "holds a pix2pix generator" in capsys.readouterr().err
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
    said = capsys.readouterr().out
    assert "all.pth under netG_ema: SPADE generator, " in said
    assert "not used: iteration: no tensor" in said
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


def test_numbers_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("spade_most", tmp_path)
    source = case.write_torch() / "latest_net_G.pth"
    arrays = read_pickle(source)
    arrays["conv_img.bias"][1] = np.nan
    write_torch(source, arrays)
    assert main([str(source), str(case.target)]) == 2
    said = capsys.readouterr().err
    assert "got 1 NaN or Inf in 1 tensors: conv_img.bias (1)" in said and said.count("\n") == 1
    assert not case.target.exists()


def test_two_generators_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1_net_G.pth", "2_net_G.pth"):
        (tmp_path / name).write_bytes((FOLDER / "torch_zip_half.pth").read_bytes())
    assert main([str(tmp_path), str(tmp_path / "a.safetensors")]) == 2
    assert "holds 2 files *_net_G: 1_net_G.pth, 2_net_G.pth" in capsys.readouterr().err


def test_the_snapshot_is_of_the_form_that_training_writes(tmp_path: Path) -> None:
    case = Case("spade_vae", tmp_path)
    source = case.write_torch()
    assert main([str(source), str(case.target), "--size", *map(str, case.size)]) == 0
    tensors, metadata = read_tensors(case.target)
    assert {name.split(".")[0] for name in tensors} == {"raw", "kept"}
    assert json.loads(metadata["options"])["generator"]["vae"] is True
    assert metadata["converted"] == "latest_net_G.pth, latest_net_E.pth"
    snapshot = read_snapshot(case.target)
    assert snapshot.has_encoder and snapshot.takes_photograph and not snapshot.averaged


def test_a_converted_translation_needs_its_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("tsit_translation", tmp_path)
    command = [str(case.write_torch()), str(case.target), "--size", *map(str, case.size)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "found: content photographs (--task translation), size 128 x 256, channels 2" in said
    assert "note: 3 content planes are taken as photographs" in said
    assert "--input_path CONTENT --output_path OUT --img_path STYLES" in said
    _, contents, _, style = case.write_inputs()
    assert draw("--checkpoint", case.target) == 2
    assert "name --input_path CONTENT" in capsys.readouterr().err
    assert draw("--checkpoint", case.target, "--input_path", contents) == 2
    assert "name --img_path STYLES, or --style PHOTOGRAPH" in capsys.readouterr().err
    common = (
        "--checkpoint",
        case.target,
        "--input_path",
        contents,
        "--output_path",
        tmp_path / "o",
    )
    assert draw(*common, "--style", "noise") == 2
    assert "takes its style from a photograph alone" in capsys.readouterr().err
    assert draw(*common, "--img_path", Path(str(style)).parent) == 0
    assert "styles: at random of the 1 in" in capsys.readouterr().out
    with Image.open(tmp_path / "o/content.jpg") as picture:
        assert picture.size == (256, 128)  # the generator's own


def test_what_is_not_a_conversion_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before the work; earlier conversions are replaced, and that is said."""
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
        ("link.safetensors", "it is no file"),
        ("folder.safetensors", "it is no file"),
        ("mine.safetensors/x.safetensors", "is no folder"),
    ):
        assert main([absent, str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert reason in said and "name another DST" in said and said.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    assert main([str(source), str(case.target)]) == 0
    assert f"replaces: {case.target}, an earlier conversion" in capsys.readouterr().out
    # The other way: the folder of the download, or its file.
    for target in (source.parent, source):
        assert main([str(case.target), str(target), "--to", "torch"]) == 2
        assert f"{source} is in the way: this program did not" in capsys.readouterr().err
        assert source.read_bytes() == published
    for target in (tmp_path / "new/deep", tmp_path / "new/deep/g.pth"):
        for said in ("written: ", "replaces: "):
            assert main([str(case.target), str(target), "--to", "torch"]) == 0
            assert capsys.readouterr().out.startswith(said)
    (tmp_path / "new/deep/g.pth").write_bytes(published[:-1])
    assert main([absent, str(tmp_path / "new/deep/g.pth"), "--to", "torch"]) == 2
    assert "it was changed since" in capsys.readouterr().err


def test_a_target_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    source = FOLDER / "torch_zip_half.pth"
    assert main([str(source), str(tmp_path / "new/deep/d.safetensors")]) == 0
    assert read_metadata(tmp_path / "new/deep/d.safetensors")["family"] == "discriminator"
    assert main([str(source), str(tmp_path / "new/deep/d.safetensors")]) == 0
