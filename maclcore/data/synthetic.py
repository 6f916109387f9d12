"""A designed instrument: small aerial scenes whose labels are known by construction.

A scene is a list of polygons in unit coordinates, back to front, a pure function of (seed, index).
It is painted into a map of visible parts: labels are read off that map at one fixed resolution,
pixels off the same map at any size. The 17 labels and their frequencies are those of DLRSD in
Table 3 of the paper (MACL); the 21 scene types play the part of UC Merced's land-use classes.
Points are complex numbers x + iy (x right, y down): turning a shape is one multiplication.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

LABELS = (
    *("airplane", "bare soil", "building", "car", "chaparral", "court", "dock", "field", "grass"),
    *("mobile home", "pavement", "sand", "sea", "ship", "tank", "tree", "water"),
)
REFERENCE = 128  # side of the map that labels are read from, whatever the image size
MIN_VISIBLE = 24  # cells of that map, 6 pixels of a 64 px image; smaller remnants are not drawn


class Material(NamedTuple):
    """How a surface looks, in grey levels of 255."""

    colours: tuple  # to choose from
    spread: float = 10  # standard deviation around them
    grain: tuple = (2, 1, 2)  # amplitude of coarse, medium and fine noise
    stripes: tuple = (0, 0)  # amplitude, and cycles per image side
    label: str | None = None  # where it is not the material's own name


MATERIALS = {
    "airplane": Material(((226, 228, 232), (196, 200, 208))),
    "bare soil": Material(((168, 140, 108), (146, 116, 88), (190, 168, 136)), 9, (9, 6, 5)),
    "building": Material(((186, 178, 170), (150, 92, 74), (120, 120, 126), (214, 210, 204)), 14),
    "car": Material(((232, 232, 232), (40, 42, 48), (160, 40, 40), (50, 70, 130)), 16),
    "chaparral": Material(((78, 84, 58), (92, 90, 66)), 7, (3, 6, 8)),
    "court": Material(((70, 110, 92), (66, 92, 140), (158, 88, 70)), 9),
    "dock": Material(((176, 166, 150), (150, 138, 122))),
    "field": Material(((104, 130, 62), (160, 146, 92), (132, 112, 84)), 10, (5, 4, 4), (12, 22)),
    "grass": Material(((104, 132, 74), (134, 138, 88), (86, 116, 68)), 9, (6, 5, 10)),
    "mobile home": Material(((224, 222, 214), (202, 196, 186), (190, 200, 206)), 8),
    "pavement": Material(((112, 112, 114), (146, 144, 140), (92, 94, 98)), 7, (4, 3, 3)),
    "sand": Material(((216, 200, 164), (226, 214, 188), (200, 180, 146)), 7, (5, 5, 3)),
    "sea": Material(((52, 98, 124), (70, 130, 140), (40, 78, 108)), 9, (7, 6, 4), (6, 12)),
    "ship": Material(((236, 238, 240), (212, 214, 216))),
    "tank": Material(((222, 222, 218), (188, 184, 176), (170, 150, 132))),
    "tree": Material(((58, 84, 48), (74, 98, 56), (48, 72, 50)), 9, (3, 7, 9)),
    "water": Material(((66, 88, 84), (88, 100, 84), (50, 74, 90)), 9, (7, 2, 1)),
    "shadow": Material(((42, 46, 50),), 4),
    "paint": Material(((222, 222, 214), (214, 196, 120)), 8, label="pavement"),
    "foam": Material(((222, 232, 232),), 8, (2, 5, 6), label="sea"),
}


class Scene:
    """Parts from back to front, and what they share: light, heading, scale, palette, free room."""

    def __init__(self, rng):
        self.rng, self.parts, self.taken, self.roads, self.palette = rng, [], [], [], {}
        self.turn, self.sun = np.exp(2j * np.pi * rng.random(2))
        self.scale = self.between(0.8, 1.3)

    def between(self, low, high):
        return low + (high - low) * self.rng.random()

    def chance(self, probability):
        return self.rng.random() < probability

    def count(self, low, high):
        """A whole number from `low` to `high`."""
        return int(self.between(low, high + 1))

    def points(self, n, margin=0.0):
        return (margin + (1 - 2 * margin) * self.rng.random((n, 2))).view(complex)[:, 0]

    def point(self, margin=0.0):
        return self.points(1, margin)[0]

    def add(self, points, material, shade=0.0, fresh=False, heading=1j):
        """Lay a polygon on top, `shade` lighter than the scene's colour of its material.

        `fresh` draws that colour anew, for things that differ within a scene; stripes run across
        `heading`.
        """
        if fresh or material not in self.palette:
            colours, spread, *_ = MATERIALS[material]
            tint = self.rng.standard_normal() + 0.4 * self.rng.standard_normal(3)
            self.palette[material] = colours[self.rng.integers(len(colours))] + spread * tint
        self.parts.append((points, material, self.palette[material] + shade, heading))

    def stand(self, points, height, material, **look):
        """Add a polygon and the shadow it casts."""
        self.add(points + height * self.sun, "shadow")
        self.add(points, material, **look)

    def room(self, points, radius):
        """Distance of each point's disc from everything that has taken its place."""
        centres, radii = np.array([(9, 0), *self.taken]).T
        return (abs(points[:, None] - centres) - radii.real).min(1) - radius

    def free(self, radius):
        """The roomiest of 12 random places, and whether a disc of this radius is free there."""
        places = self.points(12, 0.04)
        room = self.room(places, radius)
        self.taken.append((places[room.argmax()], radius))
        return places[room.argmax()], room.max() > 0

    def lots(self, across, along, radius=0.0, share=1.0):
        """Free places of a jittered lattice along the scene's heading; at least one."""
        x, y = np.mgrid[-9:10, -9:10].reshape(2, -1) + self.rng.random((2, 1))
        lattice = across * x + 1j * along * y + 0.03 * self.points(x.size)
        places = 0.5 + 0.5j + self.turn * lattice
        inside = np.maximum(abs(places.real - 0.5), abs(places.imag - 0.5)) < 0.5
        keep = inside & (self.room(places, radius) > 0) & (self.rng.random(len(places)) < share)
        return places[keep] if keep.any() else np.array([self.free(radius)[0]])


