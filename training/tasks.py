"""The tasks of a run: the trainer, and the files that show and keep what it has learned.

    task = create_task(preparation, log)
    task.trainer.step(...)
    task.report(progress)           # a sample sheet, or an accuracy
    task.save_snapshot(progress)    # the network, for inference

A new task is a class here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from inference.synthesizer import MethodFactory, use_prepared_onednn
from models.gans import create_method
from options.paths import expand
from training import distributed
from training.checkpoint import save_generator
from training.generator_evaluation import GeneratorEvaluation
from training.held_out_accuracy import HeldOutAccuracy
from training.log import Log
from training.plan import PlannedPhase, Progress
from training.preflight import Preparation
from training.sample_sheets import SampleSheets
from training.segmentation import SegmentationTrainer
from training.segmenters import Referee, load_segmenters
from training.trainer import Trainer
from training.training_state import TrainingState
from training.vgg import load_vgg
from weights.new_segmenters import create_segmenter
from weights.segmenters import save_segmenter


class Task(ABC):
    """A trainer and its reports.

    Attributes:
        trainer: makes the steps.
        digests: of the files that the training depends on, by name; a checkpoint remembers them.
    """

    preparation: Preparation
    trainer: TrainingState
    digests: dict[str, str | None]

    def learning_rate(self, planned: PlannedPhase, progress: Progress) -> float:
        """The learning rate of the next step."""
        return planned.phase.learning_rate

    def after_step(self, progress: Progress) -> None:
        """Report if it is time."""
        if progress.step % self.preparation.options.training.sample_every == 0:
            self.report(progress)

    @abstractmethod
    def report(self, progress: Progress) -> None:
        """Show how good the network is, in the process that writes."""

    @abstractmethod
    def save_snapshot(self, progress: Progress, phase_ends: Collection[int]) -> None:
        """Write the network for inference; those of the epochs `phase_ends` are kept."""


class GanTask(Task):
    """Synthesis or translation: a generator against a discriminator."""

    def __init__(self, preparation: Preparation, log: Log, create: MethodFactory) -> None:
        self.preparation = preparation
        options = preparation.options
        vgg, digest = load_vgg(options.loss, preparation.state, log)
        use_prepared_onednn()
        segmenters = load_segmenters(options, preparation.state, log)
        method = create(options, vgg)
        if segmenters.first is not None:
            method.use_segmenter(segmenters.first)
        self.trainer: Trainer = Trainer(method, options)
        self.digests = {"vgg": digest, **segmenters.digests}
        self.samples = None
        self.evaluation = None
        if distributed.rank() == 0:
            self.samples = SampleSheets(preparation, self.trainer, log)
            if segmenters.second is not None:
                self.samples.referee = Referee(segmenters, log)
            if options.training.evaluate_every is not None:
                self.evaluation = GeneratorEvaluation(preparation, self.trainer, log)

    def after_step(self, progress: Progress) -> None:
        super().after_step(progress)
        every = self.preparation.options.training.evaluate_every
        if self.evaluation is not None and every is not None and progress.step % every == 0:
            self.evaluation.measure(progress)

    def report(self, progress: Progress) -> None:
        if self.samples is not None:
            self.samples.render(progress)

    def save_snapshot(self, progress: Progress, phase_ends: Collection[int]) -> None:
        folder, options = self.preparation.folder.checkpoints, self.preparation.options
        save_generator(folder, self.trainer, options, progress, phase_ends)


class SegmentationTask(Task):
    """Segmentation: a network that predicts layouts of photos."""

    def __init__(self, preparation: Preparation, log: Log, create: MethodFactory) -> None:
        self.preparation = preparation
        options = preparation.options
        segmenter = options.segmenter
        use_prepared_onednn()
        weights = segmenter.encoder_weights
        if weights is None and segmenter.encoder.startswith("mit_") and preparation.state is None:
            log.info(
                f"--encoder {segmenter.encoder} starts from random weights, with which it learns "
                f"poorly; --encoder-weights {segmenter.encoder}.pth starts from ImageNet"
            )
        network = create_segmenter(
            segmenter.encoder,
            classes=options.data.layout_classes,
            weights=None if weights is None else expand(weights),
            drop_path=segmenter.drop_path,
        )
        self.trainer: SegmentationTrainer = SegmentationTrainer(network, options)
        self.digests = {}
        self.accuracy = None
        if distributed.rank() == 0:
            self.accuracy = HeldOutAccuracy(preparation, self.trainer, log)

    def learning_rate(self, planned: PlannedPhase, progress: Progress) -> float:
        done = (progress.epoch - planned.epochs[0]) * planned.steps_per_epoch
        done += progress.step_in_epoch
        factor = self.trainer.rate_factor(progress.step, done, planned.steps)
        return planned.phase.learning_rate * factor

    def report(self, progress: Progress) -> None:
        if self.accuracy is not None:
            self.accuracy.measure(progress)

    def save_snapshot(self, progress: Progress, phase_ends: Collection[int]) -> None:
        path = self.preparation.folder.segmenter_path
        save_segmenter(path, self.trainer.network, self.trainer.ema.state())


# The tasks that are no GAN.
TASKS: dict[str, type[GanTask | SegmentationTask]] = {"segmentation": SegmentationTask}


def create_task(preparation: Preparation, log: Log, create: MethodFactory = create_method) -> Task:
    """Create the task of a run, untrained; `create` makes the method of a GAN.

    Raises UserError if a file of weights is missing or damaged.
    """
    task = TASKS.get(preparation.options.data.task, GanTask)
    return task(preparation, log, create)
