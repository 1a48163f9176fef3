"""The training loop.

preparation = prepare_run(options, schedule, log)
train(preparation, log)
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace

import jittor as jt

from data.loader import Batch
from data.seeds import derive_seed
from inference.synthesizer import MethodFactory, to_content
from models.gans import create_method
from runtime.stop import Stopped, StopRequest, stop_on_signal
from training import distributed
from training.checkpoint import check_checkpoint_space, save_state
from training.log import Log, Speed, describe_time, memory_mb
from training.loss_scale import GradientOverflow
from training.plan import PlannedPhase, Progress
from training.preflight import Preparation
from training.run_folder import describe_environment
from training.tasks import Task, create_task
from weights.finite import count_not_finite, describe_not_finite


class TrainingFailed(Exception):
    """Training cannot continue, and no flag or file of the user is the cause."""


def train(
    preparation: Preparation, log: Log, device: str = "cpu", create: MethodFactory = create_method
) -> Progress:
    """Run the phases of a plan and return the progress of the run.

    Raises Stopped after a signal, TrainingFailed if a loss is not finite or the disk is full, and
    UserError if weights, space or an image are missing. The last finished step is saved, unless
    its weights are not finite.
    """
    options = preparation.options
    jt.set_global_seed(derive_seed(options.training.seed, "weights"), different_seed_for_mpi=False)
    task = create_task(preparation, log, create)
    trainer = task.trainer
    if preparation.state is not None:
        preparation.state.load_into(trainer)
    trainer.broadcast()
    if distributed.rank() == 0:
        check_checkpoint_space(preparation.folder.checkpoints, trainer)
        _record_start(preparation, device)
    _log_start(preparation, log)
    with stop_on_signal() as stop:
        run = _Run(preparation, task, log, stop)
        try:
            run.train()
        finally:
            log.close()
    return run.progress


class _Run:
    """Executes the training phases and the periodic logging, sampling and checkpointing."""

    def __init__(
        self,
        preparation: Preparation,
        task: Task,
        log: Log,
        stop: StopRequest,
    ) -> None:
        self.preparation = preparation
        self.options = preparation.options
        self.folder = preparation.folder
        self.task = task
        self.trainer = task.trainer
        self.log = log
        self.stop = stop
        self.writer = distributed.rank() == 0
        self.progress = preparation.progress
        self.saved_step = preparation.progress.step if preparation.state else -1
        self.saved_at = self.ticked_at = time.monotonic()
        # False during a step, and after a loss that is not finite.
        self.consistent = True
        self.images = sum(p.steps_done * p.phase.batch_size for p in preparation.plan)
        self.last_images = sum(p.steps * p.phase.batch_size for p in preparation.plan)
        self.speed = Speed()

    def train(self) -> None:
        """Run every phase of the plan; the progress is saved however this ends."""
        self.log.start(self.progress.step, self.images, self.last_images)
        try:
            for planned in self.preparation.plan:
                self.begin_phase(planned)
                with closing(self.batches(planned)) as batches:
                    for batch in batches:
                        self.step(planned, batch)
                self.save()
                self.task.report(self.progress)
                # A signal during saving or reporting: the next phase is not begun.
                if distributed.sync_losses({}, self.stop.asked)[1]:
                    raise self.stopped()
        except BaseException as error:
            self.save_after(error)
            raise

    def batches(self, planned: PlannedPhase) -> Generator[Batch]:
        """This process's batches of the phase that are not trained on yet."""
        dataset, seed = self.preparation.dataset, self.options.training.seed
        assert dataset is not None  # as a phase is planned
        count = distributed.world_size()
        with dataset.loader(
            planned.items,
            planned.styles,
            batch_size=planned.phase.batch_size // count,
            seed=seed,
            rank=distributed.rank(),
            world_size=count,
        ) as loader:
            for epoch in range(self.progress.epoch, planned.epochs[-1] + 1):
                yield from loader.epoch(epoch, self.progress.step_in_epoch)

    def step(self, planned: PlannedPhase, batch: Batch) -> None:
        """Train one step, then log, sample, save and stop if it is time."""
        step = self.progress.step + 1
        self.consistent = False
        learning_rate = self.task.learning_rate(planned, self.progress)
        losses = self.train_on(batch, learning_rate, step)
        losses, stopping = distributed.sync_losses(losses, self.stop.asked)
        self.check_losses(losses, planned, step)
        self.advance(planned)
        self.consistent = True
        self.log_step(planned, losses, learning_rate)
        self.task.after_step(self.progress)
        minutes = (time.monotonic() - self.saved_at) / 60
        if stopping or minutes >= self.options.training.checkpoint_minutes:
            self.save()
        if stopping:
            raise self.stopped()

    def train_on(self, batch: Batch, learning_rate: float, step: int) -> dict[str, float]:
        """Update both networks on a batch; returns the weighted losses."""
        try:
            return self.trainer.step(
                to_content(batch.content, batch.edges, self.options.data.layout_classes),
                jt.array(batch.image),
                learning_rate=learning_rate,
                seed=derive_seed(self.options.training.seed, "step", step),
            )
        except GradientOverflow:
            raise TrainingFailed(
                f"gradients overflow float16 at step {step}, even with an unscaled loss. Last good "
                f"checkpoint: step {max(0, self.saved_step)}. Resume from it with --precision "
                "bfloat16 or float32"
            ) from None

    def save(self) -> None:
        """Write state and snapshot, unless those of this step exist."""
        if not self.writer or self.saved_step == self.progress.step:
            return
        # A finite loss only proves that the weights before its step were finite.
        not_finite = count_not_finite(self.trainer.variables())
        if not_finite:
            self.consistent = False
            raise TrainingFailed(
                f"weights are not finite after step {self.progress.step}: "
                f"{describe_not_finite(not_finite)}. They are not saved. {self.last_checkpoint()}"
            )
        ends = [phase.last_epoch for phase in self.preparation.schedule.phases]
        folder = self.folder.checkpoints
        try:
            # The state last: a run with a complete state has the snapshot of the same step.
            self.task.save_snapshot(self.progress, ends)
            save_state(folder, self.trainer, self.progress, self.task.digests)
        except OSError as error:
            self.consistent = False  # so that it is not tried again on the way out
            raise TrainingFailed(
                f"{folder}: the checkpoint of step {self.progress.step} could not be written "
                f"({error.strerror or error}). Free some space; the same command resumes from step "
                f"{max(0, self.saved_step)}"
            ) from error
        self.saved_step = self.progress.step
        self.saved_at = time.monotonic()

    def save_after(self, error: BaseException) -> None:
        """Save the progress before `error`; raise Stopped if a signal caused it."""
        if self.consistent:
            self.save()
        if not self.stop.asked and not isinstance(error, Stopped):
            return
        saved = max(0, self.saved_step)
        self.log.info(f"stopped; step {saved} is saved, and the same command resumes from it")
        # Without runtime.supervise, Ctrl-C in a terminal also ends the compilers that a step may
        # wait for: then the step has failed, and is repeated by the next start.
        raise self.stopped() from error

    def begin_phase(self, planned: PlannedPhase) -> None:
        """Set the stage of the phase, and log what it trains."""
        names = [phase.name for phase in self.preparation.schedule.phases]
        index = names.index(planned.phase.name)
        begun = self.preparation.schedule.phases[: index + 1]
        before, stage = begun[max(0, index - 1)].stage, planned.phase.stage
        self.trainer.begin_stage(stage, fresh=stage != before and not planned.steps_done)
        self.progress = replace(self.progress, phases=begun, pairs=planned.digest)
        assert self.preparation.dataset is not None
        self.log.info(
            f"phase {planned.phase.name}: epochs {planned.epochs[0]} to {planned.epochs[-1]}, "
            f"{len(planned.items)} {self.preparation.dataset.noun}, batch "
            f"{planned.phase.batch_size}, learning rate {planned.phase.learning_rate:g}"
            + ("" if stage == "all" else f", stage {stage}")
        )

    def advance(self, planned: PlannedPhase) -> None:
        """Count the step."""
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

    def check_losses(self, losses: Mapping[str, float], planned: PlannedPhase, step: int) -> None:
        """Raise TrainingFailed if a loss is not finite."""
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingFailed(
                    f"loss {name} is {value} at step {step} (phase {planned.phase.name}, epoch "
                    f"{self.progress.epoch}). {self.last_checkpoint()}"
                )

    def log_step(
        self, planned: PlannedPhase, losses: Mapping[str, float], learning_rate: float
    ) -> None:
        """Update the progress bar, and write a record every --log-every steps."""
        progress, phase = self.progress, planned.phase
        place = f"phase {phase.name}  epoch {progress.last_epoch}/{planned.epochs[-1]}"
        self.log.tick(place, phase.batch_size, losses)
        if progress.step % self.options.training.log_every:
            return
        rate = self.speed.images_per_second
        record = {
            "phase": phase.name,
            "epoch": progress.last_epoch,
            "step": progress.step,
            "losses": losses,
            "learning_rate": learning_rate,
            **{f"{side}_loss_scale": s.value for side, s in self.trainer.scales.items()},
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(rate, 3),
            "memory_mb": _memory_mb(),
        }
        left = (self.last_images - self.images) / rate if rate else 0.0
        self.log.stats(place, record, left)

    def last_checkpoint(self) -> str:
        """A sentence about the last good checkpoint and the ways to resume from it."""
        return (
            f"Last good checkpoint: step {max(0, self.saved_step)}. Resume from it with other "
            "losses (e.g. a lower --lambda-gan), or start a new run with a lower learning rate"
        )

    def stopped(self) -> Stopped:
        """The exception for the signal; SIGTERM if another process got it."""
        return Stopped(self.stop.number or signal.SIGTERM)


def _memory_mb() -> int:
    """MB (2^20 bytes): held by Jittor on a GPU, or the peak of this process on the CPU."""
    if jt.flags.use_cuda:
        return int(jt.get_mem_info().total_cuda_used) >> 20
    return memory_mb()


def _record_start(preparation: Preparation, device: str) -> None:
    environment = describe_environment(device, distributed.world_size())
    try:
        preparation.folder.record_start(preparation.options, sys.argv, environment)
    except OSError as error:
        raise TrainingFailed(
            f"{preparation.folder.path}: the options of the run could not be written "
            f"({error.strerror or error}). Free some space, and start the same command again"
        ) from error


def _log_start(preparation: Preparation, log: Log) -> None:
    progress = preparation.progress
    if preparation.state is not None:
        log.info(
            f"resuming after step {progress.step} (epoch {progress.epoch}), "
            f"{describe_time(progress.seconds)} of training so far"
        )
    if preparation.plan:
        log.info("Jittor compiles operators at their first use: the first step may take minutes")
