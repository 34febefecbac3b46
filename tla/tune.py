"""Which learning rate, weight decay, ...? The grid search: every combination, scored on a validation fold (sec. IV-A).

    python -m tla.tune --folds 1 --grid.lr 1e-3,1e-4,1e-5 --grid.weight-decay 1e-2,1e-3,1e-4
    python -m tla.tune --folds 1 --grid.lr 1e-3,1e-4 --grid.batch 16,32 --launch ray --asha      stops what falls behind
    python -m tla.train --config figures/STUDY/tune_lr1e-3+1e-4_best.yaml                        with what was found

The held-out fold takes no part: runs are trained under the nested protocol, whose validation fold chooses the epoch, and here
the combination too. They are ordinary runs, kept with the others.
"""

from pathlib import Path
from typing import Any

from tla import cli
from tla.console import counted
from tla.launch import at_hand
from tla.options import Place, Search, Study


@cli.takes_study_at_hand(at_hand.study)
def main(study: Study, place: Place, search: Search) -> cli.Planned | None:
    """This command."""
    from tla import outputs
    from tla.launch import grid_figure as draw

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems("tune_", "_points.csv"), draw.draw)
        return None
    from tla.launch.grid import combinations, measure, nested, plan, search_grid
    from tla.launch.study import prepare

    combinations(search.grid)
    material = prepare(nested(study, search, place), place)
    if place.dry_run:
        return plan(material, search, place)
    found = measure(search_grid(material, search, place), material)
    varied = [outputs.word(option, values) for option in found.options if (values := getattr(search.grid, option))]
    stem = outputs.folder(study, place, material.dataset.digest) / outputs.cut("_".join(["tune", *varied]))
    draw.publish(found, stem)
    best = stem.with_name(f"{stem.name}_best.yaml")
    write_best(best, study, found.best, found.points[found.points["best"]].iloc[0])
    print(f"{best}: use it with --config {best}")
    return None


def write_best(path: Path, study: Study, options: dict[str, Any], row: Any) -> None:
    """The study with the chosen options, for other commands; folds, seeds and protocol are left to them."""
    from dataclasses import asdict

    import yaml

    from tla.manifest import write_text
    from tla.statistics import bracketed

    asked = {name: value for name, value in asdict(study).items() if name not in ("folds", "seeds", "protocol")}
    asked["recipe"] |= options
    head = (
        f"# Chosen by tla.tune: {row['accuracy']:.1f} % {bracketed(row['low'], row['high'], '.1f')} on the validation fold "
        f"(nested protocol, {counted(row['runs'], 'run')} per combination).\n"
    )
    write_text(path, head + yaml.safe_dump(_plain(asked), sort_keys=False))


def _plain(value: Any) -> Any:
    """Without what is not set, and with lists for tuples."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


if __name__ == "__main__":
    cli.run(main)
