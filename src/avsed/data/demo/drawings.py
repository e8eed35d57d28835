"""Ten objects that make the sounds, drawn by rule: a list of shapes each, filled in order on a square of side 1.

A shape is (kind, colour, numbers): ``disc`` x y radius-x radius-y, ``box`` left top right bottom, ``poly`` x y x y …, ``line`` x y x y
width. Colour "a" is the object's own (random), "b" a darker one of it, others are fixed.
"""

from __future__ import annotations

import numpy as np

Shape = tuple[str, str, tuple[float, ...]]

COLOURS = {
    "black": (25, 25, 30),
    "white": (245, 245, 240),
    "grey": (150, 155, 160),
    "red": (205, 50, 45),
    "skin": (235, 190, 160),
    "blue": (70, 140, 220),
    "yellow": (245, 205, 60),
}

DRAWINGS: dict[str, tuple[Shape, ...]] = {
    "Alarm_bell_ringing": (
        ("disc", "b", (0.28, 0.22, 0.15, 0.15)),
        ("disc", "b", (0.72, 0.22, 0.15, 0.15)),
        ("line", "b", (0.3, 0.8, 0.2, 0.95, 0.06)),
        ("line", "b", (0.7, 0.8, 0.8, 0.95, 0.06)),
        ("disc", "a", (0.5, 0.55, 0.38, 0.38)),
        ("disc", "white", (0.5, 0.55, 0.3, 0.3)),
        ("line", "black", (0.5, 0.55, 0.5, 0.34, 0.05)),
        ("line", "black", (0.5, 0.55, 0.66, 0.62, 0.05)),
    ),
    "Blender": (
        ("poly", "white", (0.25, 0.08, 0.75, 0.08, 0.66, 0.62, 0.34, 0.62)),
        ("poly", "a", (0.29, 0.3, 0.71, 0.3, 0.66, 0.62, 0.34, 0.62)),
        ("box", "b", (0.22, 0.02, 0.78, 0.1)),
        ("poly", "grey", (0.34, 0.62, 0.66, 0.62, 0.76, 0.96, 0.24, 0.96)),
        ("disc", "red", (0.5, 0.82, 0.06, 0.06)),
    ),
    "Cat": (
        ("poly", "a", (0.14, 0.06, 0.44, 0.3, 0.16, 0.5)),
        ("poly", "a", (0.86, 0.06, 0.56, 0.3, 0.84, 0.5)),
        ("disc", "a", (0.5, 0.56, 0.38, 0.34)),
        ("disc", "yellow", (0.35, 0.5, 0.08, 0.1)),
        ("disc", "yellow", (0.65, 0.5, 0.08, 0.1)),
        ("disc", "black", (0.35, 0.5, 0.025, 0.09)),
        ("disc", "black", (0.65, 0.5, 0.025, 0.09)),
        ("poly", "red", (0.44, 0.64, 0.56, 0.64, 0.5, 0.72)),
        ("line", "black", (0.3, 0.7, 0.02, 0.64, 0.02)),
        ("line", "black", (0.7, 0.7, 0.98, 0.64, 0.02)),
        ("line", "black", (0.3, 0.75, 0.04, 0.8, 0.02)),
        ("line", "black", (0.7, 0.75, 0.96, 0.8, 0.02)),
    ),
    "Dishes": (
        ("disc", "white", (0.38, 0.6, 0.36, 0.36)),
        ("disc", "a", (0.38, 0.6, 0.26, 0.26)),
        ("disc", "white", (0.38, 0.6, 0.2, 0.2)),
        ("line", "grey", (0.84, 0.05, 0.84, 0.95, 0.05)),
        ("line", "grey", (0.76, 0.05, 0.76, 0.3, 0.03)),
        ("line", "grey", (0.92, 0.05, 0.92, 0.3, 0.03)),
        ("line", "grey", (0.76, 0.3, 0.92, 0.3, 0.04)),
    ),
    "Dog": (
        ("disc", "a", (0.5, 0.5, 0.34, 0.36)),
        ("disc", "b", (0.16, 0.46, 0.12, 0.3)),
        ("disc", "b", (0.84, 0.46, 0.12, 0.3)),
        ("disc", "white", (0.5, 0.7, 0.22, 0.2)),
        ("disc", "black", (0.5, 0.6, 0.1, 0.07)),
        ("disc", "black", (0.37, 0.42, 0.05, 0.06)),
        ("disc", "black", (0.63, 0.42, 0.05, 0.06)),
        ("disc", "red", (0.5, 0.86, 0.07, 0.1)),
    ),
    "Electric_shaver_toothbrush": (
        ("poly", "a", (0.36, 0.34, 0.64, 0.34, 0.6, 0.98, 0.4, 0.98)),
        ("box", "grey", (0.3, 0.2, 0.7, 0.36)),
        ("disc", "black", (0.38, 0.16, 0.1, 0.12)),
        ("disc", "black", (0.62, 0.16, 0.1, 0.12)),
        ("disc", "white", (0.5, 0.55, 0.05, 0.09)),
    ),
    "Frying": (
        ("line", "b", (0.62, 0.5, 0.98, 0.14, 0.09)),
        ("disc", "black", (0.42, 0.6, 0.4, 0.34)),
        ("disc", "grey", (0.42, 0.6, 0.33, 0.27)),
        ("disc", "white", (0.4, 0.6, 0.22, 0.17)),
        ("disc", "yellow", (0.42, 0.6, 0.09, 0.08)),
    ),
    "Running_water": (
        ("box", "grey", (0.1, 0.2, 0.62, 0.34)),
        ("box", "grey", (0.5, 0.2, 0.68, 0.48)),
        ("line", "a", (0.3, 0.06, 0.54, 0.06, 0.07)),
        ("line", "grey", (0.42, 0.06, 0.42, 0.24, 0.06)),
        ("line", "blue", (0.59, 0.5, 0.59, 0.86, 0.1)),
        ("disc", "blue", (0.59, 0.92, 0.3, 0.07)),
    ),
    "Speech": (
        ("disc", "b", (0.5, 0.36, 0.36, 0.34)),
        ("disc", "skin", (0.5, 0.52, 0.31, 0.4)),
        ("disc", "white", (0.38, 0.46, 0.07, 0.05)),
        ("disc", "white", (0.62, 0.46, 0.07, 0.05)),
        ("disc", "black", (0.38, 0.46, 0.03, 0.04)),
        ("disc", "black", (0.62, 0.46, 0.03, 0.04)),
        ("disc", "red", (0.5, 0.74, 0.12, 0.07)),
        ("disc", "black", (0.5, 0.74, 0.08, 0.04)),
    ),
    "Vacuum_cleaner": (
        ("line", "black", (0.5, 0.62, 0.78, 0.2, 0.05)),
        ("line", "black", (0.78, 0.2, 0.92, 0.86, 0.05)),
        ("poly", "black", (0.8, 0.86, 1.0, 0.86, 1.0, 0.96, 0.74, 0.96)),
        ("disc", "a", (0.36, 0.7, 0.32, 0.22)),
        ("disc", "black", (0.2, 0.9, 0.09, 0.09)),
        ("disc", "black", (0.54, 0.9, 0.09, 0.09)),
        ("box", "b", (0.22, 0.6, 0.5, 0.68)),
    ),
}


