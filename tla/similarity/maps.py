"""Every layer of one network against every layer of the other: minibatch CKA (Nguyen, Raghu and Kornblith, 2021).

A clip is a point here, and all channels at all positions of a layer are its features, so layers of any shape can be compared.
Linear CKA is computed with the unbiased estimate of the Hilbert-Schmidt criterion (Song et al., 2012), averaged over batches of
clips: unrelated layers get 0 on average, whatever the size of a batch. Memory holds a number per pair of clips and layer.
Recordings stay together in a batch; intervals come from leaving out a batch at a time.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tla.console import Progress, counted, progress, say
from tla.errors import UserError
from tla.nets.activations import ALL_LAYERS, Layer, layers, tapped
from tla.nets.arithmetic import computing
from tla.similarity.pairs import Compared, Pair
from tla.sound.store import Store
from tla.statistics import deal, reach

if TYPE_CHECKING:
    from tla.runs.infer import LoadedNetwork

BATCH = 20  # clips, about
FEWER = "--folds 1 takes one fold, --layers stages the fewest layers"
LEAST = 4  # clips that the unbiased estimate takes


class _Mapped(NamedTuple):
    """A pair's layers, and their CKA (before, after) over all clips and without each batch."""

    before: list[Layer]
    after: list[Layer]
    whole: np.ndarray
    without: np.ndarray


def layer_map(compared: Compared, which: str = ALL_LAYERS) -> pd.DataFrame:
    """A row per curve, layer before and layer after: CKA, mean over runs, with its interval."""
    pairs, store, device = compared.pairs, compared.store, compared.device
    tables, rounds = [], len(pairs)
    for curve in dict.fromkeys(pair.curve for pair in pairs):
        mine = [pair for pair in pairs if pair.curve == curve]
        mapped = [(pair, _map(pair, store, which, device, rounds=rounds - number)) for number, pair in enumerate(mine)]
        rounds -= len(mine)
        folds = [[found for pair, found in mapped if pair.run.fold == fold] for fold in dict.fromkeys(p.run.fold for p in mine)]
        means = [(np.mean([s.whole for s in seeds], axis=0), np.mean([s.without for s in seeds], axis=0)) for seeds in folds]
        whole = np.mean([mean for mean, _ in means], axis=0)
        half = reach([whole + (without - mean) / len(means) for mean, without in means])
        clips = sum(len(pair.clips(store)) for pair in {pair.run.fold: pair for pair in mine}.values())
        tables.append(_table(mapped[0][1], whole, half).assign(curve=curve, runs=len(mine), clips=clips, **_about(mine)))
    table = pd.concat(tables, ignore_index=True)
    names = list(table["before"].unique())
    unknown = [layer for layer in names if table.loc[table["before"] == layer, "cka"].isna().all()]
    if unknown == names:
        raise UserError(
            "nothing can be mapped: to every layer all held-out clips are equally far apart; are they all the same?"
        )
    if unknown:
        say(f"left out: {', '.join(unknown)}: to them all held-out clips are equally far apart")
    return table


def unbiased(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased Hilbert-Schmidt criterion (a, b) of kernels (a, clips, clips) with kernels (b, clips, clips)."""
    n = first.shape[-1]
    off = 1 - torch.eye(n, dtype=first.dtype, device=first.device)
    k, l = first * off, second * off  # noqa: E741
    rows_k, rows_l = k.sum(2), l.sum(2)
    product = torch.einsum("aij,bij->ab", k, l)
    sums = torch.outer(rows_k.sum(1), rows_l.sum(1)) / ((n - 1) * (n - 2))
    return (product + sums - 2 / (n - 2) * rows_k @ rows_l.T) / (n * (n - 3))


def _map(pair: Pair, store: Store, which: str, device: torch.device, *, rounds: int) -> _Mapped:
    clips = np.array(pair.clips(store))
    if len(clips) < LEAST:
        raise UserError(f"fold {pair.run.fold} holds out {counted(len(clips), 'clip')}; a map takes {LEAST} at least")
    sources = [store.dataset.sources[row] for row in clips]
    batches = [clips[group] for group in deal(sources, most=max(1, len(clips) // BATCH), least=LEAST)]
    networks = pair.before.load(device), pair.after.load(device)
    sides = [layers(network.net, which, store.clean.shape[1:]) for network in networks]
    found: list[list[np.ndarray]] = []
    with progress(
        f"mapping: {pair.curve}, fold {pair.run.fold}, seed {pair.run.seed}",
        2 * len(clips),
        "clips",
        rounds=rounds,
        fewer=FEWER,
    ) as watch:
        for rows in batches:
            x, y = (_kernels(network, side, store.clean[rows], watch) for network, side in zip(networks, sides, strict=True))
            own = [unbiased(kernels, kernels).diagonal() for kernels in (x, y)]
            found.append([part.cpu().numpy() for part in (unbiased(x, y), *own)])
    sums = [np.stack(parts) for parts in zip(*found, strict=True)]  # each (batches, ...)
    totals = [part.sum(axis=0) for part in sums]
    rest = [total - part for total, part in zip(totals, sums, strict=True)]
    without = _cka(*rest) if len(batches) > 1 else np.empty((0, *totals[0].shape))
    return _Mapped(sides[0], sides[1], _cka(*totals), without)


def _kernels(network: "LoadedNetwork", side: Sequence[Layer], pictures: np.ndarray, watch: Progress) -> Tensor:
    """The linear kernel of each layer (layers, clips, clips)."""
    found: dict[str, Tensor] = {}

    def take(name: str, output: Tensor) -> None:
        with computing(network.device, "fp32"):
            features = output.float().flatten(1)
            features = features - features.mean(0)  # uncentred, float32 would lose the criterion in its rounding
            found[name] = (features @ features.T).to("cpu", torch.float64)

    with torch.inference_mode(), computing(network.device, network.run.precision), tapped(network.net.net, side, take):
        network.net(network.batch(pictures))
    watch.advance(len(pictures))
    return torch.stack([found[layer.name] for layer in side])


def _cka(shared: np.ndarray, own_x: np.ndarray, own_y: np.ndarray) -> np.ndarray:
    """From criteria (..., a, b), (..., a), (..., b); NaN for a layer to which all clips are equally far apart."""
    scale = np.where(own_x > 0, own_x, np.nan)[..., :, None] * np.where(own_y > 0, own_y, np.nan)[..., None, :]
    return shared / np.sqrt(scale)


def _table(mapped: _Mapped, whole: np.ndarray, half: np.ndarray) -> pd.DataFrame:
    rows = []
    for i, one in enumerate(mapped.before):
        for j, other in enumerate(mapped.after):
            place = {"before": one.name, "before_stage": one.stage, "before_order": i}
            place |= {"after": other.name, "after_stage": other.stage, "after_order": j}
            ends = np.clip([whole[i, j] - half[i, j], whole[i, j] + half[i, j]], -1, 1)
            rows.append({**place, "cka": whole[i, j], "low": ends[0], "high": ends[1]})
    return pd.DataFrame(rows)


def _about(pairs: Sequence[Pair]) -> dict[str, Any]:
    run, trained = pairs[0].run, pairs[0].after.folder
    folds, seeds = ({getattr(pair.run, name) for pair in pairs} for name in ("fold", "seed"))
    about = {**trained.data, "backbone": run.backbone, "folds": ", ".join(map(str, sorted(folds))), "seeds": len(seeds)}
    return about | {"key": run.key, "epochs": trained.result.epochs, "training": trained.result.training.state}
