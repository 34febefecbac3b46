"""Do five runs beat one? Runs that differ in head and batch order, averaged: accuracy, diversity, calibration (Table II).

    python -m tla.ensemble --data esc50                    five runs per fold, their softmax averaged
    python -m tla.ensemble --data my/sounds --members 3

Runs that exist are read: one member more trains one run per fold. All subsets of the members are tried, from single runs to
all of them, and the logits averaged beside the softmax; and the weights, which makes one network at the cost of one.
"""

from pathlib import Path
from typing import Literal

from tla import cli
from tla.launch import at_hand
from tla.options import Place, Study

NAME = "table2_ensemble"


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    members: int | None = None,
    bins: int = 15,
    soup: bool = True,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        members: Runs per fold that are averaged, with seeds 0, 1, ...; by default --seeds if that is above 1, else 5.
        bins: Bins of equal width over which the calibration error is taken.
        soup: Also average the weights of the members, which makes one network; not under --rule best: those are not kept.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla import outputs
    from tla.ensembles import drawing as draw

    if place.redraw:
        outputs.redraw(place, outputs.folders(Path(place.figures), study), outputs.stems(NAME, "_subsets.csv"), draw.draw)
        return None
    from tla.ensembles.measuring import BINS, MEMBERS, check, measure
    from tla.ensembles.planning import of, plan
    from tla.ensembles.soups import averaged_weights
    from tla.launch.study import train_missing
    from tla.runs.device import cpu_threads
    from tla.runs.scores import scored

    chosen, count = scored(study, rule), of(study, members)
    check(count, bins)  # found out now, not after the training
    needed = plan(study, place, members=count)
    if place.dry_run:
        return needed
    runs = train_missing(needed, place)
    weighed = None
    if soup and chosen != "best":
        with cpu_threads(place.threads):
            weighed = averaged_weights(runs, next(iter(needed.wanted.values())).material)
    made = measure(runs, chosen, bins=bins, soups=weighed)
    variant = {f"_of{count}": count != MEMBERS, f"_bins{bins}": bins != BINS, f"_{chosen}": chosen != scored(study, None)}
    name = NAME + "".join(word for word, apart in variant.items() if apart)
    draw.publish(made, outputs.folder(study, place, needed.data_digest), name)
    return None


if __name__ == "__main__":
    cli.run(main)
