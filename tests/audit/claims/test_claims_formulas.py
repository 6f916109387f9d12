"""Claims on formulas and labels, on evidence that says otherwise."""

from dataclasses import replace

import numpy as np
from made_up import CHECKS, runs_of

from maclcore.audit.claims import NOT_REPRODUCED, REPRODUCED, UNDECIDED


def test_cost_is_a_matter_of_equivalence(empty):
    def verdict(ours, theirs):
        runs = runs_of({"macl": np.log(ours), "mulsupcon": np.log(theirs)})
        return CHECKS["cost"](replace(empty, runs=runs)).verdict

    assert verdict([100, 110, 105], [100, 108, 107]) == REPRODUCED
    assert verdict([200, 210, 205], [100, 108, 107]) == NOT_REPRODUCED
    assert verdict([100, 300, 20], [100, 108, 107]) == NOT_REPRODUCED  # says nothing
    assert verdict([100], [100]) == UNDECIDED


def test_a_collapse_is_read_from_the_runs(empty):
    for cosine, verdict in ((0.5, REPRODUCED), (0.999, NOT_REPRODUCED)):
        runs = runs_of({"macl": [cosine] * 3, "mulsupcon": [0.3] * 3}).assign(mean_cosine=cosine)
        found = CHECKS["no-collapse"](replace(empty, runs=runs))
        assert found.verdict == verdict and f"MACL {cosine:.2f} (n = 3)" in found.ours


def test_label_claims_follow_the_statistics(empty):
    """Each turns with the sign of what was measured."""
    labels = empty.labels.copy()
    quantity = labels.index.get_level_values("quantity")
    labels.loc[quantity == "T, rarest / commonest", "mean"] = 0.9
    labels.loc[quantity == "w, rarest / commonest", "mean"] = 0.9
    labels.loc[quantity == "attraction of rare labels, w", "mean"] = 0.1
    labels.loc[quantity == "rank correlation of J and pull", "mean"] = 0.1
    other = replace(empty, labels=labels)
    for name, before, after in (
        ("beta-amplifies", NOT_REPRODUCED, REPRODUCED),
        ("rare-pairs", REPRODUCED, NOT_REPRODUCED),
        ("rare-influence", REPRODUCED, NOT_REPRODUCED),
        ("overlap-pulls", REPRODUCED, NOT_REPRODUCED),
    ):
        assert CHECKS[name](empty).verdict == before, name
        assert CHECKS[name](other).verdict == after, name


def test_numbers_of_the_formula_claims(empty):
    found = {n: CHECKS[n](empty) for n in ("gradient", "special-cases", "equal-treatment")}
    assert {f.verdict for f in found.values()} == {NOT_REPRODUCED}
    assert "below 1e-6" in found["gradient"].why
    assert found["special-cases"].ours.startswith("MulSupCon 0.00, SupCon 0.00, LBase 0.")
    # |P| = 2, 1, 1 for the three labels: (1/2 + 1 + 1) / (1/2)
    ratio = "ratio: SupCon-ANY 1.0, MulSupCon 5.0, Wg-MulSupCon 5.0"
    assert found["equal-treatment"].ours == ratio
