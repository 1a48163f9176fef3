"""Random streams and fractal noise for synthetic landscapes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

TILE = 512
# A tile repeats after this many of its longest waves; a random offset and rotation hide it.
WAVES = 5
BAND = 48.0


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return a random generator that depends only on these three."""
    return np.random.default_rng([seed, index, zlib.crc32(name.encode())])


def _spectrum(name: str, weight: np.ndarray) -> np.ndarray:
    phase = stream(2022, 0, name).standard_normal((TILE, TILE))
    field = np.fft.irfft2(np.fft.rfft2(phase) * weight, s=(TILE, TILE))
    return (field / field.std()).astype(np.float32)


@cache
def _frequency() -> np.ndarray:
    return np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]) * TILE


def _band_tile(name: str, cycles: float) -> np.ndarray:
    """Return noise of about `cycles` waves per tile, one octave wide; mean 0, deviation 1."""
    octaves = np.log2(np.maximum(_frequency(), 1e-6) / cycles)
    return _spectrum(name, np.exp(-0.5 * (octaves / 0.35) ** 2))


def _fractal_tile() -> np.ndarray:
    """Return noise for clouds and rolling ground: the amplitude is frequency ** -1.7."""
    frequency = np.maximum(_frequency(), 1)
    return _spectrum("fractal", np.where(frequency < WAVES - 1, 0, frequency**-1.7))


def _ridged_tile() -> np.ndarray:
    """Return mountain ridges, 0 in the valleys to 1 on the crests.

    Source: F. K. Musgrave, ridged multifractal, in Texturing and Modeling, chapter 16.
    """
    height = np.zeros((TILE, TILE), np.float32)
    weight = np.ones((TILE, TILE), np.float32)
    for octave in range(6):
        band = _band_tile(f"ridge {octave}", WAVES * 2.0**octave)
        crest = np.clip(1 - np.abs(band) * 0.75, 0, 1) ** 1.6
        height += crest * weight * 0.42**octave
        weight = np.clip(crest * 1.6, 0.15, 1)
    low, high = np.percentile(height, (0.5, 99.8))
    return np.clip((height - low) / (high - low), 0, 1.05).astype(np.float32)


@cache
def _padded(tile: Callable[..., np.ndarray], *arguments: str | float) -> np.ndarray:
    return cv2.copyMakeBorder(tile(*arguments), 0, 1, 0, 1, cv2.BORDER_WRAP)


def _sample(padded: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read a tile at x, y, in units of tiles; overwrites both arrays."""
    # OpenCV's own wrapping border takes three times as long as the sampling.
    for way in (x, y):
        way -= np.floor(way)
        way *= TILE
    return cv2.remap(padded, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class Noise:
    """Noise fields over a plane; each call samples its own offset."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def _place(
        self, x: np.ndarray, y: np.ndarray, period: float, turn: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates in units of tiles, for a tile that repeats after `period`."""
        offset_x, offset_y, angle = self.rng.random(3) * (1, 1, 2 * np.pi)
        if not turn:
            scale = np.float32(1 / period)
            return x * scale + np.float32(offset_x), y * scale + np.float32(offset_y)
        cos, sin = np.float32(np.cos(angle) / period), np.float32(np.sin(angle) / period)
        return x * cos - y * sin + np.float32(offset_x), x * sin + y * cos + np.float32(offset_y)

    def fractal(
        self, x: np.ndarray, y: np.ndarray, wavelength: float, turn: bool = True
    ) -> np.ndarray:
        """Return fractal noise (mean 0, deviation 1) with longest waves of `wavelength`."""
        return _sample(_padded(_fractal_tile), *self._place(x, y, wavelength * WAVES, turn))

    def ridged(self, x: np.ndarray, y: np.ndarray, wavelength: float) -> np.ndarray:
        """Return ridged noise, 0 in valleys to 1 on crests, `wavelength` from ridge to ridge."""
        return _sample(_padded(_ridged_tile), *self._place(x, y, wavelength * WAVES, True))

    def band(
        self, x: np.ndarray, y: np.ndarray, wavelength: float, turn: bool = True
    ) -> np.ndarray:
        """Return noise of one wavelength (mean 0, deviation 1)."""
        tile = _padded(_band_tile, "band", BAND)
        return _sample(tile, *self._place(x, y, wavelength * BAND, turn))


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Return 0 below `low`, 1 above `high`, a smooth step in between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
