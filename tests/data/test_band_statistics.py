import numpy as np
import pytest

from maclcore.data.statistics import STATISTICS, to_uint8


@pytest.mark.parametrize(
    ("sensor", "band", "value", "byte"),
    [
        ("s2_l1c", "B2", 0, 23),
        ("s2_l1c", "B2", 1000, 98),
        ("s2_l1c", "B2", 1390.78157673, 127),
        ("s2_l1c", "B2", 2000, 173),
        ("s2_l1c", "B2", 4000, 255),
        ("s2_l1c", "B10", 0, 99),
        ("s2_l1c", "B10", 22.10351321, 127),
        ("s2_l1c", "B10", 100, 224),
        ("s2_l1c", "B10", 1009, 255),
        ("s1", "VV", -25, 0),
        ("s1", "VV", -12.54847273, 127),
        ("s1", "VV", -10, 158),
        ("s1", "VV", 0, 255),
    ],
)
def test_bytes_worked_out_by_hand(sensor, band, value, byte):
    got = to_uint8(np.full((1, 1), value), *STATISTICS[sensor][band])
    assert got.dtype == np.uint8 and got.item() == byte


def test_bands_are_the_sensors_in_their_order():
    optical = "B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12".split()
    assert list(STATISTICS["s2_l1c"]) == optical
    assert list(STATISTICS["s2_l2a"]) == [band for band in optical if band != "B10"]
    assert list(STATISTICS["s1"]) == ["VV", "VH"]
    # of the published columns, so that no digit gets lost
    sums = {sensor: np.sum(list(bands.values()), 0) for sensor, bands in STATISTICS.items()}
    assert sums["s2_l1c"] == pytest.approx((21101.17032345, 12904.27463903), abs=1e-8)
    assert sums["s2_l2a"] == pytest.approx((22238.60437321, 16252.63952818), abs=1e-8)
    (vv, vh), _ = np.transpose(list(STATISTICS["s1"].values()))
    assert 7 < vv - vh < 8  # VV first: it is brighter by about 7 dB


def test_every_band_has_its_own_range_and_a_slow_loop_agrees():
    mean, std = np.transpose(list(STATISTICS["s2_l1c"].values()))
    values = np.random.default_rng(0).uniform(-500, 6000, (2, 13, 4, 5))
    want = np.empty(values.shape, int)
    for where in np.ndindex(values.shape):
        low = mean[where[1]] - 2 * std[where[1]]
        step = 4 * std[where[1]] / 255
        want[where] = min(max(int((values[where] - low) / step), 0), 255)
    got = to_uint8(values, mean, std)
    assert np.array_equal(got, want)
    assert np.array_equal(to_uint8(values[:, 3], mean[3], std[3]), got[:, 3])
    assert 0.01 < (got == 0).mean() and 0.01 < (got == 255).mean()


def test_more_is_never_darker_and_infinities_are_the_ends():
    ramp = np.linspace(-5000, 20000, 2000)[None]
    got = to_uint8(ramp, 1390.0, 850.0).astype(int)
    assert (np.diff(got) >= 0).all() and set(got[0]) == set(range(256))
    silence = np.array([[-np.inf, np.inf]])  # no echo at all, in dB
    assert to_uint8(silence, -12.5, 5.3).tolist() == [[0, 255]]
    with pytest.raises(ValueError, match="1 values are not a number"):
        to_uint8(np.array([[0.0, np.nan]]), 0.0, 1.0)
