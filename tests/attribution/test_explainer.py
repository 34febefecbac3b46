"""Integrated Gradients: closed forms, completeness, captum's own numbers; and nothing left behind in the network."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from tla.attribution import explainer as explainers
from tla.attribution.explainer import Attribution, Explainer
from tla.attribution.starts import SILENT, baselines, clips_of
from tla.attribution.targets import Target, target
from tla.errors import UserError
from tla.nets.backbones import build
from tla.nets.stages import Layout, StagedNet
from tla.sound.spectrograms import SILENCE

SHAPE = (3, 4, 5)
CLASSES = ["dog", "cat"]
OF, AGAINST = Target(0), Target(0, 1)


class Toy(nn.Module):
    """logits = f(Wx + c): a network whose attributions are known."""

    def __init__(self, f: Callable[[Tensor], Tensor], offset: float = 0.0, size: int = 60) -> None:
        super().__init__()
        self.body, self.classifier, self.f = nn.Identity(), nn.Linear(size, 2), f
        with torch.no_grad():
            self.classifier.weight.copy_(torch.randn(2, size, generator=torch.Generator().manual_seed(0)))
            self.classifier.bias.fill_(offset)

    @property
    def w(self) -> np.ndarray:
        """The first class's weights, as a picture."""
        return self.classifier.weight.detach()[0].numpy().reshape(SHAPE)


def staged(net: Toy) -> StagedNet:
    """A toy as a network of one stage."""
    return StagedNet("toy", net, Layout({"stem": ("body",)}, "classifier", lambda net, x: net.f(net.classifier(x.flatten(1)))))  # type: ignore


@pytest.fixture
def tiny() -> StagedNet:
    """A small DenseNet whose norms have seen pictures."""
    net = build("densenet_tiny", 2, seed=0)
    with torch.no_grad():
        net.train()(torch.from_numpy(pictures(8, seed=1)) / 5)
    return net


def pictures(n: int, shape: tuple[int, ...] = (3, 32, 40), seed: int = 0) -> np.ndarray:
    """Log-mels of a kind."""
    return np.random.default_rng(seed).normal(-7, 4, (n, *shape)).clip(SILENCE).astype(np.float32)


STANDARD = (torch.full((3, 32, 1), -7.0).numpy(), torch.linspace(2, 6, 96).reshape(3, 32, 1).numpy())


def standardised(values: np.ndarray) -> Tensor:
    """What a standardised run's network gets."""
    return torch.from_numpy((values - STANDARD[0]) / STANDARD[1])


# Closed forms


def test_a_linear_network_gives_weights_times_difference() -> None:
    toy, (x,) = Toy(lambda z: z, 3.0), pictures(1, SHAPE)
    found = Explainer(staged(toy), arithmetic="fp32").attribute(x, OF, baselines("silence", SHAPE))
    np.testing.assert_allclose(found.map, toy.w * (x - SILENT), rtol=1e-4, atol=1e-5)
    assert found.value == pytest.approx((toy.w * x).sum() + 3, rel=1e-4)
    assert found.error < 1e-5
    np.testing.assert_allclose(found.total, found.map.sum(axis=0))


def test_a_square_is_exact_in_two_steps() -> None:
    toy, (x,) = Toy(torch.square), pictures(1, SHAPE)
    found = Explainer(staged(toy), arithmetic="fp32").attribute(x, OF, baselines("zero", SHAPE), steps=2)
    np.testing.assert_allclose(found.map, toy.w * x * (toy.w * x).sum(), rtol=1e-3, atol=1e-3)


def test_a_relu_counts_only_the_part_of_the_path_on_which_it_is_open() -> None:
    toy, (x,) = Toy(torch.relu), pictures(1, SHAPE)
    x *= np.sign((toy.w * x).sum())
    reach = float((toy.w * x).sum())
    with torch.no_grad():
        toy.classifier.bias.fill_(-0.3 * reach)  # opens after 0.3 of the path from zero
    found = Explainer(staged(toy), arithmetic="fp32").attribute(x, OF, baselines("zero", SHAPE), tolerance=1e-3)
    np.testing.assert_allclose(found.map, 0.7 * toy.w * x, rtol=2e-3, atol=1e-5)
    assert found.value - found.baseline_value == pytest.approx(0.7 * reach, rel=1e-4)


