"""What all figures have in common."""

from maclcore import plots


def test_only_the_paper_profile_goes_unstamped():
    def words(profile):
        fig = plots.stamp(plots.set_sizes({"x": [1, 2, 2]}), profile, "DLRSD")
        return [text.get_text() for text in fig.texts]

    assert any("smoke" in word for word in words("smoke")) and not words("paper")
