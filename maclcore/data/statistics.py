"""Mean and standard deviation of each band, and with them the bytes that a network is given.

Of SSL4EO-S12, in digital numbers (reflectance times 10,000) and in decibels, as SoftCon's authors
give them: every band from two deviations below its mean to two above, in 256 steps.
"""

import numpy as np

#: of a sensor's bands, in its order: mean and standard deviation
STATISTICS: dict[str, dict[str, tuple[float, float]]] = {
    "s2_l1c": {  # Sentinel-2, top of atmosphere
        "B1": (1605.57504906, 786.78685367),
        "B2": (1390.78157673, 850.34818441),
        "B3": (1314.8729939, 875.06484736),
        "B4": (1363.52445545, 1138.84957046),
        "B5": (1549.44374991, 1122.17775652),
        "B6": (2091.74883118, 1161.59187054),
        "B7": (2371.7172463, 1274.39184232),
        "B8": (2299.90463006, 1248.42891965),
        "B8A": (2560.29504086, 1345.52684884),
        "B9": (830.06605044, 577.31607053),
        "B10": (22.10351321, 51.15431158),
        "B11": (2177.07172323, 1336.09932639),
        "B12": (1524.06546312, 1136.53823676),
    },
    "s2_l2a": {  # Sentinel-2, at the surface; B10 sees only the atmosphere, and is not among them
        "B1": (752.40087073, 1108.02887453),
        "B2": (884.29673756, 1155.15170768),
        "B3": (1144.16202635, 1183.6292542),
        "B4": (1297.47289228, 1368.11351514),
        "B5": (1624.90992062, 1370.265037),
        "B6": (2194.6423161, 1355.55390699),
        "B7": (2422.21248945, 1416.51487101),
        "B8": (2517.76053101, 1474.78900051),
        "B8A": (2581.64687018, 1439.3086061),
        "B9": (2645.51888987, 1582.28010962),
        "B11": (2368.51236873, 1455.52084939),
        "B12": (1805.06846033, 1343.48379601),
    },
    "s1": {  # Sentinel-1, in dB
        "VV": (-12.54847273, 5.25697717),
        "VH": (-20.19237134, 5.91150917),
    },
}


def to_uint8(values: np.ndarray, mean: float | np.ndarray, std: float | np.ndarray) -> np.ndarray:
    """Bytes (…, C, H, W) of `values` of that shape: mean − 2 std is 0, mean + 2 std 255.

    What is beyond becomes 0 or 255; between, fractions are cut off, as the published models were
    given them. `mean` and `std` are of one band or (C,). ValueError for values that are no numbers.
    """
    mean, std = (np.asarray(of, dtype=np.float64)[..., None, None] for of in (mean, std))
    if missing := np.isnan(values).sum():
        raise ValueError(f"{missing:,} values are not a number: fill them, or leave the image out")
    low, high = mean - 2 * std, mean + 2 * std
    return np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
