"""What covers the ground: its look in each band, its label, and where it is in which season."""

from typing import NamedTuple

import numpy as np

#: the classes of Dynamic World, in its order, and the surfaces that show them; a shadow shows none
KINDS = {
    "water": "water,sea,foam",
    "trees": "trees,bare trees,snowy trees",
    "grass": "grass,dry grass",
    "flooded vegetation": "marsh,paddy",
    "crops": "crops,ripe crops,young crops",
    "shrub and scrub": "shrubs",
    "built": "roof,paving,paint,metal",
    "bare": "soil,moist soil,sand",
    "snow and ice": "snow,ice",
}
LABELS = tuple(KINDS)
SEASONS = ("summer", "winter")

#: Per cent of light that is reflected at the ground, and echo in dB. Plausible, not measured:
#: leaves rise steeply between B4 and B7 and are dark where water absorbs (B11, B12), soils rise
#: steadily, water falls to nothing, snow is white up to B9 and dark beyond.
SURFACES = {
    #               B1   B2   B3   B4   B5   B6   B7   B8  B8A   B9  B10  B11  B12    VV    VH
    "water":      (3.2, 4.0, 4.5, 2.6, 2.0, 1.2, 1.1, 0.9, 0.7, 0.6, 0.5, 0.4, 0.3, -18.5, -25.0),
    "sea":        (3.6, 4.2, 3.6, 1.5, 1.1, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.3, 0.2, -16.5, -24.0),
    "foam":       ( 40,  43,  43,  42,  39,  34,  32,  30,  27,  23,  15, 9.0, 6.0, -13.0, -21.5),
    "trees":      (1.5, 2.0, 4.0, 2.5, 6.5,  19,  24,  26,  28,  28,  20,  12, 5.0, -8.5, -14.5),
    "bare trees": (3.0, 3.5, 5.0, 5.5, 8.5,  14,  17,  19,  21,  21,  18,  17,  10, -9.5, -16.0),
    "snowy trees":( 10,  11,  12,  11,  14,  21,  24,  25,  26,  26,  20,  12, 6.0, -9.0, -15.5),
    "grass":      (2.5, 3.5, 7.0, 5.0,  11,  25,  31,  34,  36,  36,  28,  20,  10, -12.5, -19.5),
    "dry grass":  (5.0, 6.5,  10,  13,  16,  21,  24,  26,  28,  28,  28,  31,  20, -13.5, -20.5),
    "marsh":      (2.5, 3.0, 5.0, 3.5, 6.5,  14,  17,  18,  18,  17,  12, 6.0, 2.5, -9.0, -16.5),
    "paddy":      (3.0, 4.0, 6.5, 4.5, 8.0,  17,  21,  22,  22,  21,  15, 8.0, 3.5, -10.5, -18.0),
    "crops":      (2.0, 3.0, 6.5, 3.5,  10,  31,  41,  44,  46,  46,  35,  18, 8.0, -10.5, -17.0),
    "ripe crops": (5.0, 7.0,  11,  14,  18,  25,  28,  30,  32,  32,  32,  34,  22, -11.5, -18.0),
    "young crops":(3.0, 4.0, 7.0, 6.0,  11,  22,  27,  29,  31,  31,  26,  22,  12, -13.0, -20.5),
    "shrubs":     (3.5, 4.5, 7.0, 8.0,  11,  17,  19,  21,  23,  23,  23,  24,  15, -11.0, -17.5),
    "roof":       ( 11,  13,  15,  17,  18,  20,  21,  22,  23,  23,  24,  25,  22, -4.0, -11.5),
    "paving":     (8.0, 9.0,  10,  11,  12,  13,  14,  15,  15,  15,  16,  17,  16, -9.5, -17.5),
    "paint":      ( 33,  36,  38,  39,  39,  39,  39,  39,  38,  37,  36,  34,  30, -10.0, -18.0),
    "metal":      ( 26,  28,  30,  30,  31,  31,  32,  32,  32,  32,  31,  30,  27, -3.0, -10.5),
    "soil":       (8.0,  10,  15,  20,  23,  25,  27,  29,  31,  31,  34,  40,  35, -14.5, -21.5),
    "moist soil": (4.5, 5.5, 8.0,  11,  13,  15,  16,  17,  19,  19,  20,  23,  18, -12.0, -19.5),
    "sand":       ( 16,  20,  27,  33,  35,  37,  38,  39,  41,  40,  43,  49,  45, -18.0, -25.0),
    "snow":       ( 70,  72,  72,  71,  70,  68,  67,  66,  63,  58,  30, 9.0, 7.5, -14.5, -21.5),
    "ice":        ( 42,  46,  46,  43,  40,  36,  32,  28,  25,  21,  10, 4.0, 3.0, -16.0, -23.0),
    "shadow":     (1.5, 2.0, 2.0, 2.0, 2.5, 4.0, 4.5, 5.0, 5.5, 5.5, 5.0, 4.5, 3.5, -12.0, -19.0),
}  # fmt: skip
LABEL_OF = {name: label for label, names in KINDS.items() for name in names.split(",")}

