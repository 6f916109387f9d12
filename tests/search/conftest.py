"""An index of small images, and servers of it."""

import browsing
import pytest

from maclcore.search import embedder
from maclcore.search.browse import Server, Session


@pytest.fixture(scope="module")
def colour_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedder, "RetrievalNet", browsing.Net)
        yield


@pytest.fixture(scope="module")
def served(colour_network, tmp_path_factory):
    """A server of an index that no test changes."""
    folder = tmp_path_factory.mktemp("colours")
    browsing.made(folder / "images", folder / "index")
    server = Server(Session(folder / "index")).start()
    yield server
    server.stop()


@pytest.fixture
def client(served):
    return browsing.Client(served.address)


@pytest.fixture
def colours(colour_network, tmp_path):
    """The folder of `images` and of an `index` of them, which a test may change."""
    browsing.made(tmp_path / "images", tmp_path / "index")
    return tmp_path


@pytest.fixture
def own(colours):
    """A server of that index."""
    server = Server(Session(colours / "index")).start()
    yield server
    server.stop()
