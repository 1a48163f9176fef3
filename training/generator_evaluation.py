"""Measures of a generator in training, on fixed layouts: curves in the log, and the best snapshot.

    evaluation = GeneratorEvaluation(preparation, trainer, log)
    evaluation.measure(progress)        # logs, and keeps checkpoints/best.safetensors

Images are measured at the size of a submission, but before JPEG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.content import at_even_distances
from data.evaluation_layouts import EvaluationLayout, find_evaluation_layouts
from data.folders import Pair
from data.labels import read_instances
from data.reading import LayoutClasses, read_photo
from data.transforms import instance_edges, normalize_planes, resize_layout
from inference.conditioning import conditioner_of
from inference.jobs import fit_image
from inference.metric_networks import EFFICIENTNET, load_network, load_predictor
from inference.synthesizer import NotFinite, Synthesizer
from metrics.features import FeatureNetwork, FeatureSet, measure_features
from metrics.frechet import Accumulator, frechet_distance
from metrics.kernel import FeatureSample, kernel_distance
from metrics.predictions import Predictor
from metrics.segmentation import SegmentationCounts, mean_iou
from metrics.table import GUESSES
from options.paths import expand
from training.log import Log
from training.plan import Progress
from training.preflight import Preparation
from training.trainer import Trainer
from weights.snapshots import read_best, save_best

PHOTOS = 1000  # of the training pairs, at even distances, that images are compared with
BATCH_SIZE = 32


@dataclass(frozen=True)
class _Sample:
    """An evaluation layout, read at the generator's size.

    layout: ids (H, W). photo: of the style, (H, W, 3). edges: (1, H, W) or None.
    """

    stem: str
    layout: NDArray[np.int32]
    photo: NDArray[np.uint8]
    edges: NDArray[np.float32] | None


class GeneratorEvaluation:
    """Measures the EMA of a generator, once per step at most."""

    def __init__(self, preparation: Preparation, trainer: Trainer, log: Log) -> None:
        self.options = options = preparation.options
        self.trainer = trainer
        self.log = log
        self.folder = preparation.folder.checkpoints
        data, training = options.data, options.training
        self.classes = LayoutClasses(data.classes, data.unknown_label, data.first_id or 0)
        assert preparation.dataset is not None  # as a phase is planned
        self.layouts = find_evaluation_layouts(preparation.dataset, training.evaluate_layouts)
        self.size = conditioner_of(data).image_size
        pairs = [item for item in preparation.dataset.items if isinstance(item, Pair)]
        self.photos = [pair.image_path for pair in at_even_distances(pairs, PHOTOS)]
        loss = options.loss
        segmenter = loss.second_segmenter or loss.segmenter
        self.predictor = None if segmenter is None else load_predictor(expand(segmenter))
        discriminates = options.discriminator.segmenter_discriminator
        if (
            segmenter is not None
            and loss.second_segmenter is None
            and (loss.lambda_segmentation or discriminates)
        ):
            log.info(
                "--evaluate-every measures with the segmenter that the losses use, which images "
                "learn to fool; --second-segmenter FILE measures with another one"
            )
        self.network: FeatureNetwork = load_network(EFFICIENTNET, None)
        self._real: FeatureSet | None = None
        self._measured_step = -1

    def measure(self, progress: Progress) -> None:
        """Log the measures of this step, and keep the generator if it is the best so far."""
        if self._measured_step == progress.step:
            return
        self._measured_step = progress.step
        if self._real is None:
            self._real = measure_features(self.photos, self.network)
            self._measure_photos()
        try:
            measures = self._measure(self._real)
        except NotFinite as error:
            # The losses decide whether training continues.
            self.log.info(f"step {progress.step}: not measured: {error}")
            return
        shown = "  ".join(f"{_NAMES[name]} {value:.4f}" for name, value in measures.items())
        self.log.info(
            f"step {progress.step}: {shown} ({len(self.layouts)} images, {len(self.photos)} photos)"
        )
        self.log.measures(progress, measures)
        self._keep_best(progress, measures)

    def _measure(self, real: FeatureSet) -> dict[str, float]:
        accumulator, sample = Accumulator(self.network.dimensions), FeatureSample()
        counts = SegmentationCounts(self.classes.count)
        similarities: dict[str, list[float]] = {guess: [] for guess in GUESSES}
        with self.trainer.evaluating() as method:
            synthesizer = Synthesizer(method, self.options)
            for start in range(0, len(self.layouts), BATCH_SIZE):
                images = []
                for one in self.layouts[start : start + BATCH_SIZE]:
                    read = self._read(one)
                    image = np.asarray(fit_image(self._generate(synthesizer, read), self.size))
                    images.append(self.network.prepare(image))
                    if self.predictor is not None:
                        layout = self.classes.read(one.label_path, *self.size)
                        counts.add(layout, _segment(self.predictor, image))
                    if synthesizer.takes_photo:
                        for guess, similarity in GUESSES.items():
                            similarities[guess].append(similarity(image, read.photo))
                features = self.network.pooled(np.stack(images))
                accumulator.add(features)
                sample.add(features)
        measures = {"fd_effnet": frechet_distance(accumulator.statistics(), real.statistics)}
        if real.sample is not None:
            measures["kd_effnet"] = 1000 * kernel_distance(sample.features(), real.sample)
        if counts.images:
            measures["mask_accuracy"] = counts.mask_accuracy
            measures["mean_iou"] = mean_iou(counts.matrix)
        for guess, values in similarities.items():
            if values:
                measures[f"style_{_KEYS[guess]}"] = float(np.mean(values))
        return measures

    def _read(self, one: EvaluationLayout) -> _Sample:
        height, width = self.options.data.height, self.options.data.width
        edges = None
        if self.options.data.instances and one.instance_path is not None:
            instances = resize_layout(read_instances(one.instance_path), height, width)
            edges = instance_edges(instances)[None].astype(np.float32)
        layout = self.classes.read(one.label_path, height, width)
        return _Sample(one.stem, layout, read_photo(one.style_path, height, width), edges)

    def _generate(self, synthesizer: Synthesizer, read: _Sample) -> NDArray[np.uint8]:
        # With an encoder the photo gives the style vector, as in a submission.
        noise = None
        if not synthesizer.has_encoder:
            seed = self.options.training.seed
            noise = synthesizer.sample_noise(seed, f"evaluation {read.stem}")
        style = read.photo if synthesizer.takes_photo else None
        return synthesizer.synthesize(read.layout, style=style, noise=noise, edges=read.edges)

    def _measure_photos(self) -> None:
        """Log the segmenter's accuracy on the layouts' own photos: its ceiling."""
        own = [one for one in self.layouts if one.has_photo]
        if self.predictor is None or not own:
            return
        counts = SegmentationCounts(self.classes.count)
        for one in own:
            photo = read_photo(one.style_path, *self.size)
            layout = self.classes.read(one.label_path, *self.size)
            counts.add(layout, _segment(self.predictor, photo))
        self.log.info(
            f"evaluation: the segmenter's mask accuracy on {len(own)} photos of the layouts is "
            f"{counts.mask_accuracy:.4f}, the most that images can show"
        )

    def _keep_best(self, progress: Progress, measures: Mapping[str, float]) -> None:
        name = self.options.training.best_measure
        if name not in measures:
            return
        value = measures[name]
        before = read_best(self.folder, name)
        if before is not None and not _is_better(name, value, before):
            return
        try:
            path = save_best(
                self.folder,
                dict(self.trainer.snapshot()),
                self.options,
                epoch=progress.last_epoch,
                step=progress.step,
                measure=name,
                value=value,
            )
        except OSError as error:
            self.log.info(f"the best generator was not written: {error.strerror or error}")
        else:
            self.log.info(f"step {progress.step}: the best {_NAMES[name]} so far, kept in {path}")


_KEYS = {"hue": "hue", "BGR + HSV": "bgr_hsv"}
_NAMES = {
    "fd_effnet": "FD-EffNet",
    "kd_effnet": "KD-EffNet x 1000",
    "mask_accuracy": "mask accuracy",
    "mean_iou": "mIoU",
    "style_hue": "style similarity hue",
    "style_bgr_hsv": "BGR + HSV",
}


def _segment(predictor: Predictor, image: NDArray[np.uint8]) -> NDArray[np.int32]:
    found: NDArray[np.int32] = predictor.segment(normalize_planes(image)[None])[0]
    return found


def _is_better(name: str, value: float, before: float) -> bool:
    return value > before if name == "mask_accuracy" else value < before