# Real networks


@pytest.mark.parametrize("name", ["densenet_tiny", "efficientnet_lite0"])
def test_the_map_sums_to_what_it_should(name: str) -> None:
    net = build(name, 2, seed=3)
    with torch.no_grad():
        for _ in range(20):  # norms that have seen nothing let the logits overflow or vanish
            net.train()(standardised(pictures(8, seed=1)))
    # A random network's gradient jumps wildly along a path as long as that from silence; a short one can be integrated.
    (x,), near = pictures(1), pictures(1) + np.random.default_rng(2).normal(0, 0.1, (1, 3, 32, 40)).astype(np.float32)
    found = Explainer(net, STANDARD, arithmetic="fp32").attribute(x, AGAINST, near)
    with torch.no_grad():
        logits = net.eval()(standardised(np.concatenate([x[None], near]))).numpy()
    moved = (logits[0, 0] - logits[0, 1]) - (logits[1, 0] - logits[1, 1])
    assert abs(found.map.sum() - moved) <= 0.0101 * abs(moved)
    assert found.error == pytest.approx(abs(found.map.sum() - moved) / abs(moved), abs=1e-3)


def test_it_is_captums_map_at_equal_steps_also_of_a_standardised_run(tiny: StagedNet) -> None:
    (x,), silence = pictures(1), baselines("silence", (3, 32, 40))
    found = Explainer(tiny, STANDARD, arithmetic="fp32").attribute(x, Target(1), silence, steps=12)
    inside, base = standardised(x[None]), standardised(silence)
    theirs = IntegratedGradients(tiny.eval()).attribute(inside, base, target=1, n_steps=12)[0].detach().numpy()
    assert np.linalg.norm(found.map - theirs) < 1e-4 * np.linalg.norm(theirs)
    assert found.steps == 12


def test_chunks_change_nothing(tiny: StagedNet, monkeypatch: pytest.MonkeyPatch) -> None:
    (x,), bases = pictures(1), pictures(3, seed=5)
    whole = Explainer(tiny, arithmetic="fp32").attribute(x, OF, bases, steps=10)
    for chunk in (1, 2, 7):
        monkeypatch.setattr(explainers, "CHUNK", chunk)
        cut = Explainer(tiny, arithmetic="fp32").attribute(x, OF, bases, steps=10)
        np.testing.assert_allclose(cut.map, whole.map, rtol=1e-4, atol=1e-6)


def test_several_baselines_are_averaged_and_a_contrast_is_a_difference(tiny: StagedNet) -> None:
    explainer, (x,), bases = Explainer(tiny, arithmetic="fp32"), pictures(1), pictures(3, seed=5)

    def explained(what: Target, base: np.ndarray) -> Attribution:
        return explainer.attribute(x, what, base, steps=8)

    alone = [explained(OF, base[None]) for base in bases]
    together = explained(OF, bases)
    np.testing.assert_allclose(together.map, np.mean([one.map for one in alone], axis=0), rtol=1e-4, atol=1e-6)
    assert together.baseline_value == pytest.approx(np.mean([one.baseline_value for one in alone]), rel=1e-5)
    other = explained(Target(1), bases)
    np.testing.assert_allclose(explained(AGAINST, bases).map, together.map - other.map, rtol=1e-3, atol=1e-5)


def test_nothing_is_left_behind(tiny: StagedNet) -> None:
    tiny.stage_parameters("block1")[0].requires_grad_(False)
    before = copy.deepcopy(tiny)
    explainer = Explainer(tiny)
    for picture, what in zip(pictures(2), (OF, AGAINST), strict=True):
        explainer.attribute(picture, what, baselines("silence", (3, 32, 40)), steps=4)
    for (name, parameter), old in zip(tiny.named_parameters(), before.parameters(), strict=True):
        assert parameter.grad is None, name
        assert parameter.requires_grad == old.requires_grad, name
    assert all(torch.equal(a, b) for a, b in zip(tiny.state_dict().values(), before.state_dict().values(), strict=True))
    for module, old_module in zip(tiny.modules(), before.modules(), strict=True):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert vars(module).keys() == vars(old_module).keys()
        assert module.training == old_module.training
    assert torch.is_grad_enabled()


# Clips with nothing in them


