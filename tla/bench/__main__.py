"""How fast it is, as ratios against the obvious way and against the bare network, measured in one run.

python -m tla.bench pictures --data toy
python -m tla.bench train --data toy --backbone efficientnet_lite0
python -m tla.bench freeze --data toy --backbone efficientnet_lite0
python -m tla.bench similarity --data toy --batches 50
python -m tla.bench ig --data toy --backbone densenet201 --weights random
python -m tla.bench all --data my/sounds --backbone densenet201 --weights random
"""

from tla import cli, console
from tla.errors import UserError
from tla.options import Place, Study

NAMES = ("pictures", "train", "freeze", "similarity", "ig")


def main(names: list[str], study: Study, place: Place, *, batches: int = 6) -> None:
    """This command.

    Args:
        names: What to measure: pictures, train, freeze, similarity, ig, or all.
        batches: Batches per measurement: of the recipe's size in training, 8 clips for similarity; for ig three make a clip.
    """
    if not names or not set(names) <= {*NAMES, "all"}:
        raise UserError(f"`python -m tla.bench` takes {', '.join(NAMES)} or all; got {' '.join(names) or 'nothing'}")
    from tla.runs.launch import prepare

    material = prepare(study, place)
    for name in NAMES if "all" in names else names:
        if name == "pictures":
            from tla.bench.pictures import bench_pictures

            rows = bench_pictures(material.dataset, material.store.picture)
        elif name == "train":
            from tla.bench.train import bench_train

            rows = bench_train(material, batches=batches)
        elif name == "freeze":
            from tla.bench.freeze import bench_freeze

            rows = bench_freeze(material, batches=batches)
        elif name == "similarity":
            from tla.bench.similarity import bench_similarity

            rows = bench_similarity(material, batches=batches)
        else:
            from tla.bench.attribution import bench_attribution

            rows = bench_attribution(material, turns=max(1, batches // 3))
        cells = [[row.what, f"{1000 * row.seconds:.1f}", f"{row.ratio:.2f}", row.note] for row in rows]
        console.table(["", "ms per clip", "ratio", ""], cells, title=name)
        print()


if __name__ == "__main__":
    cli.run(main, positional="names")
