"""Scenes at the water: lakes, rivers, coasts, a waterfall."""

from __future__ import annotations

import numpy as np

from data.synthetic.composition import Scene, Size, begin, least
from data.synthetic.ground import winding_line
from data.synthetic.noise import smoothstep
from data.synthetic.structures import arch_bridge, house, lighthouse, pier


def alpine_lake(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a lake below mountains, with forest on its far shore and meadow on the near one."""
    s = begin(rng, size, eye=(5, 18), horizon=(0.40, 0.56))
    g, eye, first = s.ground, s.camera.eye, s.camera.first
    shore = eye * s.between(25, 60)
    bend = g.fractal(shore)
    far_side = g.z - shore * (1 + 0.15 * bend)
    near_side = s.between(0.5, 2.2) * (1 + s.between(-1, 1) * g.u) + 0.25 * g.fractal(2 * first)
    side = (1 if s.chance(0.5) else -1) * g.u - s.between(0.2, 0.8) + 0.12 * g.self_similar(1.0)
    away = np.maximum(np.maximum(far_side, first * near_side - g.z), side * g.z)
    s.raise_bank(away, 0.3)
    g.height += 0.05 * np.maximum(far_side, 0)
    mountains = s.raise_mountains(shore * 1.3, (0.18, 0.36))
    g.cover("grass", 1.0)
    g.cover("hill", mountains - 0.04 * shore)
    g.cover("mountain", mountains - 0.14 * shore * (1 + 0.3 * bend))
    belt = 0.3 * (1 + 0.4 * g.fractal(shore))
    woods = belt - np.abs(far_side / shore - 0.6 * belt) + 0.05 * g.fractal(0.2 * shore)
    g.forest(least(woods, g.z / shore - 0.35, (away - 2) / shore), s.between(12, 18), 0.02)
    stones = least(6 - away, 6 * g.fractal(12 * eye), 0.6 * shore - g.z)
    g.cover("rock", stones)
    g.flood("lake")
    s.snow_from(0.45, 1.0)
    dry = least(away - 2, 0.3 * shore - g.z)
    s.scatter("conifer conifer broadleaf", 16, dry, (2 * first, 0.3 * shore), (9, 18))
    low = (0.08 * eye, 0.2 * eye)
    s.scatter("boulder bush reeds", 12, away - 0.5, (0.8 * first, 4 * first), low)
    if s.chance(0.45):
        s.moor(-away, (1.5 * first, 0.3 * shore), 1)
    if s.chance(0.3):
        start, turn = s.between(-0.35, 0.35) * first, s.between(-0.4, 0.4) * first
        deck = 0.09 * eye
        s.add(pier((start, deck, 0.6 * first), (start + turn, deck, 2.8 * first), 0.35 * eye))
    if s.chance(0.35):
        for x, z, seed in s.places(4, (2.5 * first, 6 * first), spread=0.7):
            if g.read(dry, x, z) > 0.6 * eye:
                s.add(house(np.random.default_rng(seed), (x, g.height_at(x, z), z), eye))
                break
    return s


def river_valley(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a river that winds between wooded slopes, perhaps under a bridge."""
    s = begin(rng, size, eye=(7, 20), horizon=(0.34, 0.5))
    g, eye, first = s.ground, s.camera.eye, s.camera.first
    line = winding_line(s.camera, rng, bends=s.between(0.8, 1.6), sway=s.between(0.12, 0.3))
    middle = eye * s.between(0.6, 1.4)
    wide = middle * (1 + 0.2 * g.fractal(12 * eye)) + 0.02 * g.z
    aside = np.abs(g.x - line(g.z))
    away = aside - wide
    s.raise_bank(away, 0.12)
    slope = np.maximum(aside / g.z - s.between(0.15, 0.5), 0)
    g.height += s.between(0.2, 0.5) * slope * g.z * (1 + 0.3 * g.fractal(30 * eye))
    hills = s.roll_hills(s.between(0.01, 0.04))
    mountains = s.raise_mountains(eye * s.between(70, 140), (0.12, 0.28))
    g.cover("grass", 1.0)
    g.cover("hill", least(hills - 0.012 * g.z, g.z - 15 * eye))
    g.cover("mountain", mountains - 6 * eye)
    bars = 0.35 * eye * (1 + g.fractal(10 * eye)) - away
    g.cover(s.pick("sand", "earth", "rock"), least(bars, 40 * eye - g.z))
    woods = least(g.fractal(35 * eye) - s.between(0.1, 0.7), away / eye - 0.8, g.z / eye - 8)
    g.forest(least(woods, 1 - mountains / (6 * eye)), s.between(9, 14), 0.3)
    g.flood("river")
    s.snow_from(0.5, 1.0)
    trees = "broadleaf broadleaf poplar conifer"
    s.scatter(trees, 34, away - 0.6 * eye, (1.5 * first, 30 * eye), (6, 13))
    low = (0.1 * eye, 0.22 * eye)
    s.scatter("bush reeds boulder", 14, away - 0.1 * eye, (first, 4 * first), low)
    if s.chance(0.5):
        z = eye * s.between(5, 9)
        x, half = float(line(z)), 1.1 * middle + 0.3 * eye
        deck, arches = eye * s.between(0.3, 0.5), int(rng.integers(2, 5))
        s.add(arch_bridge(rng, x - half, x + half, z, deck, arches))
    return s


def coast(rng: np.random.Generator, size: Size) -> Scene:
    """Compose cliffs or dunes along the sea, with a beach and far headlands."""
    s = begin(rng, size, eye=(5, 30), horizon=(0.34, 0.55), far=16000.0)
    g, eye, first = s.ground, s.camera.eye, s.camera.first
    side = 1.0 if s.chance(0.5) else -1.0
    edge = s.between(-0.35, 0.15) + s.between(0.0, 0.16) * np.log(g.z / s.camera.near)
    bays = 0.10 * g.self_similar(1.2) + 0.10 * np.sin(np.log(g.z) * 3 + s.between(0, 6))
    away = (side * g.u - edge + bays) * g.z * smoothstep(60000, 3000, g.z)
    beach = np.maximum(eye * s.between(0.5, 2.0) * (1 + 0.4 * g.fractal(10 * eye)), 0.2 * eye)
    cliff = s.chance(0.6)
    tall = eye * (s.between(0.6, 1.6) if cliff else s.between(0.1, 0.3))
    step = smoothstep(0, (0.5 if cliff else 2.0) * eye, away - beach)
    # A cliff at the camera would hide everything else.
    near_by = smoothstep(1.0 * eye, 5 * eye, g.z) if cliff else np.ones_like(g.z)
    g.height = np.where(away > 0, 0.03 * np.minimum(away, 3 * beach), 0.06 * away)
    plateau = tall * step * (1 + 0.22 * g.self_similar(0.8)) + 0.03 * np.maximum(away - 3 * eye, 0)
    g.height += plateau * near_by
    ashore = smoothstep(0, 20 * eye, away)
    mountains = s.raise_mountains(eye * s.between(60, 110), (0.06, 0.2), gap=(0, 0.2))
    g.height -= mountains * (1 - ashore)
    g.cover("sand", 1.0)
    g.cover("grass", away - beach - 0.2 * eye)
    if cliff:
        face = least(step - 0.05, 0.85 + 0.1 * g.fractal(4 * eye) - step, near_by - 0.25)
        g.cover("rock", face)
        if s.chance(0.4):
            g.cover("earth", least(step - 0.8, 0.93 - step))
    g.cover("hill", mountains * ashore - 2 * eye)
    g.cover("mountain", mountains * ashore - 7 * eye)
    inland = (away - beach) / eye
    woods = least(g.fractal(20 * eye) - 0.3, inland - 2, g.z / eye - 8)
    g.forest(woods, s.between(7, 11), 0.3)
    g.flood("sea")
    s.scatter("broadleaf palm bush", 22, inland - 1, (1.5 * first, 14 * eye), (5, 10))
    stony = least(away + 0.6 * eye, beach - away)
    s.scatter("boulder", 14, stony, (first, 8 * first), (0.1 * eye, 0.35 * eye))
    if s.chance(0.5):
        s.moor(-away, (3 * first, 20 * eye), int(rng.integers(1, 3)))
    if s.chance(0.35):
        s.sail()
    if s.chance(0.35):
        for x, z, seed in s.places(6, (8 * eye, 16 * eye)):
            if 0.5 < g.read(inland, x, z) < 4:
                own, tall = np.random.default_rng(seed), 0.16 * z / s.camera.focal
                s.add(lighthouse(own, (x, g.height_at(x, z), z), tall))
                break
    return s


def beach(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a beach and the open sea, perhaps with islands, palms and a pier."""
    s = begin(rng, size, eye=(2.5, 8), horizon=(0.34, 0.58), far=16000.0)
    g, eye, first = s.ground, s.camera.eye, s.camera.first
    line = s.between(1.2, 2.6) + s.between(-1.5, 1.5) * g.u + 0.18 * g.fractal(6 * first)
    away = first * line - g.z
    g.height = np.where(away > 0, 0.05 * away * (1 + 0.4 * g.fractal(3 * first)), 0.06 * away)
    islands = np.maximum(g.fractal(2500.0) + s.between(-1.2, 0.1), 0)
    islands *= smoothstep(900, 1500, g.z) * smoothstep(8000, 5000, g.z)
    peaks = islands * s.between(60, 240) * (0.5 + 0.8 * g.ridged(900.0))
    g.height += peaks
    g.cover("sand", 1.0)
    g.cover(s.pick("land", "hill", "mountain", "rock"), peaks - 1)
    dunes = away - s.between(0.6, 2.0) * first
    g.cover("grass", least(dunes, g.fractal(2 * first) + 0.4))
    g.flood("sea")
    s.scatter("palm", 7, away - 0.05 * first, (1.2 * first, 3.5 * first), (1.2 * eye, 2.2 * eye))
    s.scatter("boulder", 8, away + 0.4 * first, (first, 3 * first), (0.08 * eye, 0.3 * eye))
    if s.chance(0.3):
        s.scatter("figure", 8, away - 0.1 * eye, (2.5 * eye, 5 * eye), (1.6, 1.9))
    s.moor(-away, (3 * first, 25 * first), int(rng.integers(0, 3)))
    if s.chance(0.4):
        s.sail()
    if s.chance(0.3):
        x, deck = (1 if s.chance(0.5) else -1) * s.between(0.2, 0.5) * first, 0.25 * eye
        s.add(pier((x, deck, 0.7 * first), (1.4 * x, deck, 9 * first), 0.5 * eye))
    return s


def waterfall(rng: np.random.Generator, size: Size) -> Scene:
    """Compose a waterfall over a cliff into a pool, with woods around it."""
    s = begin(rng, size, eye=(3, 6), horizon=(0.5, 0.68), far=4000.0)
    g, eye = s.ground, s.camera.eye
    cliff = eye * s.between(9, 15)
    tall = s.between(0.26, 0.46) * cliff / s.camera.focal
    middle, wide = s.between(-0.25, 0.25) * cliff, tall * s.between(0.18, 0.45)
    aside = np.abs(g.x - middle)
    # The rock protrudes on both sides of the fall, and is smooth under the water.
    forward = s.between(0.0, 0.35) * np.maximum(aside - wide, 0)
    ragged = 0.10 * cliff * g.fractal(0.5 * cliff) * smoothstep(wide, 3 * wide, aside)
    step = smoothstep(-0.06 * cliff, 0.06 * cliff, g.z - cliff + forward + ragged)
    ledges = 1 + 0.15 * g.fractal(0.35 * cliff) * smoothstep(0.8 * wide, 2 * wide, aside)
    notch = 1 - 0.14 * smoothstep(1.6 * wide, 0.8 * wide, aside)
    pool = np.hypot(g.x - middle, 1.2 * (g.z - cliff * 0.86)) - 0.42 * cliff
    line = winding_line(s.camera, rng, bends=0.4, sway=0.05)
    creek = np.abs(g.x - middle * g.z / cliff - 0.3 * line(g.z)) - eye * s.between(0.5, 1.1)
    away = np.where(g.z < cliff, np.minimum(pool, creek), 5.0) + 0.4 * eye * g.fractal(3 * eye)
    g.height = 0.25 * eye * np.tanh(away / eye) + tall * step * ledges * notch
    g.height += 0.10 * np.maximum(g.z - 1.1 * cliff, 0) * smoothstep(wide, 4 * wide, aside)
    g.cover("grass", 1.0)
    g.cover("earth", g.fractal(6 * eye) - 0.8)
    g.cover("rock", least(step - 0.01, 1.15 + 0.2 * g.fractal(cliff) - step))
    g.cover("rock", least(0.8 * eye * (1 + 0.8 * g.fractal(4 * eye)) - away, cliff - g.z))
    above = least(step - 0.96, (aside - 1.5 * wide) / cliff, (g.z - cliff) / cliff)
    g.forest(above, 0.3 * tall, 0.02)
    g.cover("river", least(wide - aside, g.z - 1.05 * cliff))
    fall = least(wide * (1.35 - 0.35 * step) - aside, 1.3 * cliff - g.z)
    g.cover("waterfall", np.where(step > 0.01, fall, -1))
    g.flood("water" if s.chance(0.6) else "river")
    dry = least(away - 0.8 * eye, 0.85 * cliff - g.z - forward, aside - 1.4 * wide)
    trees = s.pick("conifer", "broadleaf conifer")
    s.scatter(trees, 26, dry, (3 * eye, 0.9 * cliff), (1.2 * eye, 2.6 * eye))
    low = (0.15 * eye, 0.35 * eye)
    s.scatter("bush reeds", 16, away - 0.3 * eye, (1.2 * eye, 5 * eye), low)
    bank = least(away + 0.5 * eye, 2 * eye - away)
    s.scatter("boulder", 18, bank, (1.5 * eye, 7 * eye), (0.12 * eye, 0.4 * eye))
    return s
