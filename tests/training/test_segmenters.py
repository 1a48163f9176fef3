"""The frozen segmenters of a run: their files, their losses in a run, and when they disagree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.gans import create_method
from models.networks.segformer import SegFormer, SegFormerShape
from options.errors import UserError
from options.groups import DiscriminatorOptions, GeneratorOptions
from options.schedule import Phase, Schedule
from options.train import RunOptions
from runtime.stop import Stopped
from tests.runs import (
    assert_same_run,
    last_state,
    read_log,
    read_losses,
    read_state,
    renamed,
    start,
    stop_at,
)
from tests.tiny import CLASSES
from training.checkpoint import State
from training.log import Log
from training.plan import Progress
from training.segmenters import TOLERATED, Referee, Segmenters, load_segmenters
from weights.segmenters import save_segmenter

FOOLED = "images learn to fool a frozen segmenter"
SHORT = Schedule("test", (Phase("I", 1, 2, "total", 1e-3),))  # three steps


def write_segmenter(path: Path, seed: int) -> str:
    jt.set_global_seed(seed)
    shape = SegFormerShape((4, 8, 10, 16), (1, 1, 1, 1), 8)
    save_segmenter(path, SegFormer(shape=shape, classes=CLASSES))
    return str(path)


@pytest.fixture
def judged(options: RunOptions, tmp_path: Path) -> RunOptions:
    """Options with a segmenter in both sides' losses, for images that are large enough for it."""
    return replace(
        options,
        data=replace(options.data, height=32, width=48),
        generator=GeneratorOptions(generator="spade", channels=2, num_downsamples=4),
        discriminator=DiscriminatorOptions(
            discriminator_layers=2, discriminator_channels=2, segmenter_discriminator=True
        ),
        loss=replace(
            options.loss,
            lambda_segmentation=1.0,
            segmenter=write_segmenter(tmp_path / "first.safetensors", seed=4),
        ),
    ).validate()


def watched(options: RunOptions, tmp_path: Path) -> RunOptions:
    second = write_segmenter(tmp_path / "second.safetensors", seed=5)
    return replace(options, loss=replace(options.loss, second_segmenter=second)).validate()


def state_with(**extra: str) -> State:
    return State(Path("state"), Progress(step=1), {}, {"vgg": None, **extra}, 0)


def test_segmenters_are_loaded_for_evaluation(judged: RunOptions, tmp_path: Path) -> None:
    both = watched(judged, tmp_path)
    segmenters = load_segmenters(both, None, Log(None))
    for network in (segmenters.first, segmenters.second):
        assert network is not None and not network.is_training()
        assert all(parameter.is_stop_grad() for parameter in network.parameters())
    assert set(segmenters.digests) == {"segmenter", "second_segmenter"}
    assert len(set(segmenters.digests.values())) == 2