# ---------------------------------------------------------------------------------------- outlines


def box(centre, length, width, turn=1.0):
    corner = np.array([-length - 1j * width, length - 1j * width]) / 2
    return centre + turn * np.concatenate([corner, -corner])


def disc(centre, radius, corners=14):
    return centre + radius * np.exp(2j * np.pi * np.arange(corners) / corners)


def blob(scene, centre, radius, wobble=0.25, corners=10):
    wobbles = 1 + wobble * (2 * scene.rng.random(corners) - 1)
    return centre + wobbles * disc(0, radius, corners)


def normals(path):
    along = np.gradient(path)
    return 1j * along / abs(along)


def ribbon(path, width):
    side = 0.5 * width * normals(path)
    return np.concatenate([path + side, (path - side)[::-1]])


def winding(scene, centre, turn, bend):
    """A path of 28 points right across the frame, through `centre`, swaying like a slow wave."""
    along = np.linspace(-1.4, 1.4, 28)
    sway = np.sin(scene.between(0, 2 * np.pi) + along * scene.between(3, 6))
    return centre + turn * (along + 1j * bend * sway)


EVERYWHERE = box(0.5 + 0.5j, 1.2, 1.2)

# ----------------------------------------------------------------------------------------- objects


def car(scene, centre, turn):
    length, width = 0.075 * scene.scale, 0.036 * scene.scale
    scene.stand(box(centre, length, width, turn), 0.2 * width, "car", fresh=True)
    scene.add(box(centre - 0.1 * length * turn, 0.4 * length, 0.8 * width, turn), "car", -30)


def house(scene, centre, length, width, material="building"):
    turn = scene.turn
    scene.stand(box(centre, length, width, turn), 0.2 * width, material, fresh=True)
    if material == "mobile home" or scene.chance(0.7):  # a gable: one half of the roof is darker
        scene.add(box(centre + 0.25j * width * turn, length, width / 2, turn), material, -20)
    else:  # a flat roof with its plant
        for place in scene.points(2) - 0.5 - 0.5j:
            corner = 0.7 * (place.real * length + 1j * place.imag * width)
            scene.add(box(centre + turn * corner, 0.04, 0.03, turn), material, -30)
    scene.taken.append((centre, 0.5 * max(length, width)))


