"""What the tests of figures share."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from maclcore import plots
from maclcore.evaluation.retrieval import METRICS
from maclcore.losses import LOSSES

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


@pytest.fixture
def runs():
    generator = np.random.default_rng(0)
    methods = ["chance", "frozen", *LOSSES, "oracle"]
    table = pd.DataFrame(generator.random((len(methods), len(METRICS))), columns=list(METRICS))
    return table.assign(loss=methods, seed=0)
