"""Which stages must be free to move? Keep the pretrained stages up to one as they are, fine-tune the rest (Fig. 2c).

    python -m tla.freeze --upto block3
    python -m tla.freeze --data my/sounds                    the whole sweep: none, stem, block1 ... block4
    python -m tla.freeze --controls                          with twice the training beside it
    python -m tla.freeze --frozen-norm live                  batch norm of frozen stages runs on each batch's statistics

Frozen means every weight and every statistic. The output of frozen stages for a picture never changes, so it is computed once
and kept on disk, and training starts behind them (`python -m tla.bench freeze` shows what that saves).
"""

from dataclasses import replace
from typing import Literal

from tla import cli
from tla.launch import at_hand
from tla.options import Place, Stage, Study


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    upto: tuple[Stage, ...] = (),
    controls: bool = False,
    frozen_norm: Literal["inference", "live"] | None = None,
    rule: Literal["best", "last", "test"] | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        upto: The last frozen stage, or several as in none,block3; by default the whole sweep.
        controls: Train and draw the same with twice the training too, which shows what hangs on the budget.
        frozen_norm: Short for --transfer.frozen-norm.
        rule: The epoch that is scored; by default the last one (nested protocol: the chosen one).
    """
    from tla.stages import command

    base = replace(study.transfer, frozen_norm=frozen_norm or study.transfer.frozen_norm)
    return command.sweep("freeze", study, place, base, upto, rule=rule, controls=controls)


if __name__ == "__main__":
    cli.run(main)
