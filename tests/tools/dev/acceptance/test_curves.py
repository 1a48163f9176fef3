"""The plot of losses."""

from __future__ import annotations

import numpy as np

from tools.dev.acceptance.curves import COLORS, render_curves


def test_curves_show_every_loss() -> None:
    records = [{"step": s, "losses": {"gan": 1.0 / s, "vgg": float(s)}} for s in range(1, 9)]
    image = np.asarray(render_curves(records))
    for color in COLORS[:2]:
        assert (image == color).all(axis=-1).sum() > 100
