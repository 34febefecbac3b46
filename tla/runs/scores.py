"""How good logits (clips, classes) are, given labels (clips,); and at which epoch that is asked."""

import numpy as np

from tla.errors import UserError
from tla.options import Study


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def macro_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their clips that are right."""
    right = logits.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def scored(study: Study, rule: str | None) -> str:
    """The selection rule of a study: as asked, if the protocol has it."""
    possible = ("test",) if study.protocol == "nested" else ("last", "best")
    if rule is not None and rule not in possible:
        raise UserError(f"--rule {rule}: the protocol {study.protocol} has {' and '.join(possible)}")
    return rule or possible[0]
