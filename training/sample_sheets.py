"""Sample sheets of a run: the same samples with the same noise, step after step."""

from __future__ import annotations

from data.loader import Batch
from data.transforms import normalize_planes
from inference.contact_sheet import save_image
from inference.samples import generate_samples, render_samples
from inference.synthesizer import NotFinite, Synthesizer
from training.log import Log
from training.plan import Progress
from training.preflight import Preparation
from training.segmenters import Referee
from training.trainer import Trainer

SAMPLES = 6  # rows of a sheet


class SampleSheets:
    """Renders the samples of a run with the trainer's EMA, one sheet per step at most.

    Attributes:
        referee: compares what two segmenters see in the samples; None without a second one.
    """

    def __init__(self, preparation: Preparation, trainer: Trainer, log: Log) -> None:
        self.preparation = preparation
        self.trainer = trainer
        self.log = log
        self.referee: Referee | None = None
        self._samples: Batch | None = None
        self._rendered_step = -1

    def render(self, progress: Progress) -> None:
        """Save samples/<epoch>-<step>.png; a failure is logged and training continues."""
        if self._rendered_step == progress.step:
            return
        self._rendered_step = progress.step
        options = self.preparation.options
        name = f"{progress.last_epoch:04d}-{progress.step:08d}.png"
        path = self.preparation.folder.samples / name
        try:
            with self.trainer.evaluating() as method:
                synthesizer = Synthesizer(method, options)
                sheet = render_samples(synthesizer, self._read(), options.training.seed)
                if self.referee is not None:
                    self._consult(self.referee, synthesizer, progress.step)
            save_image(sheet, path)
        except NotFinite as error:
            # The losses decide whether training continues.
            self.log.info(f"{path} was not rendered: {error}")
        except OSError as error:
            self.log.info(f"{path} could not be written: {error.strerror or error}")

    def _consult(self, referee: Referee, synthesizer: Synthesizer, step: int) -> None:
        samples, seed = self._read(), self.preparation.options.training.seed
        images = generate_samples(synthesizer, samples, seed)
        planes = [normalize_planes(image) for image in images]
        referee.report(planes, list(samples.image), samples.content, step)

    def _read(self) -> Batch:
        if self._samples is None:
            dataset, checked = self.preparation.dataset, self.preparation.checked
            assert dataset is not None and checked is not None  # as a phase is planned
            self._samples = dataset.samples(checked.items, checked.styles, SAMPLES)
        return self._samples