def tree(scene, centre, radius):
    shade = scene.between(-12, 12)
    scene.stand(blob(scene, centre, radius, 0.25, 9), 0.5 * radius, "tree", shade=shade)
    crown = blob(scene, centre - 0.3 * radius * scene.sun, 0.5 * radius, 0.3, 7)
    scene.add(crown, "tree", shade + 18)


def airplane(scene, centre, size, turn):
    half = [0.5, 0.46 + 0.05j, 0.12 + 0.06j, -0.12 + 0.46j, -0.2 + 0.46j, -0.08 + 0.05j]
    half = np.array(half + [-0.36 + 0.04j, -0.46 + 0.17j, -0.51 + 0.17j, -0.47])
    outline = centre + size * turn * np.concatenate([half, half[-2:0:-1].conj()])
    scene.stand(outline, 0.06 * size, "airplane", fresh=True)
    scene.add(box(centre, 0.8 * size, 0.03 * size, turn), "airplane", -22)
    scene.taken.append((centre, 0.5 * size))


def ship(scene, centre, length, turn):
    hull = np.array([0.5, 0.25 + 0.14j, -0.48 + 0.13j, -0.48 - 0.13j, 0.25 - 0.14j])
    scene.stand(centre + length * turn * hull, 0.012, "ship", fresh=True)
    scene.add(box(centre - 0.1 * length * turn, 0.4 * length, 0.13 * length, turn), "ship", -50)


def road(scene, path, width, lanes=2):
    scene.add(ribbon(path, 1.25 * width), "pavement", 14)  # the kerb
    scene.add(ribbon(path, width), "pavement", -8)
    side = normals(path)
    for offset in np.arange(1, lanes) / lanes - 0.5:
        for place, across in zip(path + offset * width * side, side, strict=True):
            if abs(place - 0.5 - 0.5j) < 0.75:
                scene.add(box(place, 0.008, 0.045, across), "paint")
    scene.roads.append((path, width, lanes))
    scene.taken += [(place, 0.6 * width) for place in path]


def cars(scene, want):
    """On the roads, where there are any, and beside them."""
    for k in range(scene.count(1, 6)):
        place, clear = scene.free(0.04)
        if scene.roads and scene.chance(0.85):
            path, width, lanes = scene.roads[scene.count(0, len(scene.roads) - 1)]
            step = abs(path - place).argmin()
            heading = -1j * normals(path)[step]
            lane = (scene.count(1, lanes) - 0.5) / lanes - 0.5
            place = path[step] + heading * (1j * lane * width + scene.between(-0.05, 0.05))
            car(scene, place, heading)
        elif clear or k == 0:
            car(scene, place, scene.turn)


def trees(scene, want):
    radius = scene.between(0.04, 0.085) * scene.scale
    for k in range(scene.count(2, 10)):
        place, clear = scene.free(0.6 * radius)
        if clear or k == 0:
            tree(scene, place, radius * scene.between(0.7, 1.3))


def bushes(scene, want):
    radius = scene.between(0.02, 0.04)
    places = scene.points(scene.count(30, 80))
    for place in places[scene.room(places, 0) > 0]:
        bush = blob(scene, place, radius * scene.between(0.6, 1.4), 0.3, 7)
        scene.add(bush, "chaparral", scene.between(-10, 10))
    want.discard("chaparral")


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


# ---------------------------------------------------------------------------------------- painting

LABEL_OF = {
    name: LABELS.index(m.label or name) if (m.label or name) in LABELS else len(LABELS)
    for name, m in MATERIALS.items()
}


def part_map(parts, side):
    """(side, side) int: 1 + the index of the part seen in each cell, 0 where there is none."""
    image = Image.new("I", (side, side))
    draw = ImageDraw.Draw(image)
    for k, (points, *_) in enumerate(parts, 1):
        draw.polygon((side * points - (0.5 + 0.5j)).view(float).tolist(), fill=k)
    return np.asarray(image)