#: what a material of the scenes is where no season changes it
PLAIN = {
    **dict.fromkeys(("airplane", "car", "ship", "tank"), "metal"),
    **dict.fromkeys(("building", "mobile home"), "roof"),
    **dict.fromkeys(("court", "dock", "pavement"), "paving"),
    **{"bare soil": "soil", "chaparral": "shrubs", "tree": "trees", "field": "crops"},
    **{name: name for name in ("foam", "grass", "paint", "sand", "sea", "shadow", "water")},
}
OPEN = {"bare soil", "chaparral", "field", "grass", "sand"}  # where snow stays


class Climate(NamedTuple):
    """What happens at a place, all year."""

    snowy: bool  # snow in winter
    icy: bool  # and water frozen
    wet: bool  # grass flooded in winter, some of it in summer, too
    paddies: bool  # fields flooded in summer
    farmed: bool  # fields where else grass and bare soil would be
    dry: bool  # grass brown in summer, green in winter
    leafless: bool  # trees without leaves in winter


CHANCES = Climate(snowy=0.25, icy=0.5, wet=0.2, paddies=0.35, farmed=0.25, dry=0.5, leafless=0.6)


def surface_of(material: str, season: str, climate: Climate, luck: float) -> str:
    """What a part of the scene made of `material` is covered by; `luck` in [0, 1) is the part's."""
    winter = season == "winter"
    snow = winter and climate.snowy
    if snow and material in OPEN and luck < 0.8:
        return "snow"
    if snow and climate.icy and material in ("water", "sea", "foam"):
        return "ice"
    if climate.farmed and material in ("bare soil", "grass"):
        material = "field"
    if material == "tree":
        return "snowy trees" if snow else "bare trees" if winter and climate.leafless else "trees"
    if material == "grass":
        if climate.wet and (winter or luck < 0.4):
            return "marsh"
        return "grass" if winter == climate.dry else "dry grass"
    if material == "field":
        if winter:
            return "young crops" if luck < 0.35 else "moist soil"
        if climate.paddies and luck < 0.7:
            return "paddy"
        return "crops" if luck < 0.55 else "ripe crops" if luck < 0.8 else "soil"
    if material == "bare soil" and winter:
        return "moist soil"
    return PLAIN[material]


def covers(materials: list[str], rng: np.random.Generator) -> np.ndarray:
    """(2, P) int, in summer and in winter: which of `SURFACES` each part of a scene is."""
    climate = Climate(*(rng.random(len(CHANCES)) < CHANCES))
    luck = rng.random((2, len(materials)))
    order = {name: k for k, name in enumerate(SURFACES)}
    return np.array(
        [
            [
                order[surface_of(material, season, climate, chance)]
                for material, chance in zip(materials, chances, strict=True)
            ]
            for season, chances in zip(SEASONS, luck, strict=True)
        ]
    )
