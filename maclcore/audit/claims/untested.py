"""Claims that no number can decide."""

from maclcore.audit.claims.rules import NOT_TESTABLE, PRINTED, SIM, UNDECIDED, Finding, claim
from maclcore.audit.evidence import Evidence


@claim("label-aware-sampling", "Abstract, §1, §6")
def sampling(e: Evidence) -> Finding:
    """Label-aware sampling forms balanced pairs."""
    why = "Named in abstract, introduction and conclusion; no algorithm, setting or ablation."
    return Finding(NOT_TESTABLE, "no figure", "", why)


@claim("qualitative", "§5.3, Fig. 7")
def qualitative(e: Evidence) -> Finding:
    """Retrieved examples show a clearer semantic alignment."""
    why = "One query, chosen by the authors; the caption compares MulSupCon and LReg as the best."
    return Finding(NOT_TESTABLE, "one query, six images", "", why)


@claim("large-scale", "Abstract, §1")
def large_scale(e: Evidence) -> Finding:
    """Retrieval is reliable in large-scale archives."""
    largest = int(e.splits["test"].max()) - 1
    why = f"The largest gallery has {largest} images, so that the cut of {SIM} at 5000 never acts."
    paper = "galleries of " + ", ".join(str(n - 1) for n in e.splits["test"])
    verdict, number = NOT_TESTABLE if largest < 5000 else UNDECIDED, f"{largest} images at most"
    return Finding(verdict, paper, "", why, number=number, setting=PRINTED)