def test_the_start_says_that_a_segmenter_can_be_fooled_unless_a_second_one_watches(
    judged: RunOptions, options: RunOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_segmenters(judged, None, Log(None))
    assert f"{FOOLED} within a few thousand steps; --second-segmenter" in capsys.readouterr().out
    without = replace(judged, loss=replace(judged.loss, lambda_segmentation=0.0))
    for quiet in (watched(judged, tmp_path), without, options):
        load_segmenters(quiet, None, Log(None))
        assert not capsys.readouterr().out


def test_another_segmenter_than_before_is_logged(
    judged: RunOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = watched(judged, tmp_path)
    digests = load_segmenters(both, None, Log(None)).digests
    load_segmenters(both, state_with(**digests), Log(None))
    load_segmenters(both, state_with(), Log(None))
    assert not capsys.readouterr().out
    for name, file in (("segmenter", "first"), ("second_segmenter", "second")):
        load_segmenters(both, state_with(**{**digests, name: "other"}), Log(None))
        line = f"the segmenter in {tmp_path / file}.safetensors differs from the one that this run"
        assert capsys.readouterr().out.startswith(line)


def test_images_that_are_too_small_are_refused(judged: RunOptions) -> None:
    small = replace(judged, data=replace(judged.data, height=16))
    with pytest.raises(UserError, match=r"first\.safetensors: .* 29 pixels or more, got 16 x 48"):
        load_segmenters(small, None, Log(None))
    # Its first stage trains at half the size.
    half = replace(judged, generator=replace(judged.generator, generator="pix2pixhd"))
    with pytest.raises(UserError, match=r"got 16 x 24\. Train at a larger --size"):
        load_segmenters(half, None, Log(None))


class Painted:
    """A segmenter that reads the class from the red channel; `wrong` pixels are class 0."""

    classes = 2

    def __init__(self, wrong: float) -> None:
        self.wrong = wrong

    def segment(self, image: jt.Var) -> jt.Var:
        found = (image[:, 0] > 0).int32()
        found[:, :, : round(self.wrong * found.shape[2])] = 0
        return found


@pytest.mark.parametrize(
    ("first", "second", "on_photos", "warns"),
    [
        (0.0, 0.0, (0.0, 0.0), False),
        (0.0, 0.3, (0.0, 0.3), False),  # the second one is weaker, on photos as well
        (0.0, 0.1, (0.0, 0.0), True),
        (0.0, TOLERATED, (0.0, 0.0), False),
        (0.1, 0.2, (0.1, 0.1), True),
        (0.3, 0.0, (0.0, 0.0), False),  # the losses do not favor the second one
    ],
)
def test_a_warning_appears_if_the_segmenters_part(
    first: float,
    second: float,
    on_photos: tuple[float, float],
    warns: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    layouts = np.ones((2, 4, 20), np.int32)
    image = np.ones((3, 4, 20), np.float32)
    networks: list[Any] = [Painted(wrong) for wrong in on_photos]
    referee = Referee(Segmenters(*networks), Log(None))
    referee.report([image, image], [image, image], layouts, 10)
    agreed = capsys.readouterr().out
    assert "samples' photos" in agreed and "samples at step 10" in agreed
    assert "warning" not in agreed
    networks[0].wrong, networks[1].wrong = first, second
    referee.report([image, image], [image, image], layouts, 20)
    out = capsys.readouterr().out
    line = f"samples at step 20: {1 - first:.3f} by the segmenter, {1 - second:.3f} by the second"
    assert line in out and "photos:" not in out
    assert ("warning: the segmenters' gap is 0.100 above that on photos" in out) == warns


def test_a_run_with_both_segmenters_resumes_exactly(judged: RunOptions, tmp_path: Path) -> None:
    both = watched(judged, tmp_path)
    unbroken, stopped = renamed(both, "unbroken", sample_every=2), renamed(both, "stopped")
    start(unbroken, SHORT, create_method)
    names = {"gan", "feature", "segmentation", "gan_segmenter", "fake", "real"}
    assert set(read_losses(unbroken)[-1][1]) == {*names, "fake_segmenter", "real_segmenter"}
    log = read_log(unbroken)
    assert [f"samples at step {step}:" in log for step in range(4)] == [False, False, True, True]
    interrupt = stop_at(2)

    def create(options: RunOptions, vgg: Any) -> Any:
        method = create_method(options, vgg)
        losses, count = method.generator_losses, iter(range(1, 9))

        def generator_losses(content: Any, image: Any) -> Any:
            interrupt(next(count))
            return losses(content, image)

        method.generator_losses = generator_losses  # type: ignore[method-assign]
        return method

    with pytest.raises(Stopped):
        start(stopped, SHORT, create)
    start(stopped, SHORT, create_method)
    assert_same_run(stopped, unbroken)
    arrays = read_state(stopped)
    assert "optimizer.discriminator.second.segmenter_discriminator.heads.0.first.weight" in arrays
    assert not any(name.startswith("network.segmenter.") for name in arrays)
    assert last_state(stopped).extra.keys() == {"vgg", "segmenter", "second_segmenter"}
