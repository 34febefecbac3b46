"""The benchmarks run and compare what they say; how fast anything is, is not a test's business."""

from dataclasses import replace

import pytest

from tla.bench import __main__ as bench
from tla.errors import UserError
from tla.options import Augment, Place, Study


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pictures", ["three pictures, ours", "copy, librosa"]),
        ("train", ["bare forward and backward", "obvious way", "whole epoch"]),
        ("freeze", ["frozen up to stem", "frozen up to block4", "behind its outputs"]),
        ("cut", ["cut behind stem", "cut behind block4", "whole network"]),
        ("predict", ["a file after the other", "bare network and pictures"]),
        ("similarity", ["densenet_tiny, fp32", "8 layers", "peak memory above the networks", "obvious way"]),
        ("ig", ["captum as it comes", "ours, single precision", "from captum's, rank correlation"]),
        ("ensemble", ["from saved logits", "networks run again"]),
        ("page", ["drawn and rendered in the browser", "MB a clip"]),
    ],
)
def test_each_prints_its_rows(
    study: Study, place: Place, name: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(study, augment=Augment(kind="none"))
    bench.main([name], few, place, batches=1)
    printed = capsys.readouterr().out
    assert all(row in printed for row in says)


def test_an_unknown_name_is_refused(study: Study, place: Place) -> None:
    with pytest.raises(UserError, match=r"takes pictures, train, freeze, .* or all; got speed"):
        bench.main(["speed"], study, place)