def sprite(label: str, side: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An object with its own random colour.

    Returns uint8 (side, side, 3) and its coverage, float32 (side, side, 1) in [0, 1].
    """
    own = random.integers(60, 236, 3)
    colours = COLOURS | {"a": tuple(own), "b": tuple((own * 0.6).astype(int))}
    fine = 2 * side
    y, x = (np.mgrid[0:fine, 0:fine] + 0.5) / fine
    pixels, cover = np.zeros((fine, fine, 3), np.float32), np.zeros((fine, fine, 1), np.float32)
    for kind, colour, numbers in DRAWINGS[label]:
        inside = _inside(kind, numbers, x, y)
        pixels[inside], cover[inside] = colours[colour], 1.0
    weighted = _halve(pixels * cover)
    cover = _halve(cover)
    return (weighted / np.maximum(cover, 1e-6)).astype(np.uint8), cover


def backdrop(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A blurred room, uint8 (height, width, 3): a colour gradient with some soft patches."""
    corners = random.uniform(40, 215, (2, 2, 3))
    v, u = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    room = (1 - v) * ((1 - u) * corners[0, 0] + u * corners[0, 1]) + v * ((1 - u) * corners[1, 0] + u * corners[1, 1])
    for _ in range(int(random.integers(2, 6))):
        cy, cx, size = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.05, 0.3)
        patch = np.exp(-(((v - cy) / size) ** 2 + ((u - cx) / (size * height / width)) ** 2))
        room = room + patch * random.uniform(-70, 70, 3)
    return np.clip(room, 0, 255).astype(np.uint8)


def paste(image: np.ndarray, pixels: np.ndarray, cover: np.ndarray, top: int, left: int) -> None:
    """Lay an object on a picture, in place; what reaches past the edges is cut."""
    height, width = image.shape[:2]
    side = len(pixels)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, height), min(left + side, width)
    if y1 <= y0 or x1 <= x0:
        return
    part, own = image[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    part[:] = part * (1 - cover[own]) + pixels[own] * cover[own]


def _halve(x: np.ndarray) -> np.ndarray:
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def _inside(kind: str, n: tuple[float, ...], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if kind == "disc":
        return ((x - n[0]) / n[2]) ** 2 + ((y - n[1]) / n[3]) ** 2 <= 1
    if kind == "box":
        return (x >= n[0]) & (x <= n[2]) & (y >= n[1]) & (y <= n[3])
    if kind == "line":
        ax, ay, bx, by, width = n
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        return (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2 <= (width / 2) ** 2
    inside = np.zeros(x.shape, bool)  # poly: even-odd rule
    points = list(zip(n[::2], n[1::2], strict=True))
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside
