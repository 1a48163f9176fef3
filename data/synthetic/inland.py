"""Inland scenes: villages, roads, deserts, woods, mountains, and a city at the water."""

from __future__ import annotations

import numpy as np

from data.synthetic.composition import Scene, Size, begin, least
from data.synthetic.ground import winding_line
from data.synthetic.noise import smoothstep
from data.synthetic.structures import barrier, church, hanging_bridge, house, tower
from data.synthetic.textures import field_plot, plot_margin


def village(rng: np.random.Generator, size: Size) -> Scene:
    """Compose houses around a church among fields, hedges and rolling hills."""
    s = begin(rng, size, eye=(8, 24), horizon=(0.3, 0.46))
    g, eye = s.ground, s.camera.eye
    line = winding_line(s.camera, rng, bends=s.between(0.5, 1.2), sway=s.between(0.08, 0.22))
    aside, half = np.abs(g.x - line(g.z)), eye * s.between(0.18, 0.3)
    s.describe(strip=eye * s.between(2.5, 4.5), line=line)
    hills = s.roll_hills(s.between(0.015, 0.04))
    mountains = s.raise_mountains(eye * s.between(80, 140), (0.06, 0.2))
    g.cover("grass", 1.0)
    plots = field_plot(s.traits, g.x, g.z)
    farmed = least(g.fractal(30 * eye) + s.between(0.2, 0.9), (26 * eye - g.z) / (6 * eye))
    farmed = least(farmed, plot_margin(s.traits, g.x, g.z) - 0.02)
    g.cover("field", np.where(plots % 5 < 4, farmed, -1))
    g.cover("earth", np.where(plots % 5 == 4, farmed, -1))
    g.cover("hill", least(hills - 0.012 * g.z, g.z / eye - 22))
    g.cover("mountain", mountains - 5 * eye)
    woods = least(g.fractal(22 * eye) - s.between(0.3, 0.8), g.z / eye - 10)
    woods = least(woods, 1 - mountains / (5 * eye), (aside - 2.5 * half) / eye)
    g.forest(woods, s.between(8, 13), 0.3)
    g.cover(s.pick("road", "path"), least(half - aside, 24 * eye - g.z))
    _settle(s, half, eye * s.between(7, 13), eye * s.between(0.6, 0.9))
    clear = aside - 2.5 * half
    trees = (0.35 * eye, 0.75 * eye)
    s.scatter("broadleaf broadleaf poplar", 36, clear, (4 * eye, 26 * eye), trees)
    s.scatter("bush", 10, clear, (1.4 * eye, 4 * eye), (0.12 * eye, 0.22 * eye))
    if s.chance(0.6):
        name, offset = s.pick("fence", "fence", "wall"), 1.8 * half
        offset = offset if s.chance(0.5) else -offset
        s.build_along(name, line, offset, (1.3 * eye, 9 * eye), 0.11 * eye)
    return s


def _settle(s: Scene, lane: float, z: float, large: float) -> None:
    """Add houses, and perhaps a church, around a place z meters along the scene's lane."""
    line = s.traits.line
    assert line is not None
    middle = float(line(z)) + s.between(-0.3, 0.3) * z
    for _ in range(int(s.rng.integers(4, 13))):
        x, far = middle + s.rng.normal(0, 0.22 * z), z * float(np.exp(s.rng.normal(0, 0.2)))
        own = np.random.default_rng(int(s.rng.integers(1 << 62)))
        if abs(x - line(far)) > lane + 0.6 * large:
            at = (x, s.ground.height_at(x, far), far)
            s.add(house(own, at, large * own.uniform(0.8, 1.2)))
    if s.chance(0.55):
        s.add(church(s.rng, (middle, s.ground.height_at(middle, 1.1 * z), 1.1 * z), 1.5 * large))


