"""Which stages are needed at all? Cut the network behind a stage, give it a fresh norm and head, fine-tune (section IV-B).

    python -m tla.cutoff --keep block3        without Block4
    python -m tla.cutoff --controls           with twice the training beside it
    python -m tla.cutoff --data my/sounds     the whole network, without Block4, without Block3 and Block4

Accuracy is drawn against multiply-adds: what a stage costs beside what it brings.
"""

from typing import Literal

from tla import cli
from tla.launch import at_hand
from tla.options import Place, Stage, Study

DEFAULT: tuple[Stage, ...] = ("block4", "block3", "block2")  # the paper's three


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    keep: tuple[Stage, ...] = DEFAULT,
    controls: bool = False,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        keep: The last stage that is kept, or several.
        controls: Train and draw the same with twice the training too, which shows what hangs on the budget.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla.stages import command

    return command.sweep("cutoff", study, place, study.transfer, keep, rule=rule, controls=controls)


if __name__ == "__main__":
    cli.run(main)
