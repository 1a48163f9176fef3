"""Measures of one pair: pure functions of a view, each with formula, unit and range.

view = View(image, layout)
PAIR_MEASURES["border_density"](view)

Three more measures compare the pair with the rest of its dataset: see
data.cleaning.class_consistency and data.cleaning.duplicates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from data.cleaning.view import View

# Largest shift in the search for a better position of the layout, as a share of each side.
_REACH = 0.125
# Shifts of up to this many pixels of the view count as none.
_SLACK = 2


def border_density(view: View) -> float:
    """Share of neighboring pixels (4-neighbors) of different classes; 0..1.

    D = (borders across + borders down) / (H (W - 1) + (H - 1) W).
    """
    across, down = view.borders
    return float((across.sum() + down.sum()) / (across.size + down.size))


def thin_share(view: View) -> float:
    """Share of the pixels that no 3 x 3 block of one class covers; 0..1.

    The complement of the morphological opening of every class by a 3 x 3 square.
    """
    ids = view.layout.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    uniform = (cv2.erode(ids, kernel) == cv2.dilate(ids, kernel)).astype(np.uint8)
    return float(1 - cv2.dilate(uniform, kernel).mean())


def island_share(view: View) -> float:
    """Share of the area in segments smaller than 1/4000 of the image; 0..1."""
    areas = np.bincount(view.segments.ravel())
    return float(areas[areas < view.segments.size / 4000].sum() / view.segments.size)


def segment_count(view: View) -> float:
    """Number of connected regions of one class (4-neighbors); 1 and more.

    Counted at a longer side of 256 pixels, so that images of all sizes can be compared.
    """
    return float(view.segments.max())


def border_support(view: View) -> float:
    """Fit of the layout's borders to the photo's edges, compared with shifted layouts.

    e(d) is the mean edge strength under the layout's borders shifted by d, for all shifts up to
    1/8 of the sides: (max of e within 2 pixels - mean e) / standard deviation of e. Standard
    deviations; about 0..2 by chance, 4..12 for a matching layout. NaN without borders.
    """
    return _placement(view)[0]


def shift_gain(view: View) -> float:
    """How much better the layout's borders fit the photo's edges after a shift.

    With e(d) as in `border_support`: (max e - max of e within 2 pixels) / standard deviation of e.
    Standard deviations, 0 and more; 0 if no shift fits better. NaN without borders.
    """
    return _placement(view)[1]


def mirror_gain(view: View) -> float:
    """How much better the layout's borders fit the photo's edges after a left-right flip.

    With e(d) as in `border_support` and m(d) the same for the flipped layout:
    (max of m within 2 pixels - max of e within 2 pixels) / standard deviation of e. Standard
    deviations; below 0 if the layout fits better as it is. NaN without borders.
    """
    return _placement(view)[2]


def explained_variance(view: View) -> float:
    """Share of the photo's color variance that its classes explain; 0..1.

    1 - sum over classes of the squared distances to the class's mean color / sum of the squared
    distances to the image's mean color, in L*a*b* (the correlation ratio). NaN for one class.
    """
    known = view.known
    ids = view.layout[known]
    if not ids.size or ids.min() == ids.max():
        return float("nan")
    colors = view.lab[known].astype(np.float64)
    colors -= colors.mean(axis=0)
    total = float((colors**2).sum())
    counts = np.bincount(ids)
    between = sum(
        float((np.bincount(ids, colors[:, channel]) ** 2 / np.maximum(counts, 1)).sum())
        for channel in range(3)
    )
    return between / max(total, 1e-6)


def colorfulness(view: View) -> float:
    """Colorfulness of the photo: 0 gray, about 15 slight, 45 moderate, 100 extreme.

    Hasler and Suesstrunk 2003, equation 9: sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2), means
    and standard deviations of rg = R - G and yb = (R + G) / 2 - B, R, G, B in 0..255.
    """
    red, green, blue = (view.image[..., channel].astype(np.float32) for channel in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    spread = np.hypot(float(rg.std()), float(yb.std()))
    return float(spread + 0.3 * np.hypot(float(rg.mean()), float(yb.mean())))


def backlight(view: View) -> float:
    """Degree to which the foreground is crushed to black against a bright sky; 0..1.

    c min(1, 5 b) min(1, 10 d), with b the mean brightness clip((L* - 70) / 25, 0, 1), d the share
    of pixels of L* < 50 and c their mean darkness clip((20 - L*) / 15, 0, 1).
    """
    lightness = view.lab[..., 0]
    bright = float(np.clip((lightness - 70) / 25, 0, 1).mean())
    dark = lightness[lightness < 50]
    if not dark.size:
        return 0.0
    crushed = float(np.clip((20 - dark) / 15, 0, 1).mean())
    # A few dark pixels in a bright image are no foreground.
    return crushed * min(1.0, 5 * bright) * min(1.0, 10 * dark.size / lightness.size)


def sharpness(view: View) -> float:
    """Mean strength of fine detail, log10 of the Laplacian's variance in L*; about -1..3.

    Ranks near-duplicates; it leaves no pair out.
    """
    return float(np.log10(cv2.Laplacian(view.lab[..., 0], cv2.CV_32F).var() + 0.1))


def clipped_share(view: View) -> float:
    """Share of pixels at the ends of the tones, L* < 3 or L* > 97; 0..1.

    Ranks near-duplicates; it leaves no pair out.
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
        colorfulness,
        backlight,
        sharpness,
        clipped_share,
    )
}


def measure_pair(view: View) -> dict[str, float]:
    """Return every measure of a pair by name."""
    return {name: function(view) for name, function in PAIR_MEASURES.items()}


@lru_cache(maxsize=1)
def _placement(view: View) -> tuple[float, float, float]:
    """Return border_support, shift_gain and mirror_gain, which share their Fourier transforms."""
    height, width = view.size
    reach = (round(_REACH * height), round(_REACH * width))
    shape = tuple(
        fft.next_fast_len(n + r, real=True) for n, r in zip(view.size, reach, strict=True)
    )
    # Cross-correlations of borders and edges, for the layout and for the flipped layout.
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
        shifted = fft.irfft2(spectrum, shape)
        rows = np.arange(-reach[0], reach[0] + 1)
        columns = np.arange(-reach[1], reach[1] + 1)
        fits.append(shifted[rows[:, None], columns] / count)
    fit, flipped = fits  # e(d) and m(d), (2 * reach[0] + 1, 2 * reach[1] + 1)
    own = np.s_[
        reach[0] - _SLACK : reach[0] + _SLACK + 1, reach[1] - _SLACK : reach[1] + _SLACK + 1
    ]
    here, spread = float(fit[own].max()), max(float(fit.std()), 1e-6)
    return (
        (here - float(fit.mean())) / spread,
        (float(fit.max()) - here) / spread,
        (float(flipped[own].max()) - here) / spread,
    )