def open_road(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a road over a plain toward mountains."""
    s = begin(rng, size, eye=(2.2, 8), horizon=(0.36, 0.58))
    g = s.ground
    line = winding_line(s.camera, rng, bends=s.between(0.4, 1.5), sway=s.between(0.05, 0.28))
    aside, half = np.abs(g.x - line(g.z)), 3.2
    s.describe(line=line)
    swell = g.fractal(80.0)
    g.height = 0.3 * swell * smoothstep(half, half * 4, aside)
    hills = s.roll_hills(s.between(0.004, 0.03))
    mountains = s.raise_mountains(s.between(900, 1800), (0.14, 0.34))
    plain = s.pick("grass", "earth", "sand", "grass", "field")
    g.cover(plain, 1.0)
    if plain == "grass":
        g.cover("earth", least(swell - 0.7, 160 - g.z))
    else:
        g.cover("grass", least(swell - 0.2, 160 - g.z))
    g.cover("hill", np.maximum(least(hills - 0.012 * g.z, g.z - 300), mountains - 25))
    g.cover("mountain", mountains - 90)
    woods = least(g.fractal(260.0) - 0.6, (aside - 18) / 20, (g.z - 90) / 50, 1 - mountains / 60)
    g.forest(woods, 10.0, 0.3)
    g.cover("sand" if plain == "sand" else "earth", least(half + 1.3 - aside, 120 - g.z))
    g.cover("road", least(half - aside, 900 - g.z, 20 - mountains))
    s.snow_from(0.5, 1.1)
    s.scatter("broadleaf bush conifer", 14, aside - 7, (9, 120), (3, 8))
    s.scatter("bush boulder", 14, aside - 5, (6, 30), (0.5, 1.2))
    if s.chance(0.6):
        offset = half + 3 if s.chance(0.5) else -half - 3
        s.build_along("fence", line, offset, (7, 60), 1.3)
    return s


def desert(rng: np.random.Generator, size: Size) -> Scene:
    """Compose dunes, bare earth and table mountains."""
    s = begin(rng, size, eye=(4, 14), horizon=(0.36, 0.58))
    g, eye = s.ground, s.camera.eye
    s.describe(stone=3 if s.chance(0.6) else 1, dryness=1.0)
    reach = smoothstep(4 * eye, 14 * eye, g.z)
    dunes = _dunes(s)
    g.height = 2.2 * eye * dunes * reach + 0.1 * eye * g.band(8 * eye)
    g.cover("sand", 1.0)
    g.cover("earth", g.fractal(40 * eye) - s.between(-0.3, 1.2) - 2.5 * dunes * reach)
    start = eye * s.between(40, 80)
    if s.chance(0.65):
        table = g.fractal(start * 0.8) + 0.25 * g.fractal(start * 0.15)
        table += 2 * smoothstep(start, 1.3 * start, g.z) - s.between(1.9, 2.6)
        rise = s.between(0.08, 0.2) * 1.5 * start / s.camera.focal
        mesa = rise * (0.75 * smoothstep(0.0, 0.16, table) + 0.25 * smoothstep(0.3, 0.42, table))
        scree = 0.35 * rise * smoothstep(-0.6, 0.0, table)
        g.height += mesa + scree
        g.cover("earth", scree - 0.06 * rise)
        g.cover("rock", mesa - 0.04 * rise)
    mountains = s.raise_mountains(start * 1.8, (0.08, 0.22))
    g.cover("mountain", mountains - 4 * eye)
    if s.chance(0.4):
        line = winding_line(s.camera, rng, bends=0.7, sway=0.15)
        g.cover("path", least(0.16 * eye - np.abs(g.x - line(g.z)), 14 * eye - g.z))
    anywhere = np.ones_like(g.x)
    s.scatter("bush boulder", 26, anywhere, (1.3 * eye, 14 * eye), (0.1 * eye, 0.3 * eye))
    if s.chance(0.3):
        s.scatter("palm", 8, 0.5 - dunes, (4 * eye, 10 * eye), (0.7 * eye, 1.1 * eye))
    return s


def _dunes(s: Scene) -> np.ndarray:
    """Return dunes, 0 to about 1, with gentle windward and steep leeward slopes."""
    g, eye = s.ground, s.camera.eye
    across = g.z * np.cos(s.traits.furrows) + g.x * np.sin(s.traits.furrows)
    crest = np.zeros_like(g.x)
    for wavelength, share in ((26 * eye, 1.0), (9 * eye, 0.22)):
        saw = (across / wavelength + 0.3 * g.band(2.5 * wavelength)) % 1
        crest += share * np.where(saw < 0.7, saw / 0.7, (1 - saw) / 0.3) ** 1.3
    return crest * np.clip(0.6 + 0.35 * g.band(40 * eye), 0.1, 1)


def forest_path(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a path or a brook through a wood."""
    s = begin(rng, size, eye=(1.7, 3.2), horizon=(0.42, 0.58), far=1500.0)
    g = s.ground
    line = winding_line(s.camera, rng, bends=s.between(0.5, 1.0), sway=s.between(0.05, 0.16))
    aside = np.abs(g.x - line(g.z))
    brook = s.chance(0.3)
    away = aside - s.between(0.8, 1.5) * (1 + 0.25 * g.fractal(6.0))
    g.height = (0.36 if brook else 0.15) * np.tanh(away)
    g.height += 0.1 * g.fractal(12.0) * smoothstep(0, 3, away)
    g.height += s.between(0, 0.09) * np.maximum(away - 4, 0)
    g.cover("grass", 1.0)
    g.cover("earth", g.fractal(14.0) - s.between(0.2, 1.0))
    clearing = s.between(4, 9)
    woods = least((aside - clearing * (1 + 0.3 * g.fractal(25.0))) / 6, (g.z - 22) / 10)
    woods = np.maximum(woods, (g.z - s.between(120, 400)) / 40)
    g.forest(woods, s.between(11, 17), 0.25)
    if brook:
        g.cover("rock", least(0.5 + 0.4 * g.fractal(3.0) - away, 40 - g.z))
        g.flood(s.pick("river", "water"))
    else:
        g.cover("path", least(-away, -woods))
    trees = s.pick("conifer", "broadleaf", "broadleaf poplar conifer")
    s.scatter(trees, 50, away - 0.35 * clearing, (9, 60), (9, 17))
    s.scatter("bush reeds", 24, away - 0.4, (3.5, 16), (0.5, 1.3))
    s.scatter("boulder", 6, away, (3.5, 14), (0.3, 0.8))
    if s.chance(0.15):
        s.scatter("figure", 3, away - 0.3 if brook else -away, (8, 14), (1.6, 1.85))
    return s


def city(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a skyline across the water, perhaps with a bridge and a quay."""
    s = begin(rng, size, eye=(5, 14), horizon=(0.42, 0.6))
    g, eye, first, focal = s.ground, s.camera.eye, s.camera.first, s.camera.focal
    shore, tilt = eye * s.between(18, 40), s.between(-0.6, 0.6)
    far_side = g.z - shore * (1 + tilt * g.u + 0.03 * g.fractal(shore))
    quay = s.chance(0.5)
    near_side = first * s.between(1.1, 1.5) - g.z if quay else np.full_like(g.z, -1)
    away = np.maximum(far_side, near_side)
    g.height = np.where(away > 0, 0.12 * eye * smoothstep(0, 0.1 * eye, away), -1.0)
    mountains = s.raise_mountains(shore * 3.5, (0.03, 0.16))
    if s.chance(0.6):
        g.cover("grass", 1.0)
        park = least(far_side - 2, 0.12 * shore - far_side) / shore
        g.forest(least(park, 0.05 * g.fractal(0.4 * shore)), s.between(7, 11), 0.015)
    else:
        g.cover("land", 1.0)
    g.cover("wall", least(far_side + 1, 0.3 * eye - far_side))
    g.cover("mountain", mountains - 0.1 * shore)
    g.cover("road", near_side + 0.5)
    g.flood(s.pick("water", "river", "sea", "lake"))
    _build_skyline(s, shore, tilt)
    park = least(far_side - 2, 0.15 * shore - far_side)
    trees = (0.6 * eye, 1.1 * eye)
    s.scatter("broadleaf poplar", 30, park, (0.6 * shore, 1.7 * shore), trees)
    s.moor(-away, (2.5 * first, 0.7 * shore), int(rng.integers(0, 4)))
    if s.chance(0.4):
        z = shore * s.between(0.55, 0.8)
        half, middle = z * s.camera.reach * s.between(0.9, 1.5), z * s.between(-0.4, 0.4)
        s.add(hanging_bridge(middle - half, middle + half, z, 0.03 * z / focal + 0.1 * eye))
    if quay:
        z = 1.08 * first
        ends = 1.1 * s.camera.reach * z
        rail = [(float(x), 0.12 * eye, z) for x in np.linspace(-ends, ends, 6)]
        s.add(*barrier("railing", rail, 0.13 * eye))
    return s


def _build_skyline(s: Scene, shore: float, tilt: float) -> None:
    """Add three rows of buildings on a shore, lower toward the water and away from the center."""
    tallest, heart = s.between(0.1, 0.36), s.between(-0.5, 0.5)
    reach = 1.1 * s.camera.reach
    for row, (low, high) in enumerate(((0.5, 1.0), (0.3, 0.75), (0.1, 0.32))):
        u = -reach
        while u < reach:
            wide = s.between(0.04, 0.11)
            crest = tallest * s.between(low, high)
            crest *= 0.35 + 0.65 * float(np.exp(-(((u - heart) / 0.4) ** 2)))
            z = shore * (1.75 - 0.25 * row) * (1 + tilt * u) * s.between(0.97, 1.03)
            if s.chance(0.85):
                foot = s.ground.height_at(u * z, z) - 1
                s.add(tower(s.rng, (u * z, foot, z), wide * z, crest * z / s.camera.focal))
            u += wide * s.between(0.7, 1.3)


def high_mountains(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a view from a mountain side over a valley to the peaks."""
    s = begin(rng, size, eye=(180, 320), horizon=(0.42, 0.62), far=16000.0)
    g, eye, near = s.ground, s.camera.eye, s.camera.near
    # The slope below the camera.
    slope = (0.30 + s.between(-0.2, 0.2) * g.u) * g.z
    own = np.maximum(0.88 * eye - slope + 0.05 * eye * g.fractal(eye), 0) * s.chance(0.75)
    g.height = own + 0.06 * eye * np.maximum(g.fractal(8 * eye), -0.5)
    mountains = s.raise_mountains(eye * s.between(6, 10), (0.34, 0.55), gap=(0.1, 0.7))
    basin = 0.35 * eye * g.fractal(9 * eye) + 0.1 * eye
    basin = least(basin, 0.3 * eye - mountains, np.where(own > 0, -eye, eye))
    if s.chance(0.6):
        basin = np.full_like(basin, -eye)
    g.height = g.height * smoothstep(0.0, -0.2 * eye, basin)
    g.cover(s.pick("hill", "grass"), 1.0)
    thick = g.fractal(6 * eye)
    woods = least(thick + 0.2, g.z / eye - 3, 0.7 - mountains / eye, -basin / eye)
    g.forest(np.where(own > 0, -1, woods), 16.0, 0.3)
    g.cover("mountain", mountains - 0.5 * eye * (1 + 0.2 * thick))
    g.cover("lake", basin)
    bare = s.pick("grass", "rock", "earth", "grass")
    g.cover(bare, own - 0.01 * eye)
    patches = np.where(own > 0.01 * eye, g.fractal(0.8 * eye) - 0.6, -1)
    g.cover("grass" if bare == "rock" else "rock", patches)
    s.snow_from(0.35, 0.8)
    s.describe(air=3.0)
    s.scatter("conifer", 22, own - 0.02 * eye, (1.2 * near, 4 * near), (0.06 * eye, 0.13 * eye))
    s.scatter("boulder", 10, own - 0.02 * eye, (near, 2 * near), (0.02 * eye, 0.05 * eye))
    return s
