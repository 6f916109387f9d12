"""A training that is stopped."""

import pytest


def stopped(loop, epochs):
    """Train until so many epochs are saved, and no further."""
    save = loop.save

    def stop():
        save()
        if len(loop.history) == epochs:
            raise KeyboardInterrupt

    loop.save = stop
    with pytest.raises(KeyboardInterrupt):
        loop.fit(progress=False)
