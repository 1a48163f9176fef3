"""The accuracy of a segmenter in training on held-out pairs, in the log and on a sheet."""

from __future__ import annotations

import jittor as jt
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.content import at_even_distances
from data.images import read_image
from data.reading import LayoutClasses
from data.transforms import normalize_planes
from inference.contact_sheet import fit_cell, render_layout, render_sheet, save_image
from metrics.predictions import Predictor, measure_masks
from metrics.segmentation import SegmentationCounts, mean_iou
from training.log import Log
from training.plan import Progress
from training.preflight import Preparation
from training.segmentation import SegmentationTrainer

MEASURED = 200  # held-out pairs per measurement, at even distances
SHOWN = 6  # rows of a sheet


class HeldOutAccuracy:
    """Measures a segmenter on the held-out pairs of a run, once per step at most."""

    def __init__(self, preparation: Preparation, trainer: SegmentationTrainer, log: Log) -> None:
        self.folder = preparation.folder
        self.trainer = trainer
        self.log = log
        assert preparation.checked is not None  # as a phase is planned
        held_out = preparation.checked.held_out
        self.pairs = at_even_distances(held_out, MEASURED)
        self.total = len(held_out)
        data = preparation.options.data
        self.classes = LayoutClasses(data.classes, data.unknown_label, data.first_id or 0)
        self._measured_step = -1
        if not self.pairs:
            log.info("no pairs are held out: the accuracy is not measured")

    def measure(self, progress: Progress) -> None:
        """Log mask accuracy and mIoU, and save samples/<epoch>-<step>.png."""
        if self._measured_step == progress.step or not self.pairs:
            return
        self._measured_step = progress.step
        with self.trainer.evaluating() as network:
            predictor = Predictor(network.classes, self._segment, network.smallest_side)
            photos = [pair.image_path for pair in self.pairs]
            layouts = [pair.label_path for pair in self.pairs]
            counts = measure_masks(photos, layouts, self.classes, predictor).counts
            sheet = self._render_sheet()
        self._log(progress, counts)
        path = self.folder.samples / f"{progress.last_epoch:04d}-{progress.step:08d}.png"
        try:
            save_image(sheet, path)
        except OSError as error:
            self.log.info(f"{path} could not be written: {error.strerror or error}")

    def _log(self, progress: Progress, counts: SegmentationCounts) -> None:
        measures = {"mask_accuracy": counts.mask_accuracy, "mean_iou": mean_iou(counts.matrix)}
        _, floor = counts.floor
        some = "" if len(self.pairs) == self.total else f" of {self.total}"
        self.log.info(
            f"step {progress.step}: mask accuracy {counts.mask_accuracy:.4f}, mIoU "
            f"{measures['mean_iou']:.4f} on {len(self.pairs)}{some} held-out pairs (one class "
            f"everywhere: {floor:.4f})"
        )
        self.log.measures(progress, measures)

    def _segment(self, batch: NDArray[np.float32]) -> NDArray[np.int32]:
        predicted: NDArray[np.int32] = self.trainer.network.segment(jt.array(batch)).numpy()
        return predicted

    def _render_sheet(self) -> Image.Image:
        """Photo, layout and predicted layout of some held-out pairs."""
        shown = at_even_distances(self.pairs, SHOWN)
        rows, seen = [], set()
        cell = fit_cell(*read_image(shown[0].image_path).shape[:2])
        for pair in shown:
            photo = read_image(pair.image_path)
            layout = self.classes.read(pair.label_path, *photo.shape[:2])
            predicted = self._segment(normalize_planes(photo)[None])[0]
            count = self.classes.count
            layouts = [render_layout(ids, count, cell) for ids in (layout, predicted)]
            rows.append([photo, *layouts])
            seen |= {*np.unique(layout).tolist(), *np.unique(predicted).tolist()}
        return render_sheet(
            rows,
            ["photo", "layout", "predicted"],
            cell=cell,
            legend=sorted(seen),
            classes=self.classes.count,
        )
