"""The transfer plan: its endpoints are its parents, frozen is frozen, equal networks have equal names."""

import copy
import functools
import itertools
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from tla.errors import UserError
from tla.nets.backbones import build
from tla.nets.stages import HEAD, StagedNet, norm_tensors, seeded
from tla.nets.transfer import assemble, canonical, counts, frozen_prefix, trainable
from tla.nets.weights import Pretrained
from tla.options import STAGES, Transfer

TINY = "densenet_tiny"
NETS = (TINY, "timm:mobilenetv3_small_050", "timm:convnext_atto")
CLASSES = 5


@functools.cache
def pretrained(name: str = TINY) -> Pretrained:
    """A network that has been trained a little: every tensor, statistics too, differs from its start."""
    net = build(name, 9, seed=77)
    train(net, steps=2)
    with torch.no_grad(), seeded(1):
        for parameter in net.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    tensors = {n: t.clone() for n, t in net.net.state_dict().items() if net.stage_of(n) != HEAD}
    return Pretrained(tensors, "file:0")


def train(net: StagedNet, *, steps: int = 3, bf16: bool = False) -> None:
    """Real training steps, with a look at the network in inference mode after each."""
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        net.train()
        x, y = torch.randn(4, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 3])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(net(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        net.eval()
        with torch.no_grad():
            net(x)


def state(net: StagedNet) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.net.state_dict().items()}


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def plan(**fields: Any) -> Transfer:
    return Transfer(**fields)


# --- where the weights come from


@pytest.mark.parametrize("name", NETS)
def test_pretrained_up_to_nothing_is_random(name: str) -> None:
    random = build(name, CLASSES, seed=3)
    net = assemble(name, CLASSES, plan(pretrained_upto="none"), pretrained(name), seed=3)
    assert not different(state(net), state(random))
    assert not different(state(assemble(name, CLASSES, plan(pretrained_upto="none"), None, seed=3)), state(random))


@pytest.mark.parametrize("name", NETS)
def test_pretrained_up_to_everything_is_pretrained_but_for_the_head(name: str) -> None:
    source = pretrained(name)
    net, random = assemble(name, CLASSES, plan(), source, seed=3), build(name, CLASSES, seed=3)
    for key, tensor in state(net).items():
        wanted = random.net.state_dict()[key] if net.stage_of(key) == HEAD else source.tensors[key]
        assert torch.equal(tensor, wanted), key


@pytest.mark.parametrize("upto", STAGES)
def test_fusion_takes_each_stage_from_its_parent(upto: str) -> None:
    source, random = pretrained(), build(TINY, CLASSES, seed=3).net.state_dict()
    net = assemble(TINY, CLASSES, plan(pretrained_upto=upto), source, seed=3)
    for stage in (*STAGES, HEAD):
        parent = source.tensors if stage in net.upto(upto) else random  # type: ignore[arg-type]
        assert all(torch.equal(tensor, parent[name]) for name, tensor in net.stage_tensors(stage).items()), stage


def test_parts_divide_the_pretrained_tensors() -> None:
    source, random = pretrained(), build(TINY, CLASSES, seed=3).net.state_dict()
    for parts in ("all", "conv", "norm"):
        net = assemble(TINY, CLASSES, plan(parts=parts, pretrained_upto="block3"), source, seed=3)
        norms = norm_tensors(net)
        for name, tensor in state(net).items():
            taken = {"all": True, "conv": name not in norms, "norm": name in norms}[parts]
            here = taken and net.stage_of(name) in net.upto("block3")
            assert torch.equal(tensor, source.tensors[name] if here else random[name]), (parts, name)


def test_meanvar_matches_mean_and_spread_and_has_fresh_norms() -> None:
    source, random = pretrained(), build(TINY, CLASSES, seed=3).net.state_dict()
    net = assemble(TINY, CLASSES, plan(pretrained_upto="stem", rest="meanvar"), source, seed=3)
    norms = norm_tensors(net)
    for stage in STAGES[1:]:
        for name, tensor in net.stage_tensors(stage).items():
            if name in norms:
                assert torch.equal(tensor, random[name]), name
                continue
            real = source.tensors[name]
            assert not torch.equal(tensor, real)
            assert not torch.equal(tensor, random[name])
            assert abs(tensor.mean() - real.mean()) < 5 * real.std() / real.numel() ** 0.5, name
            assert abs(tensor.std() / real.std() - 1) < 5 / (2 * real.numel()) ** 0.5, name
    assert all(torch.equal(t, source.tensors[name]) for name, t in net.stage_tensors("stem").items())
    assert all(torch.equal(t, random[name]) for name, t in net.stage_tensors(HEAD).items())


def test_meanvar_draws_do_not_depend_on_the_rest_of_the_plan() -> None:
    source = pretrained()
    deep = assemble(TINY, CLASSES, plan(pretrained_upto="none", rest="meanvar"), source, seed=3)
    for upto, kept in (("stem", "block4"), ("block2", "block4"), ("block1", "block3")):
        net = assemble(TINY, CLASSES, plan(pretrained_upto=upto, kept_upto=kept, rest="meanvar"), source, seed=3)
        own = deep.net.state_dict()
        for stage in net.stages[len(net.upto(upto)) :]:
            assert all(torch.equal(t, own[name]) for name, t in net.stage_tensors(stage).items())
    other = assemble(TINY, CLASSES, plan(pretrained_upto="none", rest="meanvar"), source, seed=4)
    assert different(state(deep), state(other))


def test_the_seed_alone_makes_the_random_part() -> None:
    source = pretrained()
    state_before = torch.get_rng_state()
    for fields in ({}, {"kept_upto": "block2"}, {"rest": "meanvar", "pretrained_upto": "stem"}):
        one, again, other = (state(assemble(TINY, CLASSES, plan(**fields), source, seed=seed)) for seed in (1, 1, 2))
        assert not different(one, again)
        assert different(one, other)
    assert torch.equal(torch.get_rng_state(), state_before)


# --- what is there


def test_kept_up_to_block4_is_the_whole_network() -> None:
    source = pretrained()
    net = assemble(TINY, CLASSES, plan(kept_upto="block4"), source, seed=3).eval()
    x = torch.randn(2, 3, 64, 64)
    whole = build(TINY, CLASSES, seed=3)
    whole.net.load_state_dict(source.tensors, strict=False)
    with torch.no_grad():
        assert torch.equal(net(x), whole.eval().net(x))


def test_a_cut_network_keeps_its_pretrained_stages_and_its_head_whatever_they_start_from() -> None:
    source = pretrained()
    one = assemble(TINY, CLASSES, plan(kept_upto="block2"), source, seed=3)
    random = assemble(TINY, CLASSES, plan(kept_upto="block2", pretrained_upto="none"), None, seed=3)
    assert one.stages == STAGES[:3]
    for stage in one.stages:
        assert all(torch.equal(t, source.tensors[name]) for name, t in one.stage_tensors(stage).items())
    assert all(torch.equal(t, random.stage_tensors(HEAD)[name]) for name, t in one.stage_tensors(HEAD).items())


# --- what may move


@pytest.mark.parametrize(
    ("name", "bf16", "upto", "kept"),
    [
        *((TINY, False, upto, "block4") for upto in STAGES),
        (TINY, True, "block3", "block4"),
        (TINY, False, "block2", "block2"),
        ("timm:mobilenetv3_small_050", False, "block4", "block4"),
        ("timm:convnext_atto", False, "block2", "block4"),
        ("efficientnet_lite0", True, "block3", "block4"),
    ],
)
def test_frozen_stages_are_bit_identical_after_training(name: str, bf16: bool, upto: str, kept: str) -> None:
    net = assemble(name, CLASSES, plan(frozen_upto=upto, kept_upto=kept), pretrained(name), seed=3)
    net.to(memory_format=torch.channels_last)
    before = state(net)
    train(net, bf16=bf16)
    moved = different(before, state(net))
    frozen = {n for stage in net.upto(upto) for n in net.stage_tensors(stage)}  # type: ignore[arg-type]
    assert not moved & frozen
    free = {n for n, p in net.net.named_parameters() if n not in frozen}
    assert free <= moved
    assert frozen_prefix(net) == upto


def test_live_norms_of_frozen_stages_move_their_statistics_alone() -> None:
    net = assemble(TINY, CLASSES, plan(frozen_upto="block2", frozen_norm="live"), pretrained(), seed=3)
    before = state(net)
    train(net)
    moved = different(before, state(net))
    frozen = {name for stage in net.upto("block2") for name in net.stage_tensors(stage)}
    statistics = {name for name in frozen if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert statistics
    assert moved & frozen == statistics
    assert frozen_prefix(net) == "none"


@pytest.mark.parametrize("upto", STAGES)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_frozen_prefix_is_a_constant_function(upto: str, bf16: bool) -> None:
    net = assemble(TINY, CLASSES, plan(frozen_upto=upto), pretrained(), seed=3)
    x = torch.randn(6, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            first = net.eval().prefix(x, frozen_prefix(net))
        train(net, bf16=bf16)
        second = net.train().prefix(x, frozen_prefix(net))
        assert not second.requires_grad
        assert torch.equal(first, second)
        torch.testing.assert_close(net.prefix(x[:2], frozen_prefix(net)), first[:2], rtol=1e-2, atol=1e-2)


def test_training_behind_the_frozen_prefix_is_training_the_network() -> None:
    def step(behind: bool) -> dict[str, Tensor]:
        net = assemble(TINY, CLASSES, plan(frozen_upto="block3"), pretrained(), seed=3)
        x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        logits = net(net.prefix(x, "block3"), after="block3") if behind else net(x)
        logits.square().sum().backward()
        return {n: p.grad for n, p in net.net.named_parameters() if p.grad is not None}

    assert not different(step(True), step(False))


def test_an_inception_heads_dropout_stays_alive() -> None:
    net = assemble("inception_v3", CLASSES, plan(pretrained_upto="none", frozen_upto="block4"), None, seed=0).train()
    middle = torch.rand(2, 2048, 2, 4)
    with torch.no_grad(), seeded(0):
        assert not torch.equal(net(middle, after="block4"), net(middle, after="block4"))


def test_counts() -> None:
    whole = assemble(TINY, CLASSES, plan(pretrained_upto="none"), None, seed=0)
    assert counts(whole) == (sum(p.numel() for p in whole.parameters()),) * 2
    frozen = assemble(TINY, CLASSES, plan(pretrained_upto="none", frozen_upto="block4"), None, seed=0)
    assert counts(frozen) == (68 * CLASSES + CLASSES, counts(whole)[1])
    assert len(trainable(frozen)) == 2


# --- contradictions and names


@pytest.mark.parametrize(
    ("fields", "weights", "message"),
    [
        (
            {"frozen_upto": "block3", "kept_upto": "block2"},
            True,
            "frozen up to block3, but kept only up to block2: freeze up to block2",
        ),
        ({"kept_upto": "none"}, True, "cannot be kept up to none: possible are stem, block1, block2, block3, block4"),
        ({}, False, "is pretrained up to block4, but the weights are random: give weights, or pretrain up to none"),
        ({"pretrained_upto": "none", "rest": "meanvar"}, False, "is rest meanvar, but the weights are random"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], weights: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        assemble(TINY, CLASSES, plan(**fields), pretrained() if weights else None, seed=0)


def every_plan() -> list[Transfer]:
    """All values of all fields, but for those that contradict each other."""
    stages, possible = ("none", *STAGES), {name: get_args(hint) for name, hint in get_type_hints(Transfer).items()}
    plans = [Transfer(**dict(zip(possible, values, strict=True))) for values in itertools.product(*possible.values())]
    return [p for p in plans if p.kept_upto != "none" and stages.index(p.frozen_upto) <= stages.index(p.kept_upto)]


def plans_of_tiny() -> list[Transfer]:
    """Those of a network without positions and class token."""
    return [p for p in every_plan() if (p.positions, p.cut_head) == ("pretrained", "mean")]


def test_canonical_plans_stay_as_they_are() -> None:
    for one, weights in itertools.product(every_plan(), ("random", "imagenet")):
        name = canonical(one, weights)
        assert canonical(*name) == name
        assert (name[1] == "random") == (name[0].pretrained_upto == "none" and name[0].rest == "random")


def test_canonical_plans_make_the_same_network() -> None:
    source = pretrained()
    for one in plans_of_tiny()[::61]:
        other, weights = canonical(one, "imagenet")
        net = assemble(TINY, CLASSES, one, source, seed=1)
        twin = assemble(TINY, CLASSES, other, None if weights == "random" else source, seed=1)
        assert not different(state(net), state(twin))
        assert [p.requires_grad for p in net.parameters()] == [p.requires_grad for p in twin.parameters()]
        assert [m.training for m in net.modules()] == [m.training for m in twin.modules()]


def test_different_canonical_plans_make_different_networks() -> None:
    source, seen = pretrained(), {}
    plans = {canonical(p, "imagenet") for p in plans_of_tiny() if p.kept_upto == "block1"}
    for one, weights in plans:
        net = assemble(TINY, CLASSES, one, None if weights == "random" else source, seed=1)
        moving = tuple(p.requires_grad for p in net.parameters()), tuple(m.training for m in net.modules())
        content = tuple(hash(t.numpy().tobytes()) for t in net.net.state_dict().values())
        assert seen.setdefault((moving, content), (one, weights)) == (one, weights)
    assert len(seen) == len(plans)


def test_canonical_examples() -> None:
    assert canonical(Transfer(), "imagenet") == (Transfer(), "imagenet")
    scratch = (Transfer(pretrained_upto="none"), "random")
    assert canonical(Transfer(), "random") == scratch
    assert canonical(Transfer(rest="meanvar", parts="conv", frozen_norm="live"), "random") == scratch
    assert canonical(Transfer(pretrained_upto="none", parts="norm"), "imagenet") == scratch
    assert canonical(Transfer(kept_upto="block1", rest="meanvar"), "x")[0] == Transfer(
        pretrained_upto="block1", kept_upto="block1"
    )
    with pytest.raises(UserError, match="cannot be kept up to none"):
        canonical(Transfer(kept_upto="none"), "random")


def test_pretrained_tensors_are_copied_not_shared() -> None:
    source = pretrained()
    before = copy.deepcopy(source.tensors)
    train(assemble(TINY, CLASSES, plan(), source, seed=0))
    assert not different(before, source.tensors)
