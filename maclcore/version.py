"""The version of the package, for results and for whoever asks."""

__version__ = "0.1.0"