def test_a_silent_clip_has_a_map_of_zeros(tiny: StagedNet) -> None:
    silence = baselines("silence", (3, 32, 40))
    picture = np.full((3, 32, 40), SILENCE).astype(np.float16)  # as the store and a sound file give it
    found = Explainer(tiny, STANDARD).attribute(picture, OF, silence)
    assert not found.map.any()
    assert (found.error, found.steps) == (0.0, 0)
    assert found.value == found.baseline_value


def test_a_constant_clip_is_explained(tiny: StagedNet) -> None:
    flat, silence = np.full((3, 32, 40), -3.0), baselines("silence", (3, 32, 40))
    found = Explainer(tiny, STANDARD).attribute(flat, OF, silence, tolerance=0.05)
    assert np.isfinite(found.map).all()
    assert found.map.any()
    assert found.error <= 0.05


def test_a_network_with_the_same_output_for_everything_has_no_error() -> None:
    found = Explainer(staged(Toy(lambda z: 0 * z))).attribute(pictures(1, SHAPE)[0], OF, baselines("silence", SHAPE))
    assert (found.error, np.abs(found.map).max()) == (0.0, 0.0)


def test_where_the_logit_does_not_move_the_error_is_of_what_does() -> None:
    toy = Toy(lambda z: z)
    x = np.zeros(SHAPE, np.float32)
    x.flat[:2] = 1 / toy.w.flat[0], -1 / toy.w.flat[1]  # two cells that cancel
    found = Explainer(staged(toy), arithmetic="fp32").attribute(x, OF, baselines("zero", SHAPE))
    assert found.error < 1e-5
    np.testing.assert_allclose(found.map.flat[:2], [1, -1], rtol=1e-5)
    assert explainers._error(np.array([1.0, -0.9]), 0.0) == pytest.approx(0.1 / 1.9)


# Steps, memory, arithmetic


def test_steps_grow_until_it_is_right_and_what_stays_wrong_is_said(tiny: StagedNet) -> None:
    explainer, (x,), silence = Explainer(tiny, arithmetic="fp32"), pictures(1), baselines("silence", (3, 32, 40))
    rough = explainer.attribute(x, AGAINST, silence, tolerance=10.0)
    assert rough.steps == explainers.START
    assert rough.shortfall(10.0) is None
    capped = explainer.attribute(x, AGAINST, silence, tolerance=1e-9, cap=256)
    assert capped.steps == 256
    assert capped.error > 1e-9
    said = rf"the attribution's sum is {100 * capped.error:.2g} % off after 256 steps, not 1e-07 % as asked"
    assert capped.shortfall(1e-9) == said


def test_memory_decides_how_many_steps_are_taken_at_once(tiny: StagedNet) -> None:
    (x,), silence, chunks = pictures(1), baselines("silence", (3, 32, 40)), []
    for memory in (0.0024, 0.01, 1.0):
        explainer = Explainer(tiny, memory=memory, arithmetic="fp32")
        explainer.attribute(x, OF, silence, steps=2)
        chunks.append(explainer._chunks["fp32"])
    assert 1 <= chunks[0] < chunks[1] <= chunks[2] == explainers.CHUNK
    with pytest.raises(UserError, match=r"memory is 0.0001 GB, and densenet_tiny needs 0.00\d+ GB for a single step"):
        Explainer(tiny, memory=0.0001).attribute(x, OF, silence)


@pytest.mark.parametrize(("rounding", "chosen"), [(0.0, "fp32"), (0.5, "bf16")])
def test_bf16_is_kept_where_the_map_stays_as_it_is(
    rounding: float, chosen: str, tiny: StagedNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explainers, "choose", lambda asked, device, net: "bf16")
    monkeypatch.setattr(explainers, "ROUNDING", rounding)
    (x,), silence = pictures(1), baselines("silence", (3, 32, 40))
    found = Explainer(tiny).attribute(x, AGAINST, silence, steps=16)
    exact = Explainer(tiny, arithmetic="fp32").attribute(x, AGAINST, silence, steps=16)
    assert found.arithmetic == chosen
    far = np.linalg.norm(found.map - exact.map) / np.linalg.norm(exact.map)
    assert far == 0 if chosen == "fp32" else 0 < far < 0.2


