"""The scene types: what makes each itself, which labels it shows, and how one is composed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from maclcore.data.synthetic.drawing import (
    EVERYWHERE,
    airplane,
    blob,
    box,
    bushes,
    car,
    cars,
    disc,
    house,
    ribbon,
    road,
    ship,
    tree,
    trees,
    winding,
)

# --------------------------------------------------------------- what makes each scene type itself


def streets(scene, want, number=1, width=0.1, lanes=2):
    for k in range(number if "pavement" in want else 0):
        path = winding(scene, scene.point(0.25), scene.turn * 1j**k, scene.between(0, 0.06))
        road(scene, path, width, lanes)


def crossing(scene, want):
    centre, width = scene.point(0.3), scene.between(0.12, 0.2)
    for turn in (1, np.exp(1j * scene.between(1.3, 1.8))):
        road(scene, winding(scene, centre, scene.turn * turn, 0), width)
    scene.add(box(centre, width, width, scene.turn), "pavement", -8)


def carriageways(scene, want):
    centre, width = scene.point(0.3), scene.between(0.15, 0.22)
    path = winding(scene, centre, scene.turn, scene.between(0, 0.06))
    for side in (-0.65, 0.65):
        road(scene, path + 1j * side * width * scene.turn, width, 3)


def flyover(scene, want):
    centre, width = scene.point(0.3), scene.between(0.18, 0.28)
    road(scene, winding(scene, centre, 1j * scene.turn, 0.03), width, 4)
    if scene.chance(0.6):
        ramp = winding(scene, centre + 0.3 * scene.turn, scene.turn * np.exp(0.8j), 0.2)
        road(scene, ramp, 0.08, 1)
    deck = winding(scene, centre, scene.turn, 0.01)
    scene.add(ribbon(deck + 0.04 * scene.sun, 1.25 * width), "shadow")
    road(scene, deck, width, 4)


def runway(scene, want):
    centre, width, turn = scene.point(0.3), scene.between(0.25, 0.45), scene.turn
    scene.add(box(centre, 2.8, width, turn), "pavement", 8)
    scene.add(box(centre, 2.8, 0.8 * width, turn), "pavement", -8)
    for k in range(-8, 9):
        scene.add(box(centre + 0.16 * k * turn, 0.09, 0.014, turn), "paint")
    for k in np.linspace(-0.35, 0.35, 8) if scene.chance(0.5) else ():  # the threshold
        scene.add(box(centre + turn * (0.2 + 1j * k * width), 0.14, 0.03 * width, turn), "paint")


def airplanes(scene, want):
    for k in range(scene.count(1, 4)):
        size = scene.between(0.25, 0.6)
        place, clear = scene.free(0.4 * size)
        if clear or k == 0:
            place = 0.5 + 0.5j + 0.75 * (place - 0.5 - 0.5j)  # not half outside the frame
            airplane(scene, place, size, scene.turn * (1 if scene.chance(0.6) else 1j))


def bays(scene, want):
    bay, fill = 0.06 * scene.scale, scene.between(0.2, 0.9)
    for place in scene.lots(2.4 * bay, bay, 0.02):
        line = place + 0.5j * bay * scene.turn
        scene.add(box(line, 1.6 * bay, 0.006, scene.turn), "paint")
        if scene.chance(fill):
            car(scene, place, scene.turn)
    want.discard("car")


def parcels(scene, want):
    for _ in range(scene.count(0, 3)):
        length, width, turn = scene.between(0.4, 0.9), scene.between(0.3, 0.8), scene.turn
        parcel = box(scene.point(), length, width, turn)
        if scene.chance(0.2):  # irrigated from a pivot
            parcel = disc(scene.point(0.2), length / 2, 24)
        scene.add(parcel, "field", fresh=True, heading=turn * (1j if scene.chance(0.5) else 1))


def diamond(scene, want):
    streets(scene, want)
    radius = scene.between(0.45, 0.7)
    pitch, turn = 0.2 + 0.2j + 0.6 * scene.free(0.5 * radius)[0], scene.turn
    home = pitch - 0.5 * radius * turn
    wedge = np.exp(0.25j * np.pi * np.linspace(-1, 1, 10))
    scene.add(home + radius * turn * np.append(-0.06, wedge), "bare soil")
    scene.add(box(pitch, 0.5 * radius, 0.5 * radius, turn * 1j**0.5), "grass", 6)
    scene.add(disc(pitch, 0.06 * radius, 8), "bare soil", 6)


def shore(scene, want):
    edge = winding(scene, scene.point(0.3), 1j * scene.turn, scene.between(0.02, 0.07))
    out = -2 * scene.turn
    scene.add(ribbon(edge, 0.08), "sand", -20)  # wet sand
    scene.add(np.append(edge, [edge[-1] + out, edge[0] + out]), "sea", heading=scene.turn)
    for k in range(scene.count(0, 2)):
        scene.add(ribbon(edge - (0.015 + 0.07 * k) * scene.turn, scene.between(0.01, 0.03)), "foam")
    scene.taken += [(place - 0.3 * scene.turn, 0.35) for place in edge]


def stream(scene, want):
    streets(scene, want)
    path, width = winding(scene, scene.point(0.3), scene.turn, 0.1), scene.between(0.18, 0.35)
    scene.add(ribbon(path, width), "water")
    scene.taken += [(place, 0.5 * width) for place in path]


def marina(scene, want):
    start, turn, length = scene.point(0.25), scene.turn, scene.between(0.1, 0.22)
    gap = scene.between(0.35, 0.6) * length
    scene.add(box(start, 3, 0.05, turn), "dock")
    for k in range(-24, 25):
        for side in (1j * turn, -1j * turn):
            berth = start + turn * k * gap + 0.75 * length * side
            if abs(berth - 0.5 - 0.5j) > 0.8:
                continue
            if k % 2:
                scene.add(box(berth, length, 0.015, side), "dock")
            elif k == 0 or scene.chance(0.75):
                ship(scene, berth, length * scene.between(0.7, 1), side)


def canopy(scene, want):
    radius = scene.between(0.04, 0.09)
    for place in scene.points(scene.count(30, 60)):
        tree(scene, place, radius * scene.between(0.6, 1.3))
    want.discard("tree")


def fairways(scene, want):
    fairway = winding(scene, scene.point(0.2), scene.turn, 0.1)
    scene.add(ribbon(fairway, scene.between(0.12, 0.25)), "grass", 16)
    if "water" in want:
        place, _ = scene.free(0.15)
        scene.add(blob(scene, place, scene.between(0.08, 0.16), 0.25, 14), "water")
    streets(scene, want, 1, 0.03, 1)


def tanks(scene, want):
    radius = scene.between(0.06, 0.18)
    streets(scene, want, 1, 0.07)
    for place in scene.lots(2.7 * radius, 2.7 * radius, 0.7 * radius, 0.8):
        size = radius * scene.between(0.8, 1)
        scene.stand(disc(place, size), 0.35 * size, "tank", shade=-20)
        scene.add(disc(place, 0.86 * size), "tank")
        scene.add(disc(place + 0.3 * size * scene.sun, 0.12 * size, 8), "tank", -30)
        scene.taken.append((place, size))


def courts(scene, want):
    streets(scene, want, 1, 0.08)
    turn, length, width = scene.turn, 0.3 * scene.scale, 0.15 * scene.scale
    places = scene.lots(1.4 * length, 1.45 * width)
    for place in places[abs(places - 0.5 - 0.5j).argsort()][: scene.count(1, 4)]:
        scene.add(box(place, 1.25 * length, 1.3 * width, turn), "court", -14)
        scene.add(box(place, length, width, turn), "court", 100)
        for x in (-0.365, -0.125, 0.125, 0.365):  # the four parts between the white lines
            part = place + x * length * turn
            scene.add(box(part, 0.22 * length, 0.88 * width, turn), "court", 8)
        scene.taken.append((place, 0.6 * length))


def homes(scene, want):
    streets(scene, want, 1, 0.09)
    for place in scene.lots(scene.between(0.24, 0.32), scene.between(0.13, 0.18), 0.06, 0.85):
        house(scene, place, 0.19 * scene.scale, 0.07 * scene.scale, "mobile home")


class Kind(NamedTuple):
    """A scene type: what makes it itself, and how often each label is meant to be there."""

    feature: Callable
    always: str  # comma-separated labels, as in the next three fields
    usual: str = ""
    common: str = ""
    rare: str = ""
    base: str | None = None  # what covers the ground first; else one of the wanted grounds
    lot: float = 0.35  # distance between buildings


FREQUENCIES = {"always": 1.0, "usual": 0.8, "common": 0.5, "rare": 0.2}
SCENES = {
    "airport": Kind(airplanes, "airplane,pavement", "", "building,car", "grass,tree", "pavement"),
    "ballpark": Kind(diamond, "grass,bare soil", "", "building,pavement,tree", "car", "grass"),
    "beach": Kind(shore, "sand,sea", base="sand"),
    "car park": Kind(bays, "car,pavement", "", "tree", "building,grass", "pavement"),
    "crossroads": Kind(crossing, "car,pavement", "building,grass,tree", "bare soil"),
    "dense suburb": Kind(streets, "building", "car,pavement,tree", "grass", "bare soil", lot=0.26),
    "downtown": Kind(
        streets, "building", "car,pavement", "tree", "bare soil,grass", "pavement", lot=0.45
    ),
    "farmland": Kind(parcels, "field", rare="tree", base="field"),
    "forest": Kind(canopy, "tree", base="tree"),
    "golf course": Kind(fairways, "grass", "sand,tree", "bare soil,pavement", "water", "grass"),
    "harbour": Kind(marina, "dock,ship,water", base="water"),
    "highway": Kind(carriageways, "car,pavement", "grass", "bare soil,tree", "building,chaparral"),
    "interchange": Kind(flyover, "car,pavement", "grass", "bare soil", "tree"),
    "river": Kind(stream, "water", "tree", "bare soil,grass,sand", "pavement"),
    "runway": Kind(runway, "pavement", "", "grass", "sand"),
    "shrubland": Kind(bushes, "bare soil,chaparral", base="bare soil"),
    "suburb": Kind(streets, "building", "car,grass,pavement,tree", "bare soil"),
    "tank farm": Kind(tanks, "tank", "bare soil,pavement", "building,grass", "car,sand,tree"),
    "tennis club": Kind(courts, "court", "grass,pavement,tree", "bare soil,building,car"),
    "trailer park": Kind(homes, "mobile home,pavement", "car,tree", "bare soil,grass"),
    "villas": Kind(streets, "building", "grass,pavement,tree", "bare soil,car", "sand", lot=0.6),
}  # fmt: skip


def compose(scene, kind, want):
    """Draw the wanted labels: the grounds, the feature, then what many kinds of scene share.

    A feature that draws all there should be of a label takes it out of `want`.
    """
    patches = [name for name in ("bare soil", "grass", "sand") if name in want]
    patches = [patches[i] for i in scene.rng.permutation(len(patches))]
    base = kind.base or (patches + ["pavement"])[0]
    scene.add(EVERYWHERE, base, heading=scene.turn)
    for name in patches:
        if name != base and name not in kind.always:  # the feature draws what is always there
            for place in scene.points(scene.count(1, 2), 0.1):
                if name == "sand" or scene.chance(0.4):
                    scene.add(blob(scene, place, scene.between(0.06, 0.2), 0.35, 12), name)
                else:
                    size = scene.between(0.25, 0.5), scene.between(0.2, 0.4)
                    scene.add(box(place, *size, scene.turn), name)
    kind.feature(scene, want)
    if "building" in want:
        size = 0.55 * kind.lot
        for place in scene.lots(kind.lot, 1.1 * kind.lot, 0.45 * size, scene.between(0.5, 1)):
            house(scene, place, size * scene.between(0.9, 1.5), size * scene.between(0.7, 1.0))
    for name, draw in {"chaparral": bushes, "car": cars, "tree": trees}.items():
        if name in want:
            draw(scene, want)


def scene_names(n=2100):
    """Scene type of each image of `generate(n)`: the 21 types take turns, whatever the seed."""
    return [list(SCENES)[i % len(SCENES)] for i in range(n)]
