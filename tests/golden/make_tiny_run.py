"""Makes tiny_run.json: the losses of a two-epoch run, which a change that means to alter no result must leave as they are.

python tests/golden/make_tiny_run.py
"""

import json
import tempfile
from pathlib import Path

from tla.launch.study import ensure, list_runs, prepare
from tla.options import Augment, Picture, Place, Recipe, Study
from tla.sound import toy


def tiny_run(folder: Path) -> list[dict]:
    """The log of the run, without its times."""
    toy.make(folder / "sounds", clips_per_class=10)
    study = Study(
        data=str(folder / "sounds"),
        backbone="densenet_tiny",
        weights="random",
        folds=(1,),
        precision="fp32",
        picture=Picture(mels=32, frames=40),
        augment=Augment(kind="bank:1"),
        recipe=Recipe(epochs=2, lr=1e-3, standardise=True),
    )
    place = Place(data_root=str(folder / "data"), runs=str(folder / "runs"), device="cpu")
    material = prepare(study, place)
    (done,) = ensure(list_runs(material), material, place)
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in done.log]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        log = tiny_run(Path(folder))
    Path(__file__).with_name("tiny_run.json").write_text(json.dumps(log, indent=1) + "\n")
