"""Flat faces in space, projected and rendered: the parts of buildings and boats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from data.synthetic.canvas import Canvas, Patch
from data.synthetic.ground import Camera
from data.synthetic.light import Light, rgb

Point = tuple[float, float, float]
Windows = tuple[int, int]
LAMP = rgb(255, 206, 120) * 1.2
GLASS = rgb(62, 78, 96)
# Fractional bits of OpenCV's polygon corners.
SUBPIXELS = 4


@dataclass(frozen=True)
class Face:
    """A flat polygon in space: corners (x, y, z) in meters, and its albedo.

    windows: (columns, rows) of panes on a face of four corners, the first at the lower left.
    lit: seed of the panes that shine when lamps are on. both: visible from its back too.
    """

    corners: tuple[Point, ...]
    color: np.ndarray
    windows: Windows | None = None
    lit: int = 0
    both: bool = False


@dataclass(frozen=True)
class Structure:
    """Faces from back to front, all of one class.

    z: distance in meters, for the order of rendering. outline: corners of its area in the layout,
    for structures with gaps. grain: 0..1, roughness of its faces.
    """

    name: str
    faces: tuple[Face, ...]
    z: float
    outline: tuple[Point, ...] | None = None
    grain: float = 0.0

    def render(self, canvas: Canvas) -> None:
        """Render the structure, and its reflection in water."""
        if canvas.all_wet.any():
            mirrored = [_mirrored(face) for face in self.faces]
            reflection = _Projection(canvas.light, mirrored).render(self.grain)
            if reflection is not None:
                canvas.reflect(reflection, self.z)
        patch = _Projection(canvas.light, self.faces).render(self.grain)
        if patch is None:
            return
        solid = patch.alpha > 0.5
        if self.outline is not None:
            camera = canvas.light.camera
            corners = _project(camera, self.outline) - (patch.left, patch.top)
            solid = _coverage([corners], patch.alpha) > 0.5
        canvas.composite(self.name, patch, solid, self.z)


def _mirrored(face: Face) -> Face:
    """Return the reflection of a face in water at height 0, with the same visible side."""
    return replace(face, corners=tuple((x, -y, z) for x, y, z in face.corners[::-1]))


def _project(camera: Camera, corners: Iterable[Point]) -> np.ndarray:
    """Return pixel coordinates (n, 2), column and row."""
    return np.array(
        [(camera.column_at(x, z), camera.row_at(y, z)) for x, y, z in corners], np.float32
    )


def _coverage(polygons: Sequence[np.ndarray], like: np.ndarray) -> np.ndarray:
    """Return the coverage 0..1 of polygons (n, 2) in pixel coordinates, of the shape of `like`."""
    mask = np.zeros(like.shape, np.uint8)
    fixed = [np.round((points - 0.5) * 2**SUBPIXELS).astype(np.int32) for points in polygons]
    cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, SUBPIXELS)
    return mask.astype(np.float32) / 255


class _Projection:
    """Faces projected into the image, rendered as a patch."""

    def __init__(self, light: Light, faces: Sequence[Face]) -> None:
        self.light, self.camera = light, light.camera
        self.faces = [face for face in faces if self._faces_camera(face)]
        self.flat = [_project(self.camera, face.corners) for face in self.faces]

    def _normal(self, face: Face) -> Point:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = face.corners[:3]
        ux, uy, uz, vx, vy, vz = ax - bx, ay - by, az - bz, cx - bx, cy - by, cz - bz
        normal = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
        length = max(math.hypot(*normal), 1e-9)
        if face.both and not self._toward(face, normal):
            length = -length
        return normal[0] / length, normal[1] / length, normal[2] / length

    def _toward(self, face: Face, normal: Point) -> bool:
        x, y, z = face.corners[0]
        return -normal[0] * x + normal[1] * (self.camera.eye - y) - normal[2] * z > 0

    def _faces_camera(self, face: Face) -> bool:
        return face.both or self._toward(face, self._normal(face))

    def render(self, grain: float) -> Patch | None:
        if not self.faces:
            return None
        points = np.concatenate(self.flat)
        limits = np.array((self.camera.width, self.camera.height))
        low = np.clip(np.floor(points.min(axis=0)) - 1, -2, limits).astype(int)
        high = np.clip(np.ceil(points.max(axis=0)) + 1, 0, limits + 2).astype(int)
        width, height = high - low
        if width < 1 or height < 1:
            return None
        color = np.zeros((height, width, 3), np.float32)
        alpha = np.zeros((height, width), np.float32)
        for face, flat in zip(self.faces, self.flat, strict=True):
            self._render_face(color, alpha, face, flat - low)
        if grain:
            # Courses of stone, tile or board, coarse enough to be visible at any size.
            rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
            unit = self.camera.height / 192
            texture = np.sin(columns * 2.3 / unit + 4 * np.sin(rows * 0.9 / unit))
            texture += np.sin(rows * 2.9 / unit + 3 * np.sin(columns * 0.7 / unit))
            color *= (1 + 0.5 * grain * texture)[..., None]
        return Patch(int(low[1]), int(low[0]), color, alpha)

    def _render_face(
        self, color: np.ndarray, alpha: np.ndarray, face: Face, flat: np.ndarray
    ) -> None:
        lit = face.color * self.light.on_face(*self._normal(face))
        self._fill(color, alpha, [flat], lit)
        if face.windows is None:
            return
        panes = _panes(flat, *face.windows)
        lamps = self.light.style.lamps
        shining = np.random.default_rng(face.lit).random(len(panes)) < (0.35 if lamps else 0)
        dark = [pane for pane, on in zip(panes, shining, strict=True) if not on]
        bright = [pane for pane, on in zip(panes, shining, strict=True) if on]
        sky = 0.35 * self.light.style.horizon + GLASS * 0.5 * self.light.ambient
        # Lamps depend on the style, so they must not change the outline.
        for some, fill in ((dark, sky), (bright, LAMP * (0.35 + 0.65 * lamps))):
            if some:
                self._fill(color, alpha.copy(), some, fill)

    @staticmethod
    def _fill(
        color: np.ndarray, alpha: np.ndarray, polygons: Sequence[np.ndarray], fill: np.ndarray
    ) -> None:
        """Fill polygons with a color, in place."""
        corners = np.concatenate(polygons)
        top, left = (max(0, int(corners[:, way].min()) - 2) for way in (1, 0))
        bottom, right = (max(0, int(corners[:, way].max()) + 3) for way in (1, 0))
        color, alpha = color[top:bottom, left:right], alpha[top:bottom, left:right]
        if not alpha.size:
            return
        cover = _coverage([polygon - (left, top) for polygon in polygons], alpha)
        # Edges over empty pixels take the pure color, or they would mix with black.
        share = np.where(alpha > 0.01, cover, cover > 0)[..., None]
        color += share * (fill - color)
        np.maximum(alpha, cover, out=alpha)


def _panes(flat: np.ndarray, columns: int, rows: int) -> list[np.ndarray]:
    """Return window panes on a face of corners lower left, lower right, upper right, upper left."""
    lower_left, lower_right, upper_right, upper_left = flat

    def at(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, v = u[..., None], v[..., None]
        low = lower_left + (lower_right - lower_left) * u
        return low + (upper_left + (upper_right - upper_left) * u - low) * v

    u, v = np.meshgrid((np.arange(columns) + 0.22) / columns, (np.arange(rows) + 0.3) / rows)
    wide, high = 0.56 / columns, 0.5 / rows
    corners = [at(u, v), at(u + wide, v), at(u + wide, v + high), at(u, v + high)]
    return list(np.stack(corners, axis=2).reshape(-1, 4, 2))


@dataclass(frozen=True)
class Frame:
    """A local coordinate frame: origin `at`, rotated by `turn` radians about the vertical."""

    at: Point
    turn: float = 0.0

    def point(self, along: float, up: float, back: float) -> Point:
        x, y, z = self.at
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return (x + along * cos - back * sin, y + up, z + along * sin + back * cos)

    def quad(self, *corners: Point) -> tuple[Point, ...]:
        return tuple(self.point(*corner) for corner in corners)


def box(
    frame: Frame,
    size: Point,
    color: np.ndarray,
    base: Point = (0.0, 0.0, 0.0),
    windows: Windows | None = None,
    lit: int = 0,
    roof: bool = True,
) -> list[Face]:
    """Return the walls and the flat roof of a box of (length, height, depth) at `base`."""
    length, height, depth = (part / 2 for part in size)
    a, u, b = base
    low, high = u, u + 2 * height
    left, right, front, rear = a - length, a + length, b - depth, b + depth
    sides = (
        ((left, low, front), (right, low, front), (right, high, front), (left, high, front)),
        ((right, low, front), (right, low, rear), (right, high, rear), (right, high, front)),
        ((left, low, rear), (left, low, front), (left, high, front), (left, high, rear)),
        ((left, high, front), (right, high, front), (right, high, rear), (left, high, rear)),
    )
    faces = [Face(frame.quad(*corners), color, windows, lit) for corners in sides[:3]]
    return [*faces, Face(frame.quad(*sides[3]), color * 0.9)] if roof else faces


def saddle(
    frame: Frame, half: float, deep: float, eaves: float, ridge: float, color: np.ndarray
) -> list[Face]:
    """Return the two slopes of a roof with a ridge along the frame, rear slope first."""
    return [
        Face(
            frame.quad(
                (-s * half, eaves, -s * deep),
                (s * half, eaves, -s * deep),
                (s * half, ridge, 0.0),
                (-s * half, ridge, 0.0),
            ),
            color,
        )
        for s in (-1, 1)
    ]
