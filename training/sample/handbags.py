"""Four kinds of handbag, seen from the front, each with random shapes.

Each function draws parts on a `Sketch` from the back to the front; the scene rotates and mirrors the result.
"""

from __future__ import annotations

import numpy as np
from handful.training.sample.materials import MaterialSet
from handful.training.sample.sketch import Points, Sketch, smooth


def _arch(left: float, right: float, y: float, rise: float, lean: float = 0.0) -> Points:
    """The line of a handle, from one end up and over to the other."""
    top = y - 1.2 * rise
    inset = 0.12 * (right - left)
    return smooth([(left, y), (left + inset + lean, top), (right - inset + lean, top), (right, y)], closed=False)


def tote(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    mouth, foot, top, bottom = rng.uniform(0.24, 0.35), rng.uniform(0.2, 0.32), rng.uniform(0.42, 0.54), 0.9
    sag, rise, reach = rng.uniform(0.0, 0.04), rng.uniform(0.16, 0.36), rng.uniform(0.08, 0.17)
    left, right, width = 0.5 - rng.uniform(0.09, 0.15), 0.5 + rng.uniform(0.09, 0.15), rng.uniform(0.018, 0.034)
    corners = [(0.5 - mouth, top), (0.5 + mouth, top)]
    lean = rng.uniform(-0.03, 0.03)
    sketch.strap(_arch(left + 0.02, right + 0.02, top, rise * 0.85, lean), width, look.trim)
    rim = smooth([corners[0], corners[0], (0.5, top - 0.06), corners[1], corners[1], (0.5, top + 0.04)])
    sketch.panel(rim, look.lining, 0.02)
    body = smooth([
        corners[0], corners[0], (0.5, top + sag), corners[1], corners[1],
        (0.5 + foot, bottom), (0.5 + foot, bottom), (0.5, bottom + 0.015), (0.5 - foot, bottom), (0.5 - foot, bottom),
    ])  # fmt: skip
    sketch.panel(body, look.body, rng.uniform(0.03, 0.09))
    if rng.random() < 0.45:
        band = bottom - rng.uniform(0.08, 0.2)
        sketch.panel([(0, band), (1, band), (1, 1), (0, 1)], look.trim, 0.04, clip=body)
    if rng.random() < 0.5:
        hem = np.asarray(smooth([corners[0], (0.5, top + sag), corners[1]], closed=False)) + np.asarray((0, 0.03))
        sketch.stitches(hem, look.thread)
    _front_handle(sketch, look, _arch(left, right, top + reach, rise + reach, lean), width)
    if rng.random() < 0.4:
        _pocket(sketch, look, (0.5 + rng.uniform(-0.05, 0.05), (top + bottom) / 2 + 0.08), rng)


def _front_handle(sketch: Sketch, look: MaterialSet, path: Points, width: float) -> None:
    sketch.strap(path, width, look.trim)
    for x, y in (path[0], path[-1]):
        sketch.panel(
            [(x - width, y - 0.02), (x + width, y - 0.02), (x + width, y + 0.03), (x - width, y + 0.03)],
            look.trim,
            0.01,
        )
        sketch.disc((x, y), 0.007, look.metal)


def _pocket(sketch: Sketch, look: MaterialSet, centre: tuple[float, float], rng: np.random.Generator) -> None:
    (x, y), a, b = centre, rng.uniform(0.07, 0.12), rng.uniform(0.06, 0.1)
    edge = smooth([(x - a, y - b), (x - a, y - b), (x + a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)])
    sketch.panel(edge, look.body, 0.015)
    sketch.stitches(edge, look.thread)


def satchel(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    half, top, bottom = rng.uniform(0.26, 0.36), rng.uniform(0.42, 0.52), rng.uniform(0.84, 0.92)
    slant, depth = rng.uniform(-0.04, 0.05), rng.uniform(0.42, 0.72)
    if rng.random() < 0.5:
        _shoulder_strap(sketch, look, half, top, rng)
    for shift in (0.02, 0.0)[: int(rng.integers(1, 3))]:
        sketch.strap(_arch(0.38 + shift, 0.62 + shift, top + 0.02, rng.uniform(0.1, 0.2)), 0.03, look.trim)
    gusset = 0.06 * rng.choice([-1, 1])
    outline = np.asarray([
        (0.5 - half, top), (0.5 + half, top), (0.5 + half + slant, bottom), (0.5 + half + slant, bottom),
        (0.5 - half - slant, bottom), (0.5 - half - slant, bottom),
    ])  # fmt: skip
    sketch.panel(smooth(outline + np.asarray((gusset, -0.015))), look.trim, 0.06)
    body = smooth(outline)
    sketch.panel(body, look.body, 0.05)
    _flap(sketch, look, (half, top, top + depth * (bottom - top)), rng)


def _shoulder_strap(sketch: Sketch, look: MaterialSet, half: float, top: float, rng: np.random.Generator) -> None:
    sketch.strap(
        _arch(0.5 - half, 0.5 + half, top + 0.08, rng.uniform(0.3, 0.46), rng.uniform(-0.1, 0.1)), 0.02, look.trim
    )
    for side in (-1, 1):
        sketch.ring((0.5 + side * (half + 0.01), top + 0.06), (0.022, 0.026), 0.009, look.metal)


def _flap(sketch: Sketch, look: MaterialSet, size: tuple[float, float, float], rng: np.random.Generator) -> None:
    """The cover of a satchel, closed by straps with buckles or by one lock."""
    half, top, low = size
    edge = smooth([
        (0.5 - half - 0.005, top - 0.01), (0.5 + half + 0.005, top - 0.01),
        (0.5 + half + 0.005, low), (0.5, low + rng.uniform(0, 0.06)), (0.5 - half - 0.005, low),
    ])  # fmt: skip
    sketch.panel(edge, look.body if rng.random() < 0.6 else look.trim, 0.04)
    if rng.random() < 0.7:
        sketch.stitches(0.5 + (np.asarray(edge) - (0.5, 0.5)) * 0.96, look.thread)
    places = (-0.5 * half, 0.5 * half) if rng.random() < 0.6 else (0.0,)
    for place in places:
        if len(places) == 2 or rng.random() < 0.4:
            sketch.strap([(0.5 + place, top + 0.06), (0.5 + place, low + 0.08)], 0.035, look.trim)
        sketch.buckle((0.5 + place, low), 0.032, look.metal)


def clutch(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    half, top, bottom = rng.uniform(0.34, 0.44), rng.uniform(0.36, 0.44), rng.uniform(0.68, 0.8)
    if rng.random() < 0.7:
        _wrist_loop(sketch, look, 0.5 + half, top, rng)
    bulge = rng.uniform(-0.02, 0.04)
    left, right = 0.5 - half, 0.5 + half
    body = smooth([
        (left + 0.02, top), (left + 0.02, top), (right - 0.02, top), (right - 0.02, top),
        (right + bulge, bottom - 0.03), (right, bottom), (left, bottom), (left - bulge, bottom - 0.03),
    ])  # fmt: skip
    sketch.panel(body, look.body, rng.uniform(0.03, 0.1))
    if rng.random() < 0.25:
        sketch.strap([(left + 0.03, top), (right - 0.03, top)], 0.03, look.metal)
        for shift in (-0.016, 0.016):
            sketch.disc((0.5 + shift, top - 0.025), 0.02, look.metal)
        return
    tip = top + rng.uniform(0.4, 0.8) * (bottom - top)
    sharp = rng.uniform(0.02, 0.3)
    cover = [(left + 0.01, top - 0.005)] * 2 + [(right - 0.01, top - 0.005)] * 2
    cover += [(right, tip - sharp * 0.5), (0.5, tip), (0.5, tip), (left, tip - sharp * 0.5)]
    sketch.panel(smooth(cover), look.body if rng.random() < 0.6 else look.trim, 0.03)
    clasp = sketch.buckle if rng.random() < 0.5 else sketch.disc
    clasp((0.5, tip - 0.03), 0.024, look.metal)


def _wrist_loop(sketch: Sketch, look: MaterialSet, x: float, top: float, rng: np.random.Generator) -> None:
    """A loop at one end or a chain over the whole width."""
    if rng.random() < 0.5:
        loop = [
            (x - 0.04, top + 0.04),
            (x + 0.06, top - 0.12),
            (x - 0.14, top - 0.2),
            (x - 0.12, top),
            (x - 0.04, top + 0.04),
        ]
        sketch.strap(smooth(loop, closed=False), 0.022, look.trim)
        return
    chain = np.asarray(_arch(1 - x + 0.02, x - 0.02, top + 0.02, rng.uniform(0.12, 0.3), rng.uniform(-0.1, 0.1)))
    for link in chain[:: max(1, len(chain) // 30)]:
        sketch.ring((link[0], link[1]), (0.012, 0.009), 0.006, look.metal)


def bucket(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    mouth, foot, top, bottom = rng.uniform(0.18, 0.27), rng.uniform(0.2, 0.29), rng.uniform(0.42, 0.5), 0.9
    belly = max(mouth, foot) + rng.uniform(0.0, 0.05)
    sketch.strap(
        _arch(0.5 - mouth, 0.5 + mouth, top + 0.06, rng.uniform(0.24, 0.42), rng.uniform(-0.06, 0.06)), 0.03, look.trim
    )
    sketch.panel(
        smooth(
            [(0.5 - mouth, top - 0.05), (0.5 + mouth, top - 0.05), (0.5 + mouth, top + 0.06), (0.5 - mouth, top + 0.06)]
        ),
        look.lining,
        0.02,
    )
    body = smooth([
        (0.5 - mouth, top), (0.5 - mouth, top), (0.5, top + 0.05), (0.5 + mouth, top), (0.5 + mouth, top),
        (0.5 + belly, top + 0.26), (0.5 + foot, bottom), (0.5 + foot, bottom),
        (0.5, bottom + 0.04), (0.5 - foot, bottom), (0.5 - foot, bottom), (0.5 - belly, top + 0.26),
    ])  # fmt: skip
    sketch.panel(body, look.body, 0.11)
    if rng.random() < 0.6:
        band = bottom - rng.uniform(0.05, 0.14)
        sketch.panel(
            smooth([(0, band), (0, band), (0.5, band + 0.05), (1, band), (1, band), (1, 1), (0, 1)]),
            look.trim,
            0.08,
            clip=body,
        )
    _drawstring(sketch, look, mouth, top + rng.uniform(0.05, 0.08), rng)
    for side in (-1, 1):
        sketch.ring((0.5 + side * mouth, top + 0.05), (0.022, 0.022), 0.01, look.metal)


def _drawstring(sketch: Sketch, look: MaterialSet, mouth: float, y: float, rng: np.random.Generator) -> None:
    """Eyelets round the mouth, the cord through them and its two tails."""
    places = np.linspace(-0.85, 0.85, int(rng.integers(5, 9))) * mouth
    points = [(0.5 + x, y + 0.045 * (1 - (x / mouth) ** 2)) for x in places]
    for x, low in points:
        sketch.strap([(x, low - 0.05), (x + rng.uniform(-0.01, 0.01), low + 0.12)], 0.004, look.lining)
    sketch.strap(smooth(points, closed=False), 0.014, look.trim)
    for point in points:
        sketch.ring(point, (0.013, 0.013), 0.006, look.metal)
    for side in (-1, 1):
        end = (0.5 + side * rng.uniform(0.02, 0.09), y + rng.uniform(0.18, 0.28))
        sketch.strap(smooth([(0.5, y + 0.045), (0.5 + side * 0.06, y + 0.1), end], closed=False), 0.014, look.trim)
        sketch.disc(end, 0.02, look.trim)
