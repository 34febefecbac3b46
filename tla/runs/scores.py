"""How good logits (clips, classes) are, given labels (clips,), and how much each class weighs; at which epoch that is asked."""

import numpy as np

from tla.errors import UserError
from tla.options import Protocol, Study


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def macro_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their clips that are right."""
    right = logits.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """What a clip of each class is multiplied by so that the classes that occur weigh the same: float32 (classes,).

    N / (classes x clips of the class); the mean over these clips is 1. A class that does not occur has 0.
    """
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0).astype(np.float32)


def unbiased_rule(protocol: Protocol) -> str:
    """The selection rule of a protocol that does not pick the epoch on the clips that are scored."""
    return "test" if protocol == "nested" else "last"


def scored(study: Study, rule: str | None) -> str:
    """The selection rule of a study: as asked, if the protocol has it."""
    possible = ("test",) if study.protocol == "nested" else ("last", "best")
    if rule is not None and rule not in possible:
        raise UserError(f"--rule {rule}: the protocol {study.protocol} has {' and '.join(possible)}")
    return rule or unbiased_rule(study.protocol)
