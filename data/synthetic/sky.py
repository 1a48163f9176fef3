"""Skies: gradient, sun or moon, stars and clouds."""

from __future__ import annotations

import numpy as np

from data.synthetic.light import Light, mix, rgb
from data.synthetic.noise import Noise, smoothstep

MOON = rgb(236, 236, 218)


def render_sky(light: Light, rows: int) -> np.ndarray:
    """Render the sky: linear colors (rows, W, 3) of the top rows of the image."""
    camera, style = light.camera, light.style
    across = np.broadcast_to(camera.across[None, :], (rows, camera.width))
    rise = np.broadcast_to(camera.upward[:rows, None], across.shape)
    glow = light.horizon_glow(across)
    low = mix(style.horizon, style.glow, 0.75 * glow * np.exp(-np.abs(rise) * 4))
    color = mix(low, style.zenith, smoothstep(-0.02, 0.62, rise + 0.05 * (1 - glow)))
    if style.stars:
        color = color + _stars(light, across, rise)[..., None]
    color = _sun(light, color, across, rise)
    return _clouds(light, color, across, rise, glow)


def _stars(light: Light, across: np.ndarray, rise: np.ndarray) -> np.ndarray:
    noise = Noise(light.rng).band(across, rise, 0.012)
    return 0.5 * smoothstep(3.0, 3.6, noise) * smoothstep(0.05, 0.3, rise)


def _sun(light: Light, color: np.ndarray, across: np.ndarray, rise: np.ndarray) -> np.ndarray:
    if light.style.stars:
        # The moon is always in the image, for any direction of the light.
        at = (light.rng.uniform(-0.4, 0.4), light.rng.uniform(0.2, 0.34))
        disc, halo, shine = 0.016, 0.10, MOON
    elif light.sun_at[2] > 0.1:
        at = light.sun_at[:2] / light.sun_at[2]
        disc, halo, shine = 0.024, 0.22, light.style.glow * 1.6
    else:
        return color
    away = np.hypot(across - at[0], rise - at[1])
    color = color + (0.45 * np.exp(-away / halo))[..., None] * shine
    return mix(color, shine * 1.1, smoothstep(disc, disc * 0.75, away))


def _clouds(
    light: Light, color: np.ndarray, across: np.ndarray, rise: np.ndarray, glow: np.ndarray
) -> np.ndarray:
    noise = Noise(light.rng)
    # A plane of clouds overhead, bent down at the horizon to avoid aliasing.
    depth = 1 / (np.maximum(rise, 0) + 0.16)
    x, z = across * depth, depth * light.rng.uniform(0.8, 1.25)
    wavelength = light.rng.uniform(1.1, 2.2)
    state = light.rng.bit_generator.state
    density = noise.fractal(x, z, wavelength, turn=False)
    light.rng.bit_generator.state = state
    sunward = light.shine * 0.10 * wavelength
    behind = noise.fractal(x + sunward[0], z - 0.8 * sunward[1], wavelength, turn=False)
    edge = 1.3 - 2.7 * light.cloud_cover
    body = smoothstep(edge, edge + 0.9, density)
    lit = np.clip(0.62 + 0.55 * (density - behind) - 0.28 * (body - 0.5), 0, 1)
    style = light.style
    bright = mix(style.cloud_light, style.glow, 0.3 * glow)
    cloud = mix(style.cloud_dark, bright, lit)
    # Haze covers clouds near the horizon.
    return mix(color, cloud, body * 0.95 * smoothstep(-0.01, 0.16, rise))
