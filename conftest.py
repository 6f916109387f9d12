"""Settings of nbval, which looks for them only here, above `notebooks/`."""

# Compared are text and assertions. Interactive figures and HTML tables carry random ids, and
# stderr carries whatever a library chooses to say; PNG and JPEG nbval leaves out by itself.
NOT_COMPARED = ("application/vnd.plotly.v1+json", "text/html", "stderr")


def pytest_collectstart(collector):
    if type(collector).__name__ == "IPyNbFile":  # by name: nbval need not be installed
        collector.skip_compare += NOT_COMPARED
