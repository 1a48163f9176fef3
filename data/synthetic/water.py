"""Water surfaces: reflection, waves, foam and depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.ground import Camera
from data.synthetic.light import mix, rgb
from data.synthetic.noise import smoothstep
from data.synthetic.textures import At, Surface

FOAM = rgb(238, 244, 246)


@dataclass(frozen=True)
class Motion:
    """Motion of the water of a class; lengths in image heights.

    mirror: share of light reflected at a flat angle. waves: displacement of the reflection.
    relief: contrast of the waves. length, stretch: of the waves, and their width over depth.
    foam: share of the crests. blur: vertical blur of the reflection.
    """

    mirror: float
    waves: float
    relief: float
    length: float
    stretch: float
    foam: float
    blur: float


MOTIONS = {
    "lake": Motion(
        mirror=0.86, waves=0.016, relief=0.08, length=0.12, stretch=4.0, foam=0.0, blur=0.01
    ),
    "water": Motion(
        mirror=0.78, waves=0.010, relief=0.05, length=0.08, stretch=3.0, foam=0.0, blur=0.02
    ),
    "river": Motion(
        mirror=0.55, waves=0.03, relief=0.16, length=0.07, stretch=1.6, foam=0.0, blur=0.16
    ),
    "sea": Motion(
        mirror=0.66, waves=0.05, relief=0.28, length=0.16, stretch=3.5, foam=0.10, blur=0.03
    ),
}


def render_water(
    image: np.ndarray,
    depth: np.ndarray,
    surface: Surface,
    name: str,
    wet: np.ndarray,
    all_wet: np.ndarray,
    shore: np.ndarray | None,
) -> None:
    """Render the surface of one water class, in place, over the color of its depth.

    image: linear (H, W, 3), hazed. depth: meters from the camera (H, W), sky infinite. wet: bool
    (H, W), pixels of the class; all_wet: pixels of all water. shore: meters of water (H, W).
    """
    motion, light, camera = MOTIONS[name], surface.light, surface.camera
    height = wet.shape[0]
    rows, columns = np.nonzero(wet)
    at = rows, columns
    long, short = motion.length, motion.length / 3
    swell = 0.8 * surface.grain(long, motion.stretch) + 0.6 * surface.grain(short, 2.5)
    # Farther water in the reflection has no surface yet, so it shows the low sky.
    source = image.copy()
    low_sky = mix(light.style.horizon, light.style.glow, 0.6 * light.horizon_glow(camera.across))
    source[all_wet] = np.broadcast_to(low_sky, source.shape)[all_wet]
    source = cv2.blur(source, (3, round(motion.blur * height) | 1))
    sway = swell * (motion.waves * height * 0.35)
    mirrored = _mirror(source, depth, wet, camera, sway)
    # Fresnel: far water at a flat angle reflects, near water at a steep angle is transparent.
    below = np.clip(-camera.upward * camera.focal, 0, 1)[rows]
    steepness = 0.9 * below + 0.4 * np.clip(camera.eye / surface.z[at], 0, 1)
    color = mix(image[at], mirrored, motion.mirror * (1 - 0.62 * smoothstep(0.0, 0.9, steepness)))
    # Far waves are below the resolution.
    waves = swell[at] / (1 + 30 * np.exp(-below * 40))
    color = color * np.clip(1 + motion.relief * waves, 0.3, 2.2)[:, None]
    color = color + _glitter(surface, swell, at)[:, None] * light.style.glow
    if motion.foam:
        foam = 0.8 * smoothstep(1.9 - 3 * motion.foam, 2.6, waves)
        if shore is not None:
            foam += _surf(shore[at] + 0.10 * surface.medium[at])
        color = mix(color, FOAM * (light.ambient + 0.6 * light.sun), np.clip(foam, 0, 1))
    image[at] = color


def _surf(depth: np.ndarray) -> np.ndarray:
    """Return two lines of breakers at fixed depths of the water (meters)."""
    breakers = np.exp(-((depth - 0.10) ** 2) / 0.012) + 0.6 * np.exp(-((depth - 0.9) ** 2) / 0.02)
    return 0.85 * np.clip(breakers, 0, 1)


def _mirror(
    image: np.ndarray, depth: np.ndarray, wet: np.ndarray, camera: Camera, sway: np.ndarray
) -> np.ndarray:
    """Return the reflections in water pixels (n, 3); waves displace them by `sway` rows (H, W).

    An object at distance d is reflected about the row of the water at d. Fixed-point iteration
    finds that row per pixel, starting at the shore above it.
    """
    height, width = wet.shape
    row_of = np.arange(height, dtype=np.float32)[:, None]
    shore = np.maximum.accumulate(np.where(wet, 0, row_of), axis=0)[wet]
    rows, columns = (way.astype(np.float32) for way in np.nonzero(wet))
    horizon, drop = camera.horizon * height, camera.eye * camera.focal * height
    mirrored = np.maximum(2 * shore + 1 - rows, 0)
    for _ in range(3):
        axis = horizon + drop / depth[mirrored.astype(np.int32), columns.astype(np.int32)]
        mirrored = np.clip(2 * axis - rows - 1, 0, shore)
    # Ripples are small at the shore.
    calm = np.clip((rows - shore) / (0.12 * height), 0.1, 1)
    ways = np.zeros((2, height, width), np.float32)
    ways[0][wet] = columns + 0.25 * sway[wet]
    ways[1][wet] = np.clip(mirrored + sway[wet] * calm, 0, np.maximum(shore - 1, 0))
    seen = cv2.remap(image, ways[0], ways[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return seen[wet]


def _glitter(surface: Surface, swell: np.ndarray, at: At) -> np.ndarray:
    """Return the glitter of the sun on the water, (n,)."""
    light = surface.light
    if light.sun_at[2] <= 0.1:
        return np.zeros(len(at[0]), np.float32)
    toward = light.sun_at[0] / light.sun_at[2]
    aside = (surface.x[at] / surface.z[at] - toward) / 0.16
    return 0.7 * np.exp(-(aside**2)) * smoothstep(0.2, 1.6, swell[at] + 0.6 * surface.fine[at])
