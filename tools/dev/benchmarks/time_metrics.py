"""Times a network of tools.evaluate, or a segmenter's training step, and prints a JSON line.

    python -m tools.dev.benchmarks.time_metrics --network lite0 --pass forward \\
        --size 384 512 --batch 8 --folder DIR

The line is that of tools/dev/benchmarks/time_network.py. tests/reference/time_metrics.py is the
counterpart in PyTorch, with the same flags. Before its timing each program writes its results to
the folder, for comparison. This one also writes the weights under the counterpart's names, the
names of those that a step updates, and a segmenter's file. The networks are loaded as
tools.evaluate loads them, on the CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from options.groups import DataOptions, OptimizerOptions, SegmenterOptions
from options.train import RunOptions
from tools.dev.benchmarks.layouts import read_layouts
from tools.dev.benchmarks.time_network import print_times

if TYPE_CHECKING:
    from training.segmentation import SegmentationTrainer
    from weights.segmenters import SegmenterNetwork

# Segmenter -> encoder, as --encoder of train.sh names it.
ENCODERS = {"lite0": "efficientnet_lite0", "segformer-b0": "mit_b0"}
FEATURES = "features"
CLASSES = 29
# Of both programs. Three steps show the loss, and the effect of two updates.
RATE, STEPS = 6e-5, 3
SEGMENTER = SegmenterOptions(head_factor=10.0, weight_decay=0.01)
OPTIMIZER = OptimizerOptions(beta1=0.9, beta2=0.999, ema_decay=0.0)
# Names in the folder.
OURS, THEIRS, SEGMENTER_FILE = "ours.npz", "theirs.npz", "segmenter.safetensors"
WEIGHTS, TRAINED = "weights.npz", "trained.txt"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and return 0."""
    options = make_parser(__doc__).parse_args(argv)
    from runtime.start import start_jittor

    start_jittor("cpu")
    print_times(lambda: prepare_pass(options), options.rounds, gpu=False)
    return 0


def make_parser(description: str) -> argparse.ArgumentParser:
    """The parser of the flags that both programs share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--network", choices=(*ENCODERS, FEATURES), required=True, help="the network")
    add("--pass", dest="kind", choices=("forward", "step"), required=True, help="the pass to time")
    add("--size", type=int, nargs=2, required=True, metavar=("H", "W"), help="of the images")
    add("--batch", type=int, default=1, metavar="N", help="images per pass (1)")
    add("--rounds", type=int, default=5, metavar="N", help="counted passes (5)")
    add("--folder", type=Path, required=True, metavar="DIR", help="for weights and results")
    return parser


def make_batch(
    batch: int, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Images (N, 3, H, W) in [-1, 1], and layouts (N, H, W)."""
    images = np.random.default_rng(0).uniform(-1, 1, (batch, 3, height, width))
    return images.astype(np.float32), read_layouts("random", batch, height, width, CLASSES)


def prepare_pass(options: argparse.Namespace) -> Callable[[], object]:
    """A function that runs the pass once, to its end; writes weights and results first."""
    import jittor as jt

    from weights.new_segmenters import create_segmenter

    images, layouts = make_batch(options.batch, *options.size)
    folder: Path = options.folder
    if options.network == FEATURES:
        return _prepare_features(folder, images)
    jt.set_global_seed(0)
    network = create_segmenter(ENCODERS[options.network], classes=CLASSES, drop_path=0.0)
    write_weights(folder, options.network, network.state_dict())
    if options.kind == "forward":
        return _prepare_segmenter(folder, network, images)
    network.head.dropout = 0.0  # random: the counterpart has none
    trainer = create_trainer(network)
    names = counterpart_names(options.network, network.state_dict())
    trained = [names[name] for name in trainer.optimizers["segmenter"].parameters]
    (folder / TRAINED).write_text("\n".join(trained))
    step = _step(trainer, images, layouts)
    np.savez(folder / OURS, losses=np.array([step() for _ in range(STEPS)]))
    return step


def _prepare_features(folder: Path, images: NDArray[np.float32]) -> Callable[[], object]:
    from inference.metric_networks import EFFICIENTNET, load_network
    from weights.backbones import load_efficientnet

    write_weights(folder, FEATURES, load_efficientnet().state_dict())
    network = load_network(EFFICIENTNET, None)
    np.savez(folder / OURS, pooled=network.pooled(images))
    return lambda: network.pooled(images)


def _prepare_segmenter(
    folder: Path, network: SegmenterNetwork, images: NDArray[np.float32]
) -> Callable[[], object]:
    import jittor as jt

    from inference.metric_networks import load_predictor
    from inference.synthesizer import prepare_networks
    from weights.segmenters import load_segmenter, save_segmenter

    save_segmenter(folder / SEGMENTER_FILE, network)
    prepared = load_segmenter(folder / SEGMENTER_FILE)
    prepare_networks([prepared])
    with jt.no_grad():
        logits = prepared(jt.array(images)).numpy()
    predictor = load_predictor(folder / SEGMENTER_FILE)
    np.savez(folder / OURS, logits=logits, classes=predictor.segment(images))
    return lambda: predictor.segment(images)


def create_trainer(network: SegmenterNetwork) -> SegmentationTrainer:
    """The trainer of a segmenter, without EMA."""
    from training.segmentation import SegmentationTrainer

    data = DataOptions(task="segmentation", classes=CLASSES)
    return SegmentationTrainer(
        network, RunOptions(data=data, segmenter=SEGMENTER, optimizer=OPTIMIZER)
    )


def _step(
    trainer: SegmentationTrainer, images: NDArray[np.float32], layouts: NDArray[np.int32]
) -> Callable[[], float]:
    """A function that makes a step and returns its loss."""
    import jittor as jt

    from models.layouts.layout import Layout

    def run() -> float:
        content = Layout(jt.array(layouts), CLASSES)
        losses = trainer.step(content, jt.array(images), learning_rate=RATE, seed=0)
        return losses["segmentation"]

    return run


def write_weights(folder: Path, network: str, state: Mapping[str, object]) -> None:
    """Write the state of a network under the counterpart's names."""
    names = counterpart_names(network, state)
    arrays: Mapping[str, np.ndarray] = {names[n]: np.asarray(var) for n, var in state.items()}
    np.savez(folder / WEIGHTS, **arrays)


def counterpart_names(network: str, names: Iterable[str]) -> dict[str, str]:
    """The name in tests/reference of each of a network's names."""
    from weights.backbones import find_efficientnet, name_efficientnet
    from weights.published_names import published_names
    from weights.safe_pickle import read_pickle
    from weights.segformer_names import head_pairs

    names = list(names)
    if network == "segformer-b0":
        return published_names("segformer", names)
    published = name_efficientnet({name: name for name in read_pickle(find_efficientnet())})
    backbone = {name.removeprefix("network."): theirs for name, theirs in published.items()}
    if network == FEATURES:
        return {name: backbone[name] for name in names}
    table = {f"encoder.{name}": f"encoder.{theirs}" for name, theirs in backbone.items()}
    pairs = head_pairs(hugging_face=False)
    table |= {f"head.{name}": f"decode_head.{theirs}" for name, theirs in pairs}
    return {name: table[name] for name in names}


if __name__ == "__main__":
    sys.exit(main())
