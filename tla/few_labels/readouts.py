"""Linear probes on the clips that the runs learned from: of the stage that these clips say is best, and of the picture alone.

A probe is ridge regression on pooled features (`tla.readout`). Its penalty and the stage are chosen on the drawn clips alone,
by leaving recordings out. With one clip of each class nothing can be chosen so: the penalty is then the largest, and of stages
that do equally well it is the last. Pictures are standardised on the drawn clips, as for a run. Where no clip is left out there
is nothing to draw, so the readouts of all seeds are one and the same.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from tla.console import progress
from tla.few_labels.tables import ALL, PICTURE, PROBE
from tla.launch.material import Material
from tla.launch.study import held_out
from tla.nets.transfer import assemble
from tla.readout import scores
from tla.readout.features import Network, of_network, of_pictures
from tla.runs.feed import standard_of
from tla.runs.tables import Held, Outcomes

Found = dict[str, dict[str, Outcomes]]  # curve -> point -> what its readouts are right about
Chosen = dict[str, Counter[str]]  # point -> how often each stage was the best


def read_out(material: Material, points: Iterable[str]) -> tuple[Found, Chosen]:
    """Both probes at these numbers of clips, on the study's folds and seeds."""
    study, dataset = material.study, material.dataset
    folds, right, chosen = held_out(study, dataset), {PROBE: {}, PICTURE: {}}, {}  # type: ignore[var-annotated]
    points = list(points)
    with progress("linear probes", len(points) * len(folds), "fits") as watch:
        for point in points:
            chosen[point] = Counter()
            for fold in folds:
                draws = [_fit(material, point, fold, seed, chosen[point]) for seed in range(1 if point == ALL else study.seeds)]
                draws *= study.seeds // len(draws)
                test = dataset.split(fold, study.protocol).test
                clips = [dataset.clips[row] for row in test]
                names, sources = np.array([clip.name for clip in clips]), np.array([clip.source for clip in clips])
                for curve, mine in zip((PROBE, PICTURE), zip(*draws, strict=True), strict=True):
                    held = Held(names, sources, dataset.labels[test], np.stack(mine))
                    right[curve].setdefault(point, {})[fold] = held
                watch.advance()
    return right, chosen


def _fit(material: Material, point: str, fold: int, seed: int, chosen: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each held-out clip is right, read out of the best stage, and of the picture."""
    study, dataset, store = material.study, material.dataset, material.store
    split = dataset.split(fold, study.protocol, None if point == ALL else int(point), seed)
    sources, labels, classes = np.array(dataset.sources), dataset.labels, len(dataset.classes)

    def read(features: np.ndarray) -> tuple[float, np.ndarray]:
        groups = sources[split.train].tolist()
        found = scores.linear(features[split.train], labels[split.train], groups, features[split.test], classes)
        return float(found.within), (found.outputs.argmax(axis=1) == labels[split.test]).astype(np.float64)

    standard = standard_of(store.clean, split.train) if study.recipe.standardise else None
    net = assemble(study.backbone, classes, study.transfer, material.pretrained, seed=seed, shape=material.shape)
    network = Network("pretrained", net.to(material.device).eval(), material.device, standard)
    stages = {stage: read(features) for stage, features in of_network(network, store).items()}
    best = max(reversed(stages), key=lambda stage: stages[stage][0])  # the last of equals
    chosen[best] += 1
    return stages[best][1], read(of_pictures(store))[1]
