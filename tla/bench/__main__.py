"""How fast it is, as ratios against the obvious way and against the bare network, measured in one run.

    python -m tla.bench pictures --data toy
    python -m tla.bench train freeze cut --data toy --backbone efficientnet_lite0
    python -m tla.bench similarity --data toy --batches 50
    python -m tla.bench ig --data toy --backbone densenet201 --weights random
    python -m tla.bench all --data my/sounds --backbone densenet201 --weights random
    python -m tla.bench growth
    python -m tla.bench coverage

Each way of doing a thing is timed beside the others; the last table holds for each thing how many times faster it is than the
obvious way, and how many times the bare cost of the network it takes. `growth` is apart: time and memory of each phase against
the number of clips, classes, layers, members and runs, with a small network, drawn. So is `coverage`, which is not about speed:
how often the intervals cover the truth, in simulation (docs/statistics.md).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tla import cli, console, entry
from tla.errors import UserError
from tla.options import Place, Study

if TYPE_CHECKING:
    from tla.bench.rows import Row
    from tla.launch.material import Material

NAMES = ("pictures", "train", "freeze", "cut", "predict", "similarity", "ig", "ensemble", "page")
GROWTH, COVERAGE = APART = "growth", "coverage"


def main(names: list[str], study: Study, place: Place, *, batches: int = 6) -> None:
    """This command.

    Args:
        names: pictures, train, freeze, cut, predict, similarity, ig, ensemble, page, or all of these; growth; coverage.
        batches: Batches per measurement: of the recipe's size in training, 8 clips for similarity; for ig three make a clip.
    """
    if not names or not set(names) <= {*NAMES, "all", *APART}:
        known = ", ".join([*NAMES, *APART])
        raise UserError(f"`{entry.typed('bench')}` takes {known} or all; got {' '.join(names) or 'nothing'}")
    if GROWTH in names:
        from tla.bench import growth_figure
        from tla.bench.growth import bench_growth

        growth_figure.publish(bench_growth(), Path(place.figures))
    if COVERAGE in names:
        from tla.bench import coverage_figure
        from tla.bench.coverage import bench_coverage

        coverage_figure.publish(bench_coverage(), Path(place.figures))
    chosen = NAMES if "all" in names else [name for name in NAMES if name in names]
    if chosen:
        _publish(chosen, study, place, batches)


def _publish(names: "tuple[str, ...] | list[str]", study: Study, place: Place, batches: int) -> None:
    from tla.bench.rows import summary
    from tla.launch.study import prepare
    from tla.manifest import write_text

    material, rows = prepare(study, place), []
    for name in names:
        made = _benches(batches)[name](material)
        ours = {row.phase: row.seconds for row in made if row.role == "ours"}
        cells = [
            [row.phase, row.way, f"{1000 * row.seconds:.4g}", f"{row.seconds / ours[row.phase]:.2f}", row.note] for row in made
        ]
        console.table(["", "way", "ms per clip", "times ours", ""], cells, title=name)
        print()
        rows += made
    table = summary(rows)
    text = [[line[0], *("" if value != value else f"{value:.4g}" for value in line[1:])] for line in table.values.tolist()]
    console.table(["", "ours, ms", "obvious, ms", "limit, ms", "obvious / ours", "ours / limit"], text, title="all, per clip")
    path = Path(place.figures) / "bench.csv"
    write_text(path, table.to_csv(index=False))
    print(f"\n{path}")


def _benches(batches: int) -> "dict[str, Callable[[Material], list[Row]]]":
    from tla.bench import results, train
    from tla.bench.attribution import bench_attribution
    from tla.bench.pictures import bench_pictures
    from tla.bench.predict import bench_predict
    from tla.bench.similarity import bench_similarity

    return {
        "pictures": lambda material: bench_pictures(material.dataset, material.store.picture),
        "train": lambda material: train.bench_train(material, batches=batches),
        "freeze": lambda material: train.bench_freeze(material, batches=batches),
        "cut": lambda material: train.bench_cut(material, batches=batches),
        "predict": lambda material: bench_predict(material, batches=batches),
        "similarity": lambda material: bench_similarity(material, batches=batches),
        "ig": lambda material: bench_attribution(material, turns=max(1, batches // 3)),
        "ensemble": results.bench_ensemble,
        "page": results.bench_page,
    }


if __name__ == "__main__":
    cli.run(main, positional="names")