def build(seed, index):
    """Scene `index`: its generator, its parts, their map and the cells of each label (17,).

    A label that shows fewer than `MIN_VISIBLE` cells loses its parts, so that a label is set if
    and only if something of it is in the picture.
    """
    rng = np.random.default_rng((seed, index))
    kind = SCENES[list(SCENES)[index % len(SCENES)]]
    scene = Scene(rng)
    want = set()
    for word, probability in FREQUENCIES.items():
        want |= {name for name in getattr(kind, word).split(",") if scene.chance(probability)}
    compose(scene, kind, want)
    parts = scene.parts
    while True:
        cells = part_map(parts, REFERENCE)
        labels = np.array([len(LABELS)] + [LABEL_OF[material] for _, material, *_ in parts])
        area = np.bincount(labels[cells].ravel(), minlength=len(LABELS) + 1)[: len(LABELS)]
        faint = np.flatnonzero((area > 0) & (area < MIN_VISIBLE))
        if not len(faint):
            return rng, parts, cells, area
        parts = [part for part in parts if LABEL_OF[part[1]] not in faint]


def paint(rng, parts, cells, size):
    """Colour, grain and stripes of each part, averaged down to (3, size, size), then the light."""
    side = len(cells)
    lattices = [rng.standard_normal((g, g), dtype=np.float32) for g in (6, 20, 64)]
    noise = [Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC) for g in lattices]
    noise = [np.asarray(g) for g in noise]
    gain = rng.uniform(0.75, 1.2) * (1 + 0.035 * rng.standard_normal(3))
    haze, sigma = rng.uniform(0, 30), rng.uniform(1, 6)

    looks = [MATERIALS[material] for _, material, *_ in parts]
    colour = np.array([(60, 60, 60), *(part[2] for part in parts)], dtype=np.float32)
    grain = np.array([(0, 0, 0), *(look.grain for look in looks)], dtype=np.float32)
    swell = np.array([0, *(look.stripes[0] for look in looks)], dtype=np.float32)
    grey = sum(grain[:, k][cells] * noise[k] for k in range(3))
    if swell.any():
        wave = [look.stripes[1] * part[3] for look, part in zip(looks, parts, strict=True)]
        wave = 2 * np.pi * np.array([0, *wave], dtype=np.complex64)[cells]
        axis = (np.arange(side, dtype=np.float32) + 0.5) / side
        phase = wave.real * axis + wave.imag * axis[:, None] + 0.8 * noise[0]
        grey += swell[cells] * np.sin(phase)
    image = colour[cells] + grey[..., None]

    factor = side // size
    offsets = range(factor)
    image = sum(image[i::factor, j::factor] for i in offsets for j in offsets) / factor**2
    image = image * gain.astype(np.float32) + np.float32(haze)
    image += np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def example(index, image_size=64, seed=0):
    """Image `index`, (3, image_size, image_size) uint8, and its labels (17,) bool."""
    rng, parts, cells, area = build(seed, index)
    side = image_size * -(-max(REFERENCE, 2 * image_size) // image_size)
    if side != REFERENCE:
        cells = part_map(parts, side)
    return paint(rng, parts, cells, image_size), area > 0


def generate(n=2100, image_size=64, seed=0, workers=None):
    """The first `n` images and their labels; each depends on (seed, its index, image_size) alone.

    Returns images (n, 3, image_size, image_size) uint8 and labels (n, 17) bool, columns as in
    `LABELS`. The labels do not depend on `image_size`: a scene is the same scene at any size.
    `workers` is a number of threads, by default one; it changes nothing but the time.
    Raises ValueError for n < 1, image_size < 8 or a negative seed.
    """
    if n < 1 or image_size < 8 or seed < 0:
        raise ValueError(
            f"n={n}, image_size={image_size}, seed={seed}: "
            "n must be at least 1, image_size at least 8 and seed at least 0"
        )
    images = np.empty((n, 3, image_size, image_size), dtype=np.uint8)
    labels = np.empty((n, len(LABELS)), dtype=bool)

    def fill(i):
        images[i], labels[i] = example(i, image_size, seed)

    with ThreadPoolExecutor(workers or 1) as pool:
        list(pool.map(fill, range(n)))
    return images, labels