def test_whether_bf16_is_taken_does_not_depend_on_the_pictures_before(tiny: StagedNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainers, "choose", lambda asked, device, net: "bf16")
    (one, other), silence = pictures(2), baselines("silence", (3, 32, 40))
    off = []
    for x in (one, other):
        exact, rounded = (
            Explainer(tiny, arithmetic=how).attribute(x, AGAINST, silence, steps=explainers.PROBE_STEPS).map
            for how in ("fp32", "bf16")
        )
        off.append(np.linalg.norm(rounded - exact) / np.linalg.norm(exact))
    monkeypatch.setattr(explainers, "ROUNDING", float(np.mean(off)))  # between the two, so that each gets another arithmetic
    for order in ((one, other), (other, one)):
        explainer = Explainer(tiny)
        found = {id(x): explainer.attribute(x, AGAINST, silence, steps=16).arithmetic for x in order}
        assert [found[id(x)] for x in (one, other)] == ["bf16" if far < np.mean(off) else "fp32" for far in off]
    assert off[0] != off[1]


def test_without_the_processors_bf16_it_is_not_tried(tiny: StagedNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainers, "choose", lambda asked, device, net: "fp32")
    assert Explainer(tiny).arithmetic == "fp32"


# What is asked for


def test_targets_are_read_as_they_are_written() -> None:
    classes = ["dog", "cat", "hot-dog", "dog-cat-house"]
    for text, expected in [("cat", Target(1)), ("dog-cat", Target(0, 1)), ("hot-dog", Target(2)), ("hot-dog-dog", Target(2, 0)),
                           ("dog-cat-house", Target(3)), ("cat-hot-dog", Target(1, 2))]:  # fmt: skip
        assert target(text, classes) == expected
        assert expected.name(classes) == text
    logits = np.array([[1.0, 5.0, 0.0, 0.0]])
    assert Target(1, 0).value(logits) == [4.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dgo", r"the target 'dgo' is no class \(did you mean dog\?\); give one of dog, cat, or two of them, as in dog-cat"),
        ("dog-bird", "the target 'dog-bird' is no class"),
        ("dog-dog", "the target dog-dog is a class against itself"),
        ("", "the target '' is no class"),
    ],
)
def test_other_targets_are_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        target(text, CLASSES)


def test_baselines_are_what_they_say() -> None:
    training, rows = pictures(9, SHAPE).astype(np.float16), np.array([0, 2, 3, 8])
    assert np.unique(baselines("silence", SHAPE)) == np.float16(-13.815511)  # as pictures are kept
    assert not baselines("zero", SHAPE).any()
    mean = baselines("mean", SHAPE, pictures=training, rows=rows)
    np.testing.assert_allclose(mean[0], training[rows].astype(np.float64).mean(axis=0), atol=1e-5)
    drawn = baselines("clips:3", SHAPE, pictures=training, rows=rows, seed=1)
    assert drawn.shape == (3, *SHAPE)
    assert drawn.dtype == np.float32
    assert all(any(np.array_equal(one, training[row]) for row in rows) for one in drawn)
    np.testing.assert_array_equal(drawn, baselines("clips:3", SHAPE, pictures=training, rows=rows, seed=1))
    assert [clips_of(kind) for kind in ("silence", "zero", "mean", "clips:12")] == [0, 0, None, 12]


def test_impossible_requests_are_refused(tiny: StagedNet) -> None:
    for kind in ("noise", "clips:0", "clips:", "clips:x"):
        with pytest.raises(UserError, match=f"--baseline {kind}: it is silence, mean, zero, or clips:K"):
            clips_of(kind)
    with pytest.raises(UserError, match="--baseline clips:5: the training folds hold 2 clips"):
        baselines("clips:5", SHAPE, pictures=pictures(3, SHAPE), rows=np.arange(2))
    (x,), silence = pictures(1), baselines("silence", (3, 32, 40))
    with pytest.raises(UserError, match="memory is 0 GB"):
        Explainer(tiny, memory=0)
    with pytest.raises(UserError, match="tolerance is 0; it has to be above 0"):
        Explainer(tiny).attribute(x, OF, silence, tolerance=0)
    with pytest.raises(UserError, match="0 steps along the path"):
        Explainer(tiny).attribute(x, OF, silence, steps=0)
