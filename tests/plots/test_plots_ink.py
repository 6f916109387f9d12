"""Letters in a colour can be read on white."""

from maclcore.plots.results import ink


def test_light_colours_darken_for_letters():
    assert max(ink("#E5D174")) < 0.6 and ink("#000000") == (0, 0, 0)
