"""How good logits (clips, classes) are, given labels (clips,)."""

import numpy as np


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def macro_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their clips that are right."""
    right = logits.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
