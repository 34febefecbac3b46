"""Tensors of two networks, mixed; and batch norm's statistics, estimated anew."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets import staged
from tla.nets.states import average, between, estimating, exchanged
from tla.nets.transfer import Transfer


def state(seed: int, **plan: str) -> dict[str, Tensor]:
    transfer = Transfer(**plan)  # type: ignore[arg-type]
    return staged("densenet_tiny", 4, weights="random", seed=seed, transfer=transfer).net.state_dict()


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_ends_of_a_line_are_the_networks_and_its_middle_is_their_mean() -> None:
    first, second = state(0), state(1)
    assert same(between(first, second, 0), first)
    assert same(between(first, second, 1), second)
    middle, mean = between(first, second, 0.5), average([first, second])
    for name in first:
        torch.testing.assert_close(middle[name], mean[name])
    assert not same(middle, first)


def test_the_mean_of_one_network_is_that_network_and_of_three_does_not_hang_on_their_order() -> None:
    one = state(0)
    assert same(average([one]), one)
    some = [state(seed) for seed in range(3)]
    backwards = average(some[::-1])
    for name, tensor in average(some).items():
        torch.testing.assert_close(tensor, backwards[name])


def test_an_exchange_changes_what_is_named_and_nothing_else() -> None:
    first, second = state(0), state(1)
    names = [name for name in first if "weight" in name and not torch.equal(first[name], second[name])][:2]
    mixed = exchanged(first, second, names)
    assert [name for name in first if not torch.equal(mixed[name], first[name])] == names
    assert same(exchanged(first, second, first.keys()), second)
    with pytest.raises(UserError, match="has no tensor block9; its first is "):
        exchanged(first, second, ["block9"])


def test_networks_of_two_kinds_are_refused_by_the_tensor_in_which_they_differ() -> None:
    whole, cut = state(0), state(0, kept_upto="block2")
    more = staged("densenet_tiny", 5, weights="random").net.state_dict()
    kinds = (
        (cut, r"differ in \S+ and \d+ more tensors: weights can be mixed of networks of one backbone"),
        (more, "differ in"),
    )
    for other, says in kinds:
        for mix in (lambda a, b: between(a, b, 0.5), lambda a, b: average([a, b]), lambda a, b: exchanged(a, b, list(a))):
            with pytest.raises(UserError, match=says):
                mix(whole, other)
    with pytest.raises(UserError, match="no networks to average"):
        average([])


def test_statistics_are_those_of_the_batches_and_all_else_is_as_it_was() -> None:
    norm, batches = nn.BatchNorm2d(3), [torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    norm.eval()
    net = nn.Sequential(norm, nn.Dropout(0.5)).eval()
    with torch.no_grad(), estimating(net.modules()):
        for batch in batches:
            net(batch)
        assert norm.training
        assert not net[1].training
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    spread = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, spread)
    assert (norm.training, norm.momentum) == (False, 0.1)
