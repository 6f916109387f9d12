"""The claims ledger: what the papers say, held against evidence, with a verdict by rule.

A claim is judged by the first of these that can speak:

1. *The paper itself.* Where its tables, or values quoted in its text, say otherwise: "contradicted
   by the paper's own tables".
2. *A computation*, for claims about a formula or about labels: "reproduced" if the property holds,
   else "not reproduced".
3. *Stored runs*, paired by seed. A method is ahead of a rival if the 95 % interval of the mean
   difference lies above 0, behind if it lies below, and even with it if the interval holds 0;
   fewer than three seeds decide nothing. "Reproduced" asks it to be ahead of every rival in each
   quantity that the claim names (or in most, where it says so), "not reproduced" to be behind in
   so many that this is out of reach. Else "undecided": runs are missing, or even. Intervals are
   over seeds, splits and queries, those of `statistics.compare`, or, where the store has no values
   of queries, over seeds alone (Student's t), which the row then says. They are not corrected for
   their number.

MACL is printed without the temperature of 0.3 that §4.2 lists. Where it is held against other
losses or its own parts, it is tried with τ = 0.3 too, if the store has that: either reading may
reproduce a claim; else the verdict is that of the loss as printed. Our runs are not in the paper's
setting: a verdict from runs names the setting (image size, epochs, weights) and holds for that one.

What the paper shows by one example, or names without a measure, is "not testable". Some claims are
not the paper's words but what a reader of its tables takes for granted: "implied by" in their
place. How words without a number are read stands in the last column.
"""

# the order in which topics enter their claims is that of the ledger
from maclcore.audit.claims import tables, formulas, ablations, untested, companions  # noqa: F401, I001
from maclcore.audit.claims.rules import (
    BASELINES,
    CLAIMS,
    CONTRADICTED,
    FAMILY,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    UNDECIDED,
    VERDICTS,
    Claim,
    Finding,
    ledger,
)

__all__ = [
    "BASELINES", "CLAIMS", "CONTRADICTED", "FAMILY", "NOT_REPRODUCED", "NOT_TESTABLE", "REPRODUCED",
    "UNDECIDED", "VERDICTS", "Claim", "Finding", "ledger",
]  # fmt: skip
