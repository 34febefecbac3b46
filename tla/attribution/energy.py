"""How much of a map lies on the loudest cells of its picture and on the borders of these regions."""

import numpy as np
from scipy.ndimage import morphological_gradient

from tla.attribution.starts import SILENT

LOUDEST = 0.2  # of the cells


def regions(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Where in a picture (3, mels, frames) the loudest cells are, their borders, and either: masks (mels, frames)."""
    level = picture.mean(axis=0, dtype=np.float32)
    loudest = np.zeros(level.shape, dtype=bool)
    loudest.flat[np.argsort(-level, axis=None, kind="stable")[: round(LOUDEST * level.size)]] = True
    loudest &= (picture > SILENT).any(axis=0)
    borders = morphological_gradient(loudest.astype(np.uint8), size=3) > 0
    return {"loudest": loudest, "borders": borders, "either": loudest | borders}


def energy(total: np.ndarray, chance: np.ndarray | None, picture: np.ndarray) -> list[tuple[str, str, str, float]]:
    """The share of a map (mels, frames), whatever its sign, in each region of its picture, and what chance would put there.

    chance: the map of a random network, if it has one. Part, measure, variant and value, as in a table.
    """
    strength, distance = share(total), share(picture.astype(np.float64).sum(axis=0) - len(picture) * SILENT)
    numbers: list[tuple[str, str, str, float]] = []
    for measure, mask in regions(picture).items():
        shares = {
            "attribution": strength[mask].sum(),
            "x - b": distance[mask].sum(),
            "shifted": strength.sum(axis=1) @ mask.mean(axis=1),  # mean over all shifts along the frames
            "permuted": mask.mean(),
        }
        if chance is not None:
            shares["random network"] = share(chance)[mask].sum()
        numbers += [("energy", measure, variant, float(value)) for variant, value in shares.items()]
        gaps = {variant: shares["attribution"] - value for variant, value in shares.items() if variant != "attribution"}
        numbers += [("energy", f"{measure} gap", variant, float(gap)) for variant, gap in gaps.items()]
    return numbers


def share(values: np.ndarray) -> np.ndarray:
    """The share of the whole, whatever its sign, that each cell has."""
    strength = np.abs(values, dtype=np.float64)
    return strength / strength.sum()
