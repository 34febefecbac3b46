"""Where does the network look? The spectrogram of any sound and what in it led to the network's decision (Fig. 3).

    python -m tla.ig --clip dog.wav                          why does it predict what it predicts?
    python -m tla.ig --clip dog.wav --run packaged           with the network that comes with tla
    python -m tla.ig --clip dog.wav --target dog-cat         what speaks for dog rather than for cat?
    python -m tla.ig --clip dog.wav --run 3f9a --listen      what it attended to, as sound
    python -m tla.ig --data esc50 --classes dog,rain         the paper's figure: held-out clips predicted rightly
    python -m tla.ig --data esc50 --audit                    is it the energy and its borders? over all held-out clips

Integrated Gradients (Sundararajan et al., 2017) share out the target's logit, less what it is at the baseline, among the cells
of the picture. Steps are added until the shares add up to that difference within --tolerance. Files may have any format, rate
and length; long ones are cut into windows. Where --run names no run, the most accurate finished run of the data, backbone and
folds is looked into; if there is none, one is trained, with the options of `python -m tla.train`. A --clip without any of these
options is explained with the best run of the newest study or, if no run is finished, with the network that comes with tla.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tla import cli, console
from tla.errors import Damaged, UserError
from tla.launch import at_hand
from tla.options import Place, Study

if TYPE_CHECKING:
    import torch

    from tla.launch.find_run import Origin
    from tla.runs.folder import FinishedRun

RESERVED = {"audit", "class", "clip", "listen", "windows"}  # words in the names of other files
NAME, AUDIT, SILENCE = "fig3_ig", "fig3_ig_audit", "silence"


@cli.takes_study_at_hand(at_hand.study)
def main(
    study: Study,
    place: Place,
    *,
    clip: tuple[str, ...] = (),
    run: str | None = None,
    classes: tuple[str, ...] = (),
    target: str | None = None,
    baseline: str = SILENCE,
    tolerance: float = 0.01,
    memory: float = 1.0,
    listen: bool = False,
    audit: bool = False,
    clips: int | None = None,
) -> cli.Planned | None:
    """This command.

    Args:
        clip: A sound file, or several as in a.wav,b.wav; without it, held-out clips of several classes.
        run: The run to look into, by the beginning of its key, or packaged; by default the best of data, backbone and folds.
        classes: Without --clip, the classes of which a clip is shown; by default the first five.
        target: The class whose logit is explained, or a contrast of two, as in dog-cat; by default what the network predicts.
        baseline: Where the way to the clip begins: silence, mean (the mean training picture), zero, or clips:K, for the mean
            over ways from K training clips (expected gradients). mean and clips:K need the run's data set, the others do not.
        tolerance: Largest completeness error, as a share of the output difference.
        memory: Gigabytes that the gradients may take.
        listen: Also write each clip, what was attended to, and the rest as sound files, and the predictions for them.
        audit: Numbers over all held-out clips: energy and borders, deletion and insertion, randomised stages, agreement.
        clips: With --audit, only so many held-out clips, evenly spread.
    """
    from tla import outputs
    from tla.attribution import drawing as draw

    if place.redraw:
        redraw(place, study)
        return None
    _refuse(clip, classes, target, baseline, clips, listen=listen, audit=audit)
    paths = _readable(clip)
    from tla.attribution import asking
    from tla.attribution import measuring as explained
    from tla.attribution.starts import clips_of
    from tla.attribution.targets import target as target_of
    from tla.launch import find_run
    from tla.launch.study import train_missing
    from tla.runs import command, infer, packaged
    from tla.runs.device import choose_device

    clips_of(baseline)  # a wrong one is refused before anything is trained
    device = choose_device(place.device)
    found = _finished(study, place, run, paths)
    known = found.classes if found else find_run.usable(study, place).classes
    if target:  # and so is a wrong name
        target_of(target, known)
    needed = asking.planned(found) if found else find_run.plan(study, place)
    if place.dry_run:
        return needed
    if found is None:
        console.say(f"there is no finished run on {study.data} with {study.backbone} in {place.runs}; training one")
    folder = train_missing(needed, place)
    if found is None:
        console.say(f"looking into {folder.key} ({find_run.scored(folder)})")
    shipped = packaged.NAME if packaged.is_packaged(folder) else None
    looked_into = command.study([folder]) if run or shipped else study
    figures = outputs.folder(looked_into, place, folder.run.data_digest, called=shipped)
    variant = f"_{folder.key}" if run and not shipped else ""
    if audit:
        name = f"{AUDIT}_{clips}_clips{variant}" if clips else AUDIT + variant
        _audit(find_run.origin(folder, study, place), figures, name, clips, tolerance, memory, device)
        return None
    asked: dict[str, Any] = {"classes": classes, "target": target, "baseline": baseline}
    made = asking.measure(folder, study, place, paths, **asked, tolerance=tolerance, memory=memory)
    name = _free(figures, _name(paths, classes, target, baseline) + variant, paths)
    draw.publish(made, figures, name)
    if listen:
        draw.publish_listening(explained.listen(infer.load(folder, device), made, figures / name), figures, name)
    return None


def _name(clip: Sequence[Path], classes: Sequence[str], target: str | None, baseline: str) -> str:
    """What the files are called after: the clips, the classes, and what else was asked for."""
    from tla.outputs import plain, several

    shown = several([path.stem for path in clip]) if clip else f"class_{several(classes)}" if classes else ""
    if clip and RESERVED & set(shown.split("_")):
        shown = f"clip_{shown}"
    words = [NAME, shown, plain(target or ""), "" if baseline == SILENCE else plain(baseline)]
    return "_".join(word for word in words if word)


def _free(folder: Path, name: str, clip: Sequence[Path]) -> str:
    """The name, with a number behind it where other clips of that name have been explained in a folder."""
    number, numbered = 1, name
    while clip and not _shows(folder / f"{numbered}.csv", clip):
        number += 1
        numbered = f"{name}_{number}"
    return numbered


def _shows(table: Path, clip: Sequence[Path]) -> bool:
    """Whether a table is about these clips, or none, or cannot be read."""
    from tla.runs import tables

    try:
        return not table.is_file() or set(tables.read(table)["file"]) == set(map(str, clip))
    except Damaged:
        return True


def redraw(place: Place, study: Study) -> None:
    """Draw again all figures whose tables lie below --figures."""
    from tla import outputs
    from tla.attribution import audit_figure
    from tla.attribution import drawing as draw

    shown, audits = outputs.stems(NAME, ".npz"), outputs.stems(AUDIT, "_maps.csv")
    outputs.redraw(
        place,
        outputs.folders(Path(place.figures), study),
        lambda folder: [*shown(folder), *audits(folder)],
        lambda folder, name: (audit_figure if name.startswith(AUDIT) else draw).draw(folder, name),
    )


def _audit(
    origin: "Origin", figures: Path, name: str, clips: int | None, tolerance: float, memory: float, device: "torch.device"
) -> None:
    """The audit of a run, beside its finished siblings of other seeds and the network that its training began with."""
    from tla.attribution import audit_figure as draw
    from tla.attribution.audit import audit
    from tla.launch import find_run
    from tla.runs import tables

    run, store = origin.folder, origin.pictures()
    others, before = find_run.siblings(run), find_run.beginning(run)
    found = audit(run, store, others=others, before=before, clips=clips, tolerance=tolerance, memory=memory, device=device)
    draw.publish(found, figures, name, tables.runs_table([run]))


def _refuse(
    clip: Sequence[str],
    classes: Sequence[str],
    target: str | None,
    baseline: str,
    clips: int | None,
    *,
    listen: bool,
    audit: bool,
) -> None:
    """Options that do not go together."""
    if clip and classes:
        raise UserError("--classes chooses held-out clips to show, and --clip names files: give one of the two")
    idle = {"--clip": clip, "--classes": classes, "--target": target, "--listen": listen, "--baseline": baseline != SILENCE}
    given = [name for name, value in idle.items() if value]
    if audit and given:
        raise UserError(
            f"--audit takes held-out clips, the run's predictions for them, and all baselines: leave {' and '.join(given)} out"
        )
    if clips is not None and not audit:
        raise UserError(
            "--clips is the number of held-out clips that --audit takes; --classes are those of which clips are shown"
        )
    if clips is not None and clips < 1:
        raise UserError(f"--clips is {clips}; an audit takes one clip at least")


def _readable(names: Sequence[str]) -> list[Path]:
    """The files named, each of which can be read: found out before the long work."""
    from tla.sound import audio

    paths = [Path(name).expanduser() for name in dict.fromkeys(names)]
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder; --clip takes sound files, as in a.wav,b.wav")
        audio.read(path)
    return paths


def _finished(study: Study, place: Place, run: str | None, paths: Sequence[Path]) -> "FinishedRun | None":
    """The run that is named or fits the options; for files, where there is none yet, the packaged one. None: train one."""
    from tla.launch import find_run
    from tla.runs import packaged

    newest = find_run.newest_study(Path(place.runs)) or Study()
    chosen = (study.data, study.backbone, study.folds) == (newest.data, newest.backbone, newest.folds)
    if run is None and paths and (chosen or study == Study()):  # the clips of the data set may lie elsewhere by now
        return find_run.newest_or_packaged(Path(place.runs))
    found = find_run.finished(study, place, run)
    if found and not paths and packaged.is_packaged(found):
        raise UserError(
            f"the network that comes with tla learned from every clip of {found.run.data}, so none is held out to be shown or "
            "audited: give --clip FILE, or the --run of another network"
        )
    return found


if __name__ == "__main__":
    cli.run(main)
