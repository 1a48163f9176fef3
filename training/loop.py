"""The training loop, in the order in which things happen.

preparation = prepare_run(options, schedule, log)
train(preparation, log)
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
from PIL import Image

from data.loader import Batch, BatchLoader
from data.transforms import denormalise
from models.layout import Content, Layout, Photographs
from models.methods import create_method
from models.networks.vgg import VGG19
from options.run import RunOptions
from training import processes
from training.checkpoint import (
    KEPT_STATES,
    load_strict,
    save_snapshot,
    save_state,
    snapshot_size,
    state_size,
)
from training.finite import count_not_finite, describe_not_finite
from training.learner import Learner
from training.log import Log, Speed, describe_time, memory_mb
from training.loss_scale import GradientOverflow
from training.painter import Create, NotFinite, Painter
from training.phases import PlannedPhase, Progress
from training.preparation import Preparation
from training.run_folder import check_space, describe_environment
from training.sample_sheet import draw_layout, draw_sheet, fit_cell, save_picture
from training.seeds import derive_seed
from training.stop import Stopped, StopRequest, stop_on_signal
from training.vgg_weights import digest, get_weights, read_weights

SAMPLES = 6  # rows of a sample sheet


class TrainingFailed(Exception):
    """Training cannot go on, through no fault that a flag or a file would mend."""


def train(
    preparation: Preparation, log: Log, device: str = "cpu", create: Create = create_method
) -> Progress:
    """Run the phases of a plan, and return where the run stands then.

    Raises Stopped after a signal, TrainingFailed where a loss is not finite or the disk is full,
    and UserError where weights, space or a picture are missing. What was reached is saved, except
    where the weights are spoilt.
    """
    options = preparation.options
    jt.set_global_seed(derive_seed(options.training.seed, "weights"), different_seed_for_mpi=False)
    vgg, vgg_digest = _get_vgg(preparation, log)
    learner = Learner(create(options, vgg), options)
    if preparation.state is not None:
        preparation.state.load_into(learner)
    learner.share()
    writer = processes.rank() == 0
    if writer:
        _check_space(preparation, learner)
        environment = describe_environment(device, processes.count())
        try:
            preparation.folder.record_start(options, sys.argv, environment)
        except OSError as error:
            raise TrainingFailed(
                f"{preparation.folder.path}: the run's options could not be written "
                f"({error.strerror or error}); free some space, and start the same command again"
            ) from error
    _say_start(preparation, log)
    with stop_on_signal() as stop:
        run = _Run(preparation, learner, log, stop, {"vgg": vgg_digest}, writer)
        try:
            run.run_phases()
        finally:
            log.close()
    return run.progress


class _Run:
    """One start of a run: the loops, and what is written when."""

    def __init__(
        self,
        preparation: Preparation,
        learner: Learner,
        log: Log,
        stop: StopRequest,
        extra: Mapping[str, str | None],
        writer: bool,
    ) -> None:
        self.preparation = preparation
        self.options = preparation.options
        self.folder = preparation.folder
        self.learner = learner
        self.log = log
        self.stop = stop
        self.extra = extra
        self.writer = writer
        self.progress = preparation.progress
        self.saved_step = preparation.progress.step if preparation.state else -1
        self.saved_at = self.ticked_at = time.monotonic()
        self.drawn_step = -1
        # False while a step is under way, and once a loss was not finite.
        self.whole = True
        self.images = sum(p.steps_done * p.phase.batch_size for p in preparation.plan)
        self.last_images = sum(p.steps * p.phase.batch_size for p in preparation.plan)
        self.speed = Speed()
        self.samples: Batch | None = None

    def run_phases(self) -> None:
        """Every phase of the plan in turn; what was reached is saved however it ends."""
        self.log.start(self.progress.step, self.images, self.last_images)
        try:
            for planned in self.preparation.plan:
                self.run_phase(planned)
        except BaseException as error:
            self._save_after(error)
            raise

    def run_phase(self, planned: PlannedPhase) -> None:
        """The epochs of a phase that are not done yet, then a checkpoint and a sample sheet."""
        self._begin_phase(planned)
        data = self.options.data
        with BatchLoader(
            planned.pairs,
            height=data.height,
            width=data.width,
            batch_size=planned.phase.batch_size // processes.count(),
            styles=planned.styles,
            classes=data.classes,
            unknown_label=data.unknown_label,
            first_id=data.first_id or 0,
            instances=data.instances,
            flip=data.flip,
            load_scale=data.load_scale,
            epoch_images=data.epoch_images,
            seed=self.options.training.seed,
            rank=processes.rank(),
            world_size=processes.count(),
            workers=data.workers,
        ) as loader:
            for epoch in range(self.progress.epoch, planned.epochs[-1] + 1):
                for batch in loader.epoch(epoch, self.progress.step_in_epoch):
                    self.run_step(planned, batch)
        self.save()
        self.draw_samples()
        # Asked while saving or drawing: the next phase, or the submission, is not begun.
        _, stopping = processes.agree({}, self.stop.asked)
        if stopping:
            raise Stopped(self.stop.number or signal.SIGTERM)

    def run_step(self, planned: PlannedPhase, batch: Batch) -> None:
        """One step, and whatever is due after it."""
        step = self.progress.step + 1
        self.whole = False
        try:
            losses = self.learner.step(
                _content_of(batch, self.options),
                jt.array(batch.image),
                learning_rate=planned.phase.learning_rate,
                seed=derive_seed(self.options.training.seed, "step", step),
            )
        except GradientOverflow:
            raise TrainingFailed(
                f"gradients must be finite: at step {step} float16 holds none, even with a loss "
                f"that is not scaled up; the last good state is of step {max(0, self.saved_step)}; "
                "go on from it with --precision bfloat16 or float32"
            ) from None
        losses, stopping = processes.agree(losses, self.stop.asked)
        self._check_finite(losses, planned, step)
        self._advance(planned)
        self.whole = True
        self._log_step(planned, losses)
        if step % self.options.training.sample_every == 0:
            self.draw_samples()
        minutes = (time.monotonic() - self.saved_at) / 60
        if stopping or minutes >= self.options.training.checkpoint_minutes:
            self.save()
        if stopping:
            raise Stopped(self.stop.number or signal.SIGTERM)

    def save(self) -> None:
        """Write state and snapshot, unless those of this step are there."""
        if not self.writer or self.saved_step == self.progress.step:
            return
        # A finite loss is of the weights before its step: that step may have spoilt them.
        spoilt = count_not_finite(self.learner.variables())
        if spoilt:
            self.whole = False
            raise TrainingFailed(
                f"weights must be finite: after step {self.progress.step} there are "
                f"{describe_not_finite(spoilt)}. Nothing of it was saved: "
                f"{self._say_last_state()}"
            )
        ends = [phase.last_epoch for phase in self.preparation.schedule.phases]
        folder = self.folder.checkpoints
        try:
            # The state last: a run whose state is complete has the snapshot that goes with it.
            save_snapshot(folder, self.learner, self.options, self.progress, ends)
            save_state(folder, self.learner, self.progress, self.extra)
        except OSError as error:
            self.whole = False  # not to be tried again on the way out
            raise TrainingFailed(
                f"{folder}: the checkpoint of step {self.progress.step} could not be written "
                f"({error.strerror or error}); free some space, and the same command goes on from "
                f"step {max(0, self.saved_step)}"
            ) from error
        self.saved_step = self.progress.step
        self.saved_at = time.monotonic()

    def draw_samples(self) -> None:
        """Draw the sample sheet of this step: fixed layouts, photographs as style, fixed noise."""
        if not self.writer or self.drawn_step == self.progress.step:
            return
        self.drawn_step = self.progress.step
        if self.samples is None:
            self.samples = _read_samples(self.preparation)
        epoch = self.progress.epoch if self.progress.step_in_epoch else self.progress.epoch - 1
        path = self.folder.samples / f"{epoch:04d}-{self.progress.step:08d}.png"
        try:
            with self.learner.drawing() as method:
                painter = Painter(method, self.options)
                sheet = draw_samples(painter, self.samples, self.options.training.seed)
            save_picture(sheet, path)
        except NotFinite as error:
            # Whether training goes on is for the losses to tell.
            self.log.say(f"{path} was not drawn: {error}")
        except OSError as error:
            self.log.say(f"{path} could not be written: {error.strerror or error}")

    def _begin_phase(self, planned: PlannedPhase) -> None:
        names = [phase.name for phase in self.preparation.schedule.phases]
        index = names.index(planned.phase.name)
        begun = self.preparation.schedule.phases[: index + 1]
        before, stage = begun[max(0, index - 1)].stage, planned.phase.stage
        self.learner.begin_stage(stage, fresh=stage != before and not planned.steps_done)
        self.progress = replace(self.progress, phases=begun, pairs=planned.digest)
        what = "content photographs" if planned.styles else "pairs"
        self.log.say(
            f"phase {planned.phase.name}: epochs {planned.epochs[0]} to {planned.epochs[-1]}, "
            f"{len(planned.pairs)} {what}, batch {planned.phase.batch_size}, learning rate "
            f"{planned.phase.learning_rate:g}" + ("" if stage == "all" else f", stage {stage}")
        )

    def _advance(self, planned: PlannedPhase) -> None:
        now = time.monotonic()
        seconds, self.ticked_at = now - self.ticked_at, now
        done = self.progress.step_in_epoch + 1
        ended = done == planned.steps_per_epoch
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            epoch=self.progress.epoch + ended,
            step_in_epoch=0 if ended else done,
            seconds=self.progress.seconds + seconds,
        )
        self.images += planned.phase.batch_size
        self.speed.add(planned.phase.batch_size)

    def _check_finite(self, losses: Mapping[str, float], planned: PlannedPhase, step: int) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingFailed(
                    f"a loss must be finite: {name} is {value} at step {step} (phase "
                    f"{planned.phase.name}, epoch {self.progress.epoch}); {self._say_last_state()}"
                )

    def _say_last_state(self) -> str:
        return (
            f"the last good state is of step {max(0, self.saved_step)}; go on from it with other "
            "losses (say, a lower --lambda-gan), or start anew with a lower learning rate"
        )

    def _log_step(self, planned: PlannedPhase, losses: Mapping[str, float]) -> None:
        progress, phase = self.progress, planned.phase
        epoch = progress.epoch if progress.step_in_epoch else progress.epoch - 1
        place = f"phase {phase.name}  epoch {epoch}/{planned.epochs[-1]}"
        self.log.tick(place, phase.batch_size, losses)
        if progress.step % self.options.training.log_every:
            return
        rate = self.speed.images_per_second
        record = {
            "phase": phase.name,
            "epoch": epoch,
            "step": progress.step,
            "losses": losses,
            "learning_rate": phase.learning_rate,
            **{f"{side}_loss_scale": s.value for side, s in self.learner.scales.items()},
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(rate, 3),
            "memory_mb": _memory_mb(),
        }
        left = (self.last_images - self.images) / rate if rate else 0.0
        self.log.stats(place, record, left)

    def _save_after(self, error: BaseException) -> None:
        """Save what was reached before `error`; raise Stopped where a signal is behind it."""
        if self.whole:
            self.save()
        if not self.stop.asked and not isinstance(error, Stopped):
            return
        saved = max(0, self.saved_step)
        self.log.say(f"stopped; step {saved} is saved, and the same command goes on from there")
        # Without tools.supervise a terminal's Ctrl-C ends the compilers too that a step may be
        # waiting for: then the step has failed, and is done again next time.
        raise Stopped(self.stop.number or signal.SIGTERM) from error


def _content_of(batch: Batch, options: RunOptions) -> Content:
    """What a batch's pictures are drawn from."""
    if options.data.task == "translation":
        return Photographs(jt.array(batch.layout))
    edges = None if batch.edges is None else jt.array(batch.edges)
    return Layout(jt.array(batch.layout), options.data.layout_classes, edges)


