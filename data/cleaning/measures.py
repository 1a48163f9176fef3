"""What one pair says of itself: pure functions of a view, each with formula, unit and range.

view = View(image, layout)
PAIR_MEASURES["border_density"](view)

Two more measures compare the pair with the rest of its dataset: see data.cleaning.evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from data.cleaning.view import View

# How far a layout is moved to look for a better place, as a share of each side.
_REACH = 0.125
# A layout's own place: moves up to this many pixels of the view count as none.
_SLACK = 2


def border_density(view: View) -> float:
    """Share of neighbouring pixels (4-neighbours) of different classes; 0..1.

    D = (borders across + borders down) / (H (W - 1) + (H - 1) W).
    """
    across, down = view.borders
    return float((across.sum() + down.sum()) / (across.size + down.size))


def thin_share(view: View) -> float:
    """Share of the picture's pixels that no 3 x 3 block of one class covers; 0..1.

    The complement of the morphological opening of every class by a 3 x 3 square.
    """
    ids = view.layout.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    uniform = (cv2.erode(ids, kernel) == cv2.dilate(ids, kernel)).astype(np.uint8)
    return float(1 - cv2.dilate(uniform, kernel).mean())


def island_share(view: View) -> float:
    """Share of the picture's area in segments smaller than 1/4000 of it; 0..1."""
    areas = np.bincount(view.segments.ravel())
    return float(areas[areas < view.segments.size / 4000].sum() / view.segments.size)


def segment_count(view: View) -> float:
    """Number of connected regions of one class (4-neighbours); 1 and more.

    Counted at a length of 256 pixels, so that pictures of all sizes compare.
    """
    return float(view.segments.max())


def border_support(view: View) -> float:
    """How much better the layout's borders lie on the photograph's edges here than elsewhere.

    With e(d) the mean edge strength under the layout's borders moved by d, for all moves up to 1/8
    of the sides: (max of e within 2 pixels - mean e) / standard deviation of e. Standard
    deviations; about 0..2 by chance, 4..12 where the layout belongs. NaN without borders.
    """
    return _placement(view)[0]


def shift_gain(view: View) -> float:
    """How much better the layout's borders fit the edges when the layout is moved.

    With e(d) as in `border_support`: (max e - max of e within 2 pixels) / standard deviation of e.
    Standard deviations, 0 and more: 0 where the layout lies best in its own place. NaN without
    borders.
    """
    return _placement(view)[1]


def mirror_gain(view: View) -> float:
    """How much better the layout's borders fit the edges when the layout is mirrored.

    With e(d) as in `border_support` and m(d) the same of the layout mirrored left to right:
    (max of m within 2 pixels - max of e within 2 pixels) / standard deviation of e. Standard
    deviations; below 0 where the layout is better as it is. NaN without borders.
    """
    return _placement(view)[2]


def explained_variance(view: View) -> float:
    """Share of the photograph's colour variance that its classes explain; 0..1.

    1 - sum over classes of the squared distances to the class's mean colour / sum of the squared
    distances to the picture's mean colour, in L*a*b* (the correlation ratio). NaN for one class.
    """
    known = view.known
    ids = view.layout[known]
    if not ids.size or ids.min() == ids.max():
        return float("nan")
    colours = view.lab[known].astype(np.float64)
    colours -= colours.mean(axis=0)
    total = float((colours**2).sum())
    counts = np.bincount(ids)
    between = sum(
        float((np.bincount(ids, colours[:, channel]) ** 2 / np.maximum(counts, 1)).sum())
        for channel in range(3)
    )
    return between / max(total, 1e-6)


def colourfulness(view: View) -> float:
    """How colourful the photograph is: 0 grey, about 15 slightly, 45 fairly, 100 extremely.

    Hasler and Suesstrunk 2003, equation 9: sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2), means
    and standard deviations of rg = R - G and yb = (R + G) / 2 - B, R, G, B in 0..255.
    """
    red, green, blue = (view.image[..., channel].astype(np.float32) for channel in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    spread = np.hypot(float(rg.std()), float(yb.std()))
    return float(spread + 0.3 * np.hypot(float(rg.mean()), float(yb.mean())))


def backlight(view: View) -> float:
    """How far the foreground is crushed to black against a bright sky; 0..1.

    c min(1, 5 b) min(1, 10 d), with b the mean brightness clip((L* - 70) / 25, 0, 1), d the share
    of pixels of L* < 50 and c their mean darkness clip((20 - L*) / 15, 0, 1).
    """
    lightness = view.lab[..., 0]
    bright = float(np.clip((lightness - 70) / 25, 0, 1).mean())
    dark = lightness[lightness < 50]
    if not dark.size:
        return 0.0
    crushed = float(np.clip((20 - dark) / 15, 0, 1).mean())
    # A few dark pixels in a bright picture are no foreground.
    return crushed * min(1.0, 5 * bright) * min(1.0, 10 * dark.size / lightness.size)


def sharpness(view: View) -> float:
    """Mean strength of fine detail, log10 of the Laplacian's variance in L*; about -1..3.

    Chooses the best of near-duplicates; no pair is left out for it.
    """
    return float(np.log10(cv2.Laplacian(view.lab[..., 0], cv2.CV_32F).var() + 0.1))


def clipped_share(view: View) -> float:
    """Share of pixels at the ends of the tones, L* < 3 or L* > 97; 0..1.

    Chooses the best of near-duplicates; no pair is left out for it.
    """
    lightness = view.lab[..., 0]
    return float(((lightness < 3) | (lightness > 97)).mean())


PAIR_MEASURES: dict[str, Callable[[View], float]] = {
    function.__name__: function
    for function in (
        border_density,
        thin_share,
        island_share,
        segment_count,
        border_support,
        shift_gain,
        mirror_gain,
        explained_variance,
        colourfulness,
        backlight,
        sharpness,
        clipped_share,
    )
}


def measure_pair(view: View) -> dict[str, float]:
    """Return every measure of a pair by its name."""
    return {name: function(view) for name, function in PAIR_MEASURES.items()}


@lru_cache(maxsize=1)
def _placement(view: View) -> tuple[float, float, float]:
    """Return border_support, shift_gain and mirror_gain: they share their transforms."""
    height, width = view.size
    reach = (round(_REACH * height), round(_REACH * width))
    shape = tuple(
        fft.next_fast_len(n + r, real=True) for n, r in zip(view.size, reach, strict=True)
    )
    straight = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
    mirrored = np.zeros_like(straight)
    count = 0
    for border, edge in zip(view.borders, view.edges, strict=True):
        edges = fft.rfft2(edge, shape)
        marks = border.astype(np.float32)
        count += int(border.sum())
        straight += edges * np.conj(fft.rfft2(marks, shape))
        mirrored += edges * np.conj(fft.rfft2(np.ascontiguousarray(marks[:, ::-1]), shape))
    if not count:
        return (float("nan"),) * 3
    fits = []
    for spectrum in (straight, mirrored):
        moved = fft.irfft2(spectrum, shape)
        rows = np.arange(-reach[0], reach[0] + 1)
        columns = np.arange(-reach[1], reach[1] + 1)
        fits.append(moved[rows[:, None], columns] / count)
    fit, turned = fits
    own = np.s_[
        reach[0] - _SLACK : reach[0] + _SLACK + 1, reach[1] - _SLACK : reach[1] + _SLACK + 1
    ]
    here, spread = float(fit[own].max()), max(float(fit.std()), 1e-6)
    return (
        (here - float(fit.mean())) / spread,
        (float(fit.max()) - here) / spread,
        (float(turned[own].max()) - here) / spread,
    )
