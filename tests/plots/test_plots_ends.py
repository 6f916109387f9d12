"""Names at the ends of lines are at their heights, and apart from one another."""

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maclcore.plots.ends import apart, ink, name_ends


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0.1, 20))
def test_values_are_moved_apart_in_their_order_and_around_their_middle(values, gap):
    values = np.sort(values)
    moved = apart(values, gap)
    assert (np.diff(moved) >= gap * (1 - 1e-9) - 1e-9).all()
    assert np.isclose(moved.mean(), values.mean(), atol=1e-6)
    if (np.diff(values) >= gap).all():
        assert np.allclose(moved, values)


def test_names_stand_at_the_ends_and_light_colours_darken():
    fig, ax = plt.subplots()
    ax.set_ylim(0, 100)
    name_ends(ax, {"low": (10, "#000000"), "high": (90, "#E5D174"), "near": (90.5, "#000000")})
    at = {text.get_text().strip(): text.xy for text in ax.texts}
    assert np.allclose(at["low"], (1, 0.1)) and at["near"][1] > at["high"][1] > 0.8
    assert max(ink("#E5D174")) < 0.6 and ink("#000000") == (0, 0, 0)