def draw_samples(painter: Painter, samples: Batch, seed: int) -> Image.Image:
    """A sheet with one row a sample: layout | photograph | result, and with an encoder | noise.

    In translation: content | style | result.
    """
    cell = fit_cell(*painter.size)
    if painter.options.data.task == "translation":
        return _draw_translations(painter, samples, seed, cell)
    titles = ["layout", "photograph", "result"]
    if painter.has_encoder:
        titles.append("from noise")
    rows = []
    for index, stem in enumerate(samples.stems):
        layout = samples.layout[index]
        edges = None if samples.edges is None else samples.edges[index]
        photograph = denormalise(samples.image[index].transpose(1, 2, 0))
        noise = painter.sample_noise(seed, f"sample {stem}")
        style = photograph if painter.takes_style else None
        first_noise = None if painter.has_encoder else noise
        row = [
            draw_layout(layout, painter.classes, cell),
            photograph,
            painter.paint(layout, style=style, noise=first_noise, edges=edges),
        ]
        if painter.has_encoder:
            row.append(painter.paint(layout, noise=noise, edges=edges))
        rows.append(row)
    seen = np.unique(samples.layout).tolist()
    return draw_sheet(rows, titles, cell=cell, legend=seen, classes=painter.classes)


def _draw_translations(
    painter: Painter, samples: Batch, seed: int, cell: tuple[int, int]
) -> Image.Image:
    rows = []
    for index, stem in enumerate(samples.stems):
        content, style = (
            denormalise(planes[index].transpose(1, 2, 0))
            for planes in (samples.layout, samples.image)
        )
        noise = painter.sample_noise(seed, f"sample {stem}")
        rows.append([content, style, painter.paint(content, style=style, noise=noise)])
    return draw_sheet(rows, ["content", "style", "result"], cell=cell)


