"""Whether two colours can be told apart, also by colour-blind readers.

Distances are Euclidean in CIELAB, the least of normal vision, deuteranopia and protanopia (Machado
et al. 2009, at full severity).
"""

import re
from collections.abc import Mapping

import numpy as np

#: any two losses are so far apart; the paper's thirteen come as near as 24.5
APART = 24.0
#: the page and the reference rows, from which a proposal keeps its distance
PAGE = {"white": "#FFFFFF", "grey": "#7F7F7F"}

#: linear RGB as each kind of eye sees it
VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]],
    ]
)  # fmt: skip
#: linear RGB to XYZ over that of white (D65)
TO_XYZ = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8727]])


def check(name: str, colour: str, others: Mapping[str, str]) -> None:
    """ValueError, with a colour that would do, unless `colour` can be told from all others.

    Where so many are taken that no colour of the grid is `APART` from all, the farthest will do.
    """
    if not re.fullmatch("#[0-9A-Fa-f]{6}", colour):
        problem = f"must be #RRGGBB, got {colour!r}"
        raise ValueError(f"colour of {name} {problem}; {proposal(others)} is free")
    if not others:
        return
    apart = distances(colour, list(others.values()))
    nearest, distance = list(others)[apart.argmin()], apart.min()
    if distance >= APART:
        return
    better = proposal(others)
    if distance < distances(better, list(others.values())).min():
        raise ValueError(
            f"colour of {name} {colour} cannot be told from that of {nearest}, {others[nearest]} "
            f"(distance in CIELAB {distance:.1f}, asked for {APART:g}); {better} can"
        )


def proposal(others: Mapping[str, str]) -> str:
    """Of a grid of colours the one that is farthest from all others, white and grey."""
    step = [f"{value:02X}" for value in range(0, 256, 17)]
    grid = [f"#{r}{g}{b}" for r in step for g in step for b in step]
    taken = [*others.values(), *PAGE.values()]
    return grid[int(np.min([distances(colour, grid) for colour in taken], axis=0).argmax())]


def distances(colour: str, others: list[str]) -> np.ndarray:
    """From one colour to each of the others, (N,), the least over `VISIONS`."""
    return np.linalg.norm(lab(others) - lab([colour]), axis=2).min(axis=0)


def lab(colours: list[str]) -> np.ndarray:
    """CIELAB of colours "#RRGGBB" under each of `VISIONS`, (3, N, 3)."""
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISIONS.transpose(0, 2, 1), 0, 1) @ TO_XYZ.T
    x, y, z = np.moveaxis(np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116), 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)
