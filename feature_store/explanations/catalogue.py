"""All explanations, by area, and the one of a code."""

from __future__ import annotations

import difflib

from feature_store.errors import NotFoundError
from feature_store.explanations.access import ACCESS
from feature_store.explanations.data import DATA
from feature_store.explanations.datasets import DATASETS
from feature_store.explanations.demo import DEMO
from feature_store.explanations.explanation import Explanation
from feature_store.explanations.expressions import EXPRESSIONS
from feature_store.explanations.groups import GROUPS
from feature_store.explanations.online import ONLINE
from feature_store.explanations.registry import REGISTRY
from feature_store.explanations.serving import SERVING
from feature_store.explanations.stack import STACK
from feature_store.explanations.streams import STREAM_DEFINITIONS, STREAM_JOBS
from feature_store.explanations.training import TRAINING
from feature_store.explanations.views import VIEWS

AREAS: dict[str, tuple[Explanation, ...]] = {
    "Definitions: feature groups": GROUPS,
    "Definitions: expressions and queries": EXPRESSIONS,
    "Definitions: streams": STREAM_DEFINITIONS,
    "Definitions: views and on-demand features": VIEWS,
    "Data: sources, labels, runs": DATA,
    "Training datasets: what is stored": DATASETS,
    "Training datasets: jobs": TRAINING,
    "Online": ONLINE,
    "Server": SERVING,
    "Streams": STREAM_JOBS,
    "Registry": REGISTRY,
    "Access: tokens and grants": ACCESS,
    "Stack and settings": STACK,
    "Demo and benchmarks": DEMO,
}


_EXPLAINED = {explanation.code: explanation for area in AREAS.values() for explanation in area}


def explanation_of(code: str) -> Explanation:
    """What is said of an error code.

    Raises:
        NotFoundError: if there is none; names the nearest ones.
    """
    if code not in _EXPLAINED:
        near = difflib.get_close_matches(code, _EXPLAINED, n=3, cutoff=0.5)
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise NotFoundError(
            f"there is no error code {code!r}", remedy=f"{meant}./fs errors lists all of them", code="unknown-code"
        )
    return _EXPLAINED[code]
