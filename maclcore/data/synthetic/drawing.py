"""What a scene is painted with: labels and their materials, a scene's parts, outlines, objects.

Points are complex numbers x + iy (x right, y down): turning a shape is one multiplication.
"""

from typing import NamedTuple

import numpy as np

LABELS = (
    *("airplane", "bare soil", "building", "car", "chaparral", "court", "dock", "field", "grass"),
    *("mobile home", "pavement", "sand", "sea", "ship", "tank", "tree", "water"),
)


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
