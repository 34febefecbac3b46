"""Tables I, II and III beside the paper's numbers, a verdict on each of its seven claims, and a page to send to a colleague.

    python -m tla.report                                        reads runs and tables; trains nothing
    python -m tla.report --data esc50 --backbone densenet201    only these
    python -m tla.report --study 3f9a                           the numbers from this run's study, where there are several
    python -m tla.report --data PATH/ESC-10 --complete          first trains what the verdicts miss
    python -m tla.report --data PATH/ESC-10 --clips 20          a page (report.html) with more clips to listen to

A claim holds, does not hold, there is not enough evidence (as on one seed), or its runs were not trained to their end: by
written rules (`tla/paper/claims.py`), with the number, its interval, what it stands on, and what is missing with the command
that makes it. Runs of different recipes are never averaged.
"""

from pathlib import Path
from typing import Any, Literal

from tla import cli, console
from tla.options import Place


def main(
    place: Place,
    *,
    data: str | None = None,
    backbone: str | None = None,
    study: tuple[str, ...] = (),
    rule: Literal["best", "last"] | None = None,
    complete: bool = False,
    weights: str | None = None,
    page: bool = True,
    clips: int = 10,
) -> cli.Planned | None:
    """This command.

    Args:
        data: Only this data set: its name, or the path of its clips.
        backbone: Only this backbone.
        study: Take the numbers from the study of this run, by the beginning of its key; several as in 3f9a,77b0.
        rule: The epoch that verdicts are about; by default the last one (nested protocol: always the chosen one).
        complete: Train the runs that the verdicts miss, on the folds and seeds that there are.
        weights: With --complete: the weights file, or the run, that the study starts from, if that is not ImageNet.
        page: Also write report.html, one file to send to a colleague; --page false leaves it out.
        clips: Clips to listen to on the page, with where the best run looked in each; 0 for none. They are kept.
    """
    from tla import outputs
    from tla.paper import report_tables as draw

    asked: Any = {"data": data, "backbone": backbone, "study": study, "rule": rule}
    if place.redraw:
        outputs.redraw(place, outputs.reports(Path(place.figures), asked), draw.drawn, draw.draw)
        return None
    from tla.launch.plan import Plan
    from tla.launch.study import train_missing
    from tla.paper.planning import measure, plan

    needed = plan(place, data=data, backbone=backbone, study=study, weights=weights) if complete else Plan()
    if place.dry_run:
        return needed
    train_missing(needed, place)
    report = measure(place, **asked)
    folder = outputs.report_folder(place, asked)
    paths = draw.publish(report, folder)
    draw.show(report)
    if page:
        from tla.attribution import make_page_clips
        from tla.paper import page_contents

        where = data if data and Path(data).exists() else None
        room = make_page_clips.of(report.runs, folder, place, where, clips=clips) if clips else None
        paths.append(page_contents.publish(report, folder, room))
    console.written(paths)
    return None


if __name__ == "__main__":
    cli.run(main)
