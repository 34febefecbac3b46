"""Which stages need pretrained weights? Start from ImageNet up to a stage, at random behind it, fine-tune all (Fig. 2b).

    python -m tla.fusion --upto block3                 that one point, drawn with the points that exist
    python -m tla.fusion --data my/sounds              the whole sweep: none, stem, block1 ... block4
    python -m tla.fusion --upto none,block4 --seeds 3
    python -m tla.fusion --controls                    with the controls

Controls, as further curves: rest of the network with the pretrained mean and variance of each tensor; only convolutions or only
batch norm from ImageNet; the pretrained stages frozen (transfer without fine-tuning); the same stages taken from a network
trained on these very sounds from scratch, free and frozen (selffer), after Yosinski et al. (2014); and the same with twice the
training, which shows what hangs on the budget.
"""

from dataclasses import replace
from typing import Literal

from tla import cli
from tla.launch import at_hand
from tla.options import Parts, Place, Rest, Stage, Study


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    upto: tuple[Stage, ...] = (),
    controls: bool = False,
    rest: Rest | None = None,
    parts: Parts | None = None,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        upto: The last pretrained stage, or several as in none,block3; by default the whole sweep.
        controls: Train and draw the controls too, a curve each.
        rest: Short for --transfer.rest.
        parts: Short for --transfer.parts.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla.stages import command

    base = replace(study.transfer, rest=rest or study.transfer.rest, parts=parts or study.transfer.parts)
    return command.sweep("fusion", study, place, base, upto, rule=rule, controls=controls)


if __name__ == "__main__":
    cli.run(main)