def _read_samples(preparation: Preparation) -> Batch:
    """Pairs, or content and style, spread over the whole dataset, neither mirrored nor cropped."""
    data = preparation.options.data
    chosen = _spread(preparation.pairs, SAMPLES)
    count = len(chosen)
    loader = BatchLoader(
        chosen,
        styles=_spread(preparation.styles, count),
        height=data.height,
        width=data.width,
        batch_size=count,
        classes=data.classes,
        unknown_label=data.unknown_label,
        first_id=data.first_id or 0,
        instances=data.instances,
        flip=False,
        shuffle=False,
        workers=0,
    )
    with loader:
        return next(iter(loader.epoch(0)))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """`count` items at even distances, or all where there are fewer."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _get_vgg(preparation: Preparation, log: Log) -> tuple[VGG19 | None, str | None]:
    """VGG-19 with its weights and their digest, or None twice where training goes without."""
    loss, state = preparation.options.loss, preparation.state
    began_without = state is not None and state.extra.get("vgg") is None
    if began_without and loss.lambda_vgg and loss.vgg_weights is None and not loss.vgg_required:
        log.say("this run began without the VGG loss and goes on without it; --vgg-weights adds it")
        return None, None
    folder = Path(jt.compiler.ck_path)
    path = get_weights(loss, folder, log.say) if processes.rank() == 0 else None
    processes.wait_for_all()
    if processes.rank():
        # The first process has fetched them, or has seen that they cannot be had.
        path = get_weights(replace(loss, vgg_required=False), folder, log.say, fetch=False)
    if path is None:
        return None, None
    vgg = VGG19()
    shapes = {name: tuple(var.shape) for name, var in vgg.state_dict().items()}
    arrays = read_weights(path, shapes)
    load_strict({"vgg": vgg}, {f"vgg.{name}": array for name, array in arrays.items()}, path)
    vgg.eval()
    name = digest(arrays)
    if state is not None and state.extra.get("vgg") not in (None, name):
        log.say(f"the weights of VGG-19 in {path} are not those that this run began with")
    return vgg, name


def _memory_mb() -> int:
    """MB (2^20 bytes): what Jittor holds on a GPU, or the most that this process has held."""
    if jt.flags.use_cuda:
        return int(jt.get_mem_info().total_cuda_used) >> 20
    return memory_mb()


def _check_space(preparation: Preparation, learner: Learner) -> None:
    # A new state stands beside the two before it until it is whole, and so do two snapshots.
    there = preparation.folder.checkpoints.glob("state-*/state.safetensors")
    states = max(1, KEPT_STATES + 1 - len(list(there)))
    needed = states * state_size(learner) + 2 * snapshot_size(learner)
    check_space(preparation.folder.checkpoints, needed)


def _say_start(preparation: Preparation, log: Log) -> None:
    progress = preparation.progress
    if preparation.state is not None:
        log.say(
            f"going on after step {progress.step} (epoch {progress.epoch}), "
            f"{describe_time(progress.seconds)} of training so far"
        )
    if preparation.plan:
        log.say("Jittor compiles its operators at their first use: the first step may take minutes")
