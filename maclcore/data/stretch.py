"""The stretch: which values of more than 8 bits become black and white, one for a whole archive."""

from typing import Any, NamedTuple

import numpy as np

ROWS = 512  # that are scaled at once, so that the memory is not that of an image in floats


class Stretch(NamedTuple):
    """Which values of red, green and blue become 0, and which 255; JSON keeps it exactly."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    @classmethod
    def of(cls, given: Any) -> "Stretch":
        """From its JSON, from "LOW,HIGH", or from "R_LOW,R_HIGH,G_LOW,…"; ValueError if not."""
        try:
            if isinstance(given, str):
                ends = [float(number) for number in given.split(",")]
                ends = ends * 3 if len(ends) == 2 else ends
                given = ends[::2], ends[1::2]
            low, high = (tuple(map(float, side)) for side in given)
        except (TypeError, ValueError):
            low = high = ()
        sound = len(low) == len(high) == 3 and np.isfinite([*low, *high]).all()
        if not sound or (np.array(low) >= high).any():
            raise ValueError(
                f"a stretch cannot be {given!r}: say the value that becomes 0 and the larger one "
                "that becomes 255, as 0,3000, or three such pairs for red, green and blue"
            )
        return cls(low, high)

    def __str__(self) -> str:
        ends = [f"{a:g} to {b:g}" for a, b in zip(*self, strict=True)]
        return ", ".join(ends if len({*ends}) > 1 else ends[:1])

    def __call__(self, bands: np.ndarray) -> np.ndarray:
        """(3, H, W) uint8 of any numbers; those that are not finite become 0."""
        low, high = np.array(self)[:, :, None, None]
        out = np.empty(bands.shape, dtype=np.uint8)
        for start in range(0, bands.shape[1], ROWS):
            values = bands[:, start : start + ROWS].astype(np.float64)
            values = np.where(np.isfinite(values), values, low)
            out[:, start : start + ROWS] = (
                ((values - low) * 255 / (high - low)).clip(0, 255).round()
            )
        return out


#: of an archive whose images all have 8 bits, some of them many bands
EIGHT = Stretch((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
