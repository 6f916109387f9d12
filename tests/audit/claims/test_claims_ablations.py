"""Claims on parts and settings, on runs that say either."""

from dataclasses import replace

import numpy as np
import pandas as pd
from made_up import CHECKS, runs_of

from maclcore.audit.claims import CONTRADICTED, NOT_REPRODUCED, REPRODUCED, UNDECIDED
from maclcore.audit.evidence import ARCHIVES, method


def test_alpha_and_the_weights_by_runs(empty):
    values = {a: [0.5 + a / 100] * 3 for a in (-1.0, -0.5, 0.0, 0.5)}
    given = {"temperature": 0.3, "reweight": False}
    scores = {method("macl", alpha=a, **given): v for a, v in values.items()}
    scores[method("macl", **given)] = [0.6, 0.6, 0.6]
    assert CHECKS["best-alpha"](replace(empty, runs=runs_of(scores))).verdict == REPRODUCED
    printed = {"beta": 1.0, "reweight": False}
    scores = {method("macl", alpha=1.0, **printed): [0.7] * 3, method("macl", **printed): [0.6] * 3}
    assert CHECKS["best-alpha"](replace(empty, runs=runs_of(scores))).verdict == NOT_REPRODUCED
    for high, verdict in ((0.6, REPRODUCED), (0.4, NOT_REPRODUCED)):
        runs = runs_of({"macl alpha=0": [0.5] * 3, "macl": [high] * 3})
        assert CHECKS["partial-overlap"](replace(empty, runs=runs)).verdict == verdict
    quoted = empty.quoted.replace({"value": {69.9: 71.0}})  # the paper's other road
    without = runs_of(
        {"macl temperature=0.3": [0.6, 0.6, 0.6], "macl": [0.6, 0.6, 0.6],
         "macl reweight=False": [0.5, 0.5, 0.5]}
    )  # fmt: skip
    assert CHECKS["both-needed"](replace(empty, runs=without)).verdict == CONTRADICTED
    found = CHECKS["both-needed"](replace(empty, runs=without, quoted=quoted))
    assert found.verdict == REPRODUCED


def test_the_gap_of_pretraining(empty):
    levels = {
        "wg_macl": 0.9, "wg_macl weights=none": 0.5, "macl": 0.8, "macl weights=none": 0.7,
    }  # fmt: skip
    wiggle = np.array([0.0, 0.001, 0.0])
    runs = [runs_of({m: v + wiggle * v for m, v in levels.items()}, a) for a in ARCHIVES]
    found = CHECKS["pretraining-gap"](replace(empty, runs=pd.concat(runs)))
    assert found.verdict == REPRODUCED and "+30.0" in found.ours and len(found.runs) == 36
    assert CHECKS["pretraining-gap"](replace(empty, runs=runs[0])).verdict == UNDECIDED
