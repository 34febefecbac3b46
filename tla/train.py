"""Fine-tune a network on sounds, one run per fold and seed, and report how well it predicts them (Table I).

    python -m tla.train --data toy --backbone efficientnet_lite0 --recipe.lr 1e-3
    python -m tla.train --data my/sounds --backbone resnet50 --folds 1,2 --seeds 3
    python -m tla.train --data esc50 --compare random        does pretraining help? both starts and their difference
    python -m tla.train --data esc50 --weights imagenet --compare random,sound.safetensors,hf_hub:OWNER/NAME
    python -m tla.train --backbone densenet201 --describe    the network's stages

Beside the runs' table lie those of the classes: the accuracy of each, what its clips were taken for, and a figure of both.
Runs are kept in --runs by a key made of everything that decides their outcome: the same command again trains nothing
twice, and one that was stopped goes on after the last whole epoch.
"""

import re
from pathlib import Path

from tla import cli, console, outputs
from tla.options import RANDOM, Place, Study

NAME = "train"


def main(study: Study, place: Place, *, compare: tuple[str, ...] = (), describe: bool = False) -> cli.Planned | None:
    """This command.

    Args:
        compare: Train the same study from other starts too, and report the paired differences: random, imagenet, files, keys of
            runs, hf_hub:NAME; several as in random,sound.safetensors.
        describe: Print the network's stages with shapes, parameters and multiply-adds, and stop.
    """
    if place.redraw:
        from tla.starts import drawing

        folders = outputs.folders(Path(place.figures), study)
        outputs.redraw(place, folders, outputs.stems(NAME, f"{drawing.SUFFIX}.csv", whole=True), drawing.draw)
        return None
    if describe:
        show_stages(study)
        return None
    from tla.launch.study import start_name, train_missing
    from tla.starts import drawing
    from tla.starts.measuring import measure
    from tla.starts.planning import plan

    needed = plan(study, place, compare=compare)
    if place.dry_run:
        return needed
    others = "".join(f"_{start_name(weights)}" for weights in compare if weights != RANDOM)
    variant = "_compared" * bool(compare) + re.sub(r"[^\w.-]", "_", others)
    made = measure(train_missing(needed, place))
    drawing.publish(made, outputs.folder(study, place, needed.data_digest), NAME + variant)
    return None


def show_stages(study: Study) -> None:
    """Print the stages of the study's network under its transfer plan."""
    from tla.nets import transfer
    from tla.nets.stages import describe

    plan, _ = transfer.canonical(study.transfer, RANDOM)
    shape = (3, study.picture.mels, study.picture.frames or 250)
    net = transfer.assemble(study.backbone, 50, plan, None, seed=0, shape=shape)
    rows = describe(net, shape)
    cells = [
        [row.stage, "x".join(map(str, row.shape)), f"{row.parameters:,}", f"{row.multiply_adds / 1e6:,.1f}"] for row in rows
    ]
    totals = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows) / 1e6
    cells.append(["all", "", f"{totals[0]:,}", f"{totals[1]:,.1f}"])
    title = f"{study.backbone}, a picture of {'x'.join(map(str, shape))}, 50 classes"
    console.table(["stage", "output", "parameters", "multiply-adds (millions)"], cells, title=title)


if __name__ == "__main__":
    cli.run(main)
