"""The networks that measure images, loaded and ready for inference.

network = load_network(EFFICIENTNET, None)      # Jittor has been started
predictor = load_predictor(Path("segmenter.safetensors"))
rater = load_rater(Path("nima.npz"))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.aesthetics import nima_input
from metrics.features import FeatureNetwork, efficientnet_input, inception_input
from metrics.predictions import Predictor
from options.paths import expand

EFFICIENTNET, INCEPTION = "EfficientNet-Lite0", "Inception v3"
DIMENSIONS = {EFFICIENTNET: 1280, INCEPTION: 2048}


def load_network(name: str, inception_weights: str | None) -> FeatureNetwork:
    """Load a feature network; Jittor has been started."""
    import jittor as jt

    from inference.synthesizer import prepare_networks
    from weights.backbones import load_efficientnet, load_inception

    network: Any
    if name == EFFICIENTNET:
        network, prepare = load_efficientnet(), efficientnet_input
    else:
        network, prepare = load_inception(expand(str(inception_weights))), inception_input
    prepare_networks([network])

    def pooled(batch: NDArray[np.float32]) -> NDArray[np.floating]:
        with jt.no_grad():
            features: NDArray[np.floating] = network.pooled(jt.array(batch)).numpy()
        return features

    return FeatureNetwork(name, DIMENSIONS[name], prepare, pooled)


def load_rater(path: Path) -> FeatureNetwork:
    """Load NIMA, whose features are the probabilities of 10 ratings; Jittor has been started."""
    import jittor as jt

    from inference.synthesizer import prepare_networks
    from models.networks.mobilenet import RATINGS
    from weights.nima import load_nima

    network = load_nima(path)
    prepare_networks([network])

    def probabilities(batch: NDArray[np.float32]) -> NDArray[np.floating]:
        with jt.no_grad():
            ratings: NDArray[np.floating] = network(jt.array(batch)).numpy()
        return ratings

    return FeatureNetwork("NIMA", RATINGS, nima_input, probabilities)


def load_predictor(path: Path) -> Predictor:
    """Load a segmenter; Jittor has been started."""
    import jittor as jt

    from inference.synthesizer import prepare_networks
    from weights.segmenters import load_segmenter

    network = load_segmenter(path)
    prepare_networks([network])

    def segment(batch: NDArray[np.float32]) -> NDArray[np.int32]:
        with jt.no_grad():
            predicted: NDArray[np.int32] = network.segment(jt.array(batch)).numpy()
        return predicted

    return Predictor(network.classes, segment, network.smallest_side)
