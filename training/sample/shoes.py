"""Four kinds of shoe, seen from the side with the toe to the right."""

from __future__ import annotations

import numpy as np
from handful.training.sample.materials import Material, MaterialSet
from handful.training.sample.sketch import Points, Sketch, smooth


def sneaker(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    collar = 0.42 - (rng.uniform(0.1, 0.18) if rng.random() < 0.4 else rng.uniform(-0.03, 0.03))
    toe, sole = rng.uniform(0.53, 0.58), rng.uniform(0.06, 0.11)
    sketch.panel(
        smooth([(0.31, collar - 0.02), (0.36, collar - 0.1), (0.43, collar - 0.07), (0.62, 0.54), (0.4, 0.6)]),
        look.trim,
        0.03,
    )
    sketch.panel(
        smooth(
            [(0.09, collar), (0.2, collar - 0.03), (0.38, collar - 0.02), (0.36, collar + 0.14), (0.12, collar + 0.14)]
        ),
        look.lining,
        0.02,
    )
    upper = smooth([
        (0.08, 0.7), (0.08, 0.7), (0.06, 0.58), (0.1, collar - 0.02), (0.1, collar - 0.03), (0.24, collar + 0.08),
        (0.36, collar - 0.02), (0.4, collar - 0.02), (0.6, toe - 0.03), (0.8, toe), (0.95, toe + 0.06),
        (0.95, 0.7), (0.95, 0.7),
    ])  # fmt: skip
    sketch.panel(upper, look.body, 0.07)
    _sneaker_overlays(sketch, look, upper, collar, rng)
    _laces(sketch, look, ((0.39, collar + 0.04), (0.62, toe + 0.0)), rng)
    edge = [(0.05, 0.68), (0.05, 0.68), (0.5, 0.7), (0.93, 0.665), (0.985, 0.66), (0.97, 0.69 + sole / 2)]
    sketch.panel(smooth([*edge, (0.9, 0.69 + sole), (0.06, 0.69 + sole), (0.03, 0.69 + sole / 2)]), look.base, 0.025)
    if rng.random() < 0.6:
        sketch.strap(
            smooth([(0.05, 0.69 + sole * 0.45), (0.5, 0.7 + sole * 0.5), (0.97, 0.68 + sole * 0.4)], closed=False),
            0.01,
            look.trim,
        )


def _sneaker_overlays(
    sketch: Sketch, look: MaterialSet, upper: Points, collar: float, rng: np.random.Generator
) -> None:
    """Heel counter, toe cap, a stripe or two on the side, and the eyestay under the laces."""
    if rng.random() < 0.7:
        sketch.panel(smooth([(0, 0.5), (0.17, 0.52), (0.24, 0.75), (0, 0.8)]), look.trim, 0.02, clip=upper)
    if rng.random() < 0.6:
        sketch.panel(smooth([(0.74, 0.8), (0.72, 0.64), (0.82, 0.56), (1, 0.5), (1, 0.8)]), look.trim, 0.03, clip=upper)
    count, start = int(rng.integers(0, 4)), rng.uniform(0.3, 0.4)
    for x in start + 0.065 * np.arange(count):
        sketch.panel(
            [(x, 0.7), (x + 0.035, 0.7), (x + 0.1, collar + 0.12), (x + 0.065, collar + 0.12)],
            look.trim,
            0.006,
            clip=upper,
        )
    if count == 0:
        swoosh = [(0.2, 0.6), (0.32, 0.68), (0.66, 0.56), (0.66, 0.56), (0.34, 0.6)]
        sketch.panel(smooth(swoosh), look.trim, 0.01, clip=upper)
    stay = smooth(
        [(0.33, collar - 0.04), (0.42, collar - 0.05), (0.68, 0.54), (0.62, 0.62), (0.5, 0.59), (0.37, collar + 0.1)]
    )
    sketch.panel(stay, look.body if rng.random() < 0.5 else look.trim, 0.015, clip=upper)


def _laces(
    sketch: Sketch, look: MaterialSet, row: tuple[tuple[float, float], tuple[float, float]], rng: np.random.Generator
) -> None:
    """Bars across the instep, from its upper to its lower end; `row` holds the two ends."""
    (x0, y0), (x1, y1) = row
    for share in np.linspace(0, 1, int(rng.integers(4, 7))):
        x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        sketch.disc((x - 0.03, y + 0.035), 0.009, look.metal)
        sketch.strap(
            smooth([(x - 0.03, y + 0.035), (x + 0.015, y - 0.005), (x + 0.03, y - 0.015)], closed=False),
            0.016,
            look.thread,
        )


def boot(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    top, front, heel = rng.uniform(0.06, 0.34), rng.uniform(0.4, 0.46), rng.uniform(0.04, 0.12)
    ground = 0.9
    bottom = ground - heel
    sketch.panel(smooth([(0.1, top), (0.28, top - 0.04), (front, top), (0.28, top + 0.05)]), look.lining, 0.02)
    upper = smooth([
        (0.09, bottom), (0.09, bottom), (0.08, bottom - 0.12), (0.13, bottom - 0.24), (0.1, top), (0.1, top),
        (0.26, top + rng.uniform(0.0, 0.06)), (front, top), (front, top), (front - 0.03, bottom - 0.26),
        (0.5, bottom - 0.18), (0.76, bottom - 0.15), (0.93, bottom - 0.07), (0.94, ground - 0.03), (0.9, ground - 0.02),
        (0.6, ground - 0.02), (0.36, bottom),
    ])  # fmt: skip
    sketch.panel(upper, look.body, 0.09)
    _boot_closing(sketch, look, upper, (top, bottom, front), rng)
    _boot_sole(sketch, look, bottom, ground)


def _boot_sole(sketch: Sketch, look: MaterialSet, bottom: float, ground: float) -> None:
    sketch.panel(
        [(0.085, bottom - 0.01), (0.33, bottom - 0.01), (0.3, ground + 0.02), (0.1, ground + 0.02)], look.base, 0.02
    )
    under = [
        (0.08, bottom - 0.01),
        (0.36, bottom - 0.01),
        (0.55, ground - 0.035),
        (0.9, ground - 0.04),
        (0.96, ground - 0.05),
    ]
    sketch.panel(
        smooth([*under, (0.95, ground + 0.02), (0.55, ground + 0.02), (0.36, bottom + 0.03), (0.08, bottom + 0.02)]),
        look.base,
        0.012,
    )


def _boot_closing(
    sketch: Sketch, look: MaterialSet, upper: Points, size: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """Laces, an elastic side, a strap with a buckle, or a zip."""
    top, bottom, front = size
    ankle = bottom - 0.22
    if rng.random() < 0.5:
        sketch.panel(
            smooth([(0.7, 1), (0.68, bottom - 0.08), (0.8, bottom - 0.2), (1, bottom - 0.2), (1, 1)]),
            look.body,
            0.02,
            clip=upper,
        )
    closing = rng.integers(4)
    if closing == 0:
        _laces(sketch, look, ((front - 0.03, max(top + 0.04, ankle - 0.2)), (0.56, bottom - 0.16)), rng)
    elif closing == 1:
        sketch.panel(
            smooth([(0.2, top), (0.36, top), (0.31, ankle + 0.09), (0.24, ankle + 0.09)]), look.trim, 0.015, clip=upper
        )
    elif closing == 2:
        sketch.panel(
            smooth([(0, ankle - 0.03), (0.5, ankle), (0.5, ankle + 0.06), (0, ankle + 0.03)]),
            look.trim,
            0.015,
            clip=upper,
        )
        sketch.buckle((0.27, ankle + 0.015), 0.032, look.metal)
    else:
        sketch.strap([(0.24, top + 0.04), (0.25, bottom - 0.06)], 0.014, look.metal)
        sketch.stitches([(0.215, top + 0.04), (0.225, bottom - 0.06)], look.thread)
    if rng.random() < 0.4:
        sketch.panel([(0, top - 0.1), (1, top - 0.1), (1, top + 0.07), (0, top + 0.07)], look.trim, 0.02, clip=upper)


def pump(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    lift, ground = rng.uniform(0.1, 0.3), 0.82
    seat = ground - lift  # where the heel of the foot rests
    block, tip = rng.uniform(0.012, 0.05), rng.uniform(0.9, 0.99)
    base = look.body if rng.random() < 0.6 else look.base
    sketch.panel(
        smooth(
            [(0.12, seat - 0.1), (0.3, seat + 0.0), (0.68, ground - 0.14), (0.6, ground - 0.05), (0.3, seat + 0.06)]
        ),
        look.lining,
        0.02,
    )
    _heel(sketch, base, seat, ground, block)
    upper = smooth([
        (0.09, seat + 0.04), (0.09, seat - 0.06), (0.12, seat - 0.14), (0.12, seat - 0.14), (0.26, seat + 0.0),
        (0.44, ground - lift * 0.45 - 0.06), (0.6, ground - 0.07), (0.68, ground - 0.13), (0.74, ground - 0.13),
        (0.86, ground - 0.08), (tip, ground - 0.03), (tip - 0.02, ground - 0.005), (0.66, ground - 0.005),
        (0.5, ground - lift * 0.3), (0.28, seat + 0.08),
    ])  # fmt: skip
    sketch.panel(upper, look.body, 0.05)
    under = [
        (0.1, seat + 0.035),
        (0.28, seat + 0.075),
        (0.5, ground - lift * 0.3),
        (0.66, ground - 0.005),
        (tip - 0.02, ground - 0.005),
    ]
    sketch.strap(smooth(under, closed=False), rng.uniform(0.012, 0.03), base)
    if rng.random() < 0.4:
        _bow(sketch, look, (0.7, ground - 0.11))
    if rng.random() < 0.35:
        _ankle_strap(sketch, look, seat - 0.24, rng)
        sketch.strap([(0.125, seat - 0.08), (0.13, seat - 0.24)], 0.02, look.body)


def _heel(sketch: Sketch, material: Material, seat: float, ground: float, block: float) -> None:
    low = ground + 0.01
    outline = [
        (0.085, seat - 0.02),
        (0.085, seat - 0.02),
        (0.3, seat + 0.08),
        (0.3, seat + 0.08),
        (0.15 + block, seat + 0.12),
    ]
    outline += [(0.125 + 2 * block, low), (0.125 + 2 * block, low), (0.105, low), (0.105, low), (0.1, seat + 0.1)]
    sketch.panel(smooth(outline), material, 0.02)


def _bow(sketch: Sketch, look: MaterialSet, centre: tuple[float, float]) -> None:
    x, y = centre
    for side in (-1, 1):
        wing = [(x, y), (x + side * 0.07, y - 0.05), (x + side * 0.07, y + 0.035)]
        sketch.panel(smooth([wing[0], *wing]), look.trim, 0.015)
    sketch.disc((x, y), 0.016, look.metal)


def _ankle_strap(sketch: Sketch, look: MaterialSet, y: float, rng: np.random.Generator) -> None:
    sketch.ring((0.25, y), (0.125, rng.uniform(0.02, 0.04)), 0.022, look.trim)
    sketch.buckle((0.3, y + 0.03), 0.022, look.metal)


def sandal(sketch: Sketch, look: MaterialSet, rng: np.random.Generator) -> None:
    lift, ground = float(rng.choice([0.0, 0.02, 0.08, 0.16])), 0.8
    thick = rng.uniform(0.03, 0.07)
    seat, ball = ground - thick - lift, ground - thick
    top = [(0.07, seat), (0.3, seat + 0.01), (0.55, ball - 0.01), (0.75, ball), (0.96, ball - 0.01)]
    far = [
        (0.94, ball - 0.05),
        (0.75, ball - 0.05),
        (0.5, ball - 0.04 - lift * 0.3),
        (0.28, seat - 0.035),
        (0.1, seat - 0.03),
    ]
    low = [(0.95, ground), (0.7, ground), (0.4, ground), (0.08, ground)]
    if lift > 0.1 and rng.random() < 0.5:
        low = [(0.95, ground), (0.66, ground), (0.42, ground - lift * 0.5), (0.26, ground), (0.09, ground)]
    sketch.panel(smooth([(0.07, seat), *top, (0.96, ball), *low, (0.08, ground)]), look.base, 0.02)
    sketch.panel(smooth([*top, *far]), look.lining if rng.random() < 0.4 else look.thread, 0.015)
    _bands(sketch, look, (seat, ball, thick), rng)
    if rng.random() < 0.65:
        high = seat - rng.uniform(0.16, 0.28)
        sketch.strap(smooth([(0.11, seat), (0.09, (seat + high) / 2), (0.13, high)], closed=False), 0.035, look.body)
        _ankle_strap(sketch, look, high, rng)


def _bands(sketch: Sketch, look: MaterialSet, size: tuple[float, float, float], rng: np.random.Generator) -> None:
    """One to three straps over the foot, each an arch whose far side is hidden."""
    seat, ball, thick = size
    for place in np.linspace(0.76, rng.uniform(0.42, 0.6), int(rng.integers(1, 4))):
        width, rise = rng.uniform(0.09, 0.16), rng.uniform(0.12, 0.17) + 0.35 * (0.8 - place)
        foot = np.interp(place, [0.3, 0.7], [seat, ball]) + thick * 0.3
        top, left, right = foot - rise, place, place + width
        hump = np.asarray(smooth([
            (left, foot), (left, foot), (left - 0.02, top + 0.05), (left + 0.0, top), (right - 0.06, top),
            (right - 0.01, top + 0.05), (right, foot), (right, foot),
        ]))  # fmt: skip
        sketch.panel(hump * np.asarray((1, 0.9)) + np.asarray((-0.035, 0.1 * foot - 0.02)), look.lining, 0.02)
        sketch.panel(hump, look.body if rng.random() < 0.7 else look.trim, 0.02)
        if rng.random() < 0.3:
            sketch.buckle((place + width / 2 - 0.02, top + 0.06), 0.024, look.metal)
