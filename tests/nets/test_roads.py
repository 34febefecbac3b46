"""Networks that are no chain of modules: run by stages, they compute what the original does, at any size of the picture."""

import copy
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from tla.errors import UserError
from tla.nets import replay, weights
from tla.nets.activations import layers, outputs, stage_outputs
from tla.nets.backbones import build
from tla.nets.cutting import CUT_HEAD, cut
from tla.nets.stages import HEAD, StagedNet, describe, seeded
from tla.nets.transfer import assemble
from tla.options import STAGES, Stage, Transfer

SHAPE = (3, 60, 90)
ROADS = {  # what the network is made for, where pictures are of that shape
    "test_vit": (64, 96),
    "test_vit_relpos": (64, 96),
    "vit_tiny_patch16_dinov3_qkvb": (64, 96),
    "swin_tiny_patch4_window7_224": (60, 92),
    "mixer_s32_224": (64, 96),
    "cait_xxs24_224": (64, 96),
    "pit_ti_224": (64, 96),
    "levit_128s": (64, 96),
    "xcit_nano_12_p8_224": (60, 90),
    "shvit_s1": (60, 90),
    "pvt_v2_b0": (60, 90),
    "efficientformerv2_s0": (60, 90),
    "test_coatnet": (64, 96),
    "test_mambaout": (60, 90),
}
SMALL = ("test_vit", "levit_128s", "test_coatnet", "test_mambaout")  # tokens; both; channels first; channels last


def made(name: str, classes: int = 5, seed: int = 1) -> StagedNet:
    return build(f"timm:{name}", classes, seed=seed, shape=SHAPE)


def pictures(net: StagedNet, clips: int = 3) -> Tensor:
    assert net.takes is not None
    return torch.randn(clips, *net.takes, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=ROADS)
def net(request: pytest.FixtureRequest) -> StagedNet:
    """Each network, made once; tests leave it as it is."""
    return made(request.param)


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest) -> StagedNet:
    return made(request.param)


@torch.no_grad()
def test_by_stages_it_computes_what_the_original_does(net: StagedNet) -> None:
    net.eval()
    x = pictures(net)
    assert net.takes == (3, *ROADS[net.name.removeprefix("timm:")])
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = net.net(x)
            assert logits.shape == (3, 5)
            assert torch.equal(net(x), logits)
            for stage in STAGES:
                middle = net.prefix(x, stage)
                before = middle.clone()
                assert torch.equal(net(middle, after=stage), logits), stage
                assert torch.equal(middle, before), f"what follows {stage} overwrites its input"
    assert not any("forward" in vars(module) for module in net.modules()), "what was changed for a call stays so"


def test_names_are_timms_and_each_tensor_belongs_to_one_stage(net: StagedNet) -> None:
    assert net.takes is not None
    plain = _plain(net.name.removeprefix("timm:"), net.takes[1:])
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in net.net.state_dict().items()}
    parts = [net.stage_tensors(stage) for stage in (*STAGES, HEAD)]
    assert sorted(name for part in parts for name in part) == sorted(net.net.state_dict())
    assert all(parts)
    rows = describe(net, SHAPE)
    assert [row.parameters for row in rows] == [sum(p.numel() for p in net.stage_parameters(s)) for s in (*STAGES, HEAD)]
    assert all(row.multiply_adds > 0 for row in rows)


def _plain(inner: str, size: tuple[int, ...]) -> nn.Module:
    try:
        return timm.create_model(inner, num_classes=5, img_size=size)
    except (TypeError, AssertionError):  # it cannot be told a size
        return timm.create_model(inner, num_classes=5)


def test_stages_of_equal_resolution_are_quarters_of_the_depth() -> None:
    vit = {stage: paths for stage, paths in made("vit_tiny_patch16_dinov3_qkvb").layout.stages.items() if stage != "stem"}
    quarters = {f"block{i + 1}": tuple(f"blocks.{block}" for block in range(3 * i, 3 * i + 3)) for i in range(4)}
    assert vit == quarters | {"block4": (*quarters["block4"], "norm")}
    cait = made("cait_xxs24_224").layout.stages  # 24 blocks, and two for the class token alone
    assert [sum("blocks" in path for path in cait[stage]) for stage in STAGES] == [0, 6, 7, 7, 6]


def test_stages_lie_at_their_strides() -> None:
    for name in ("swin_tiny_patch4_window7_224", "pvt_v2_b0", "test_mambaout"):
        assert [row.shape[1] for row in describe(made(name), SHAPE)[1:5]] == [15, 8, 4, 2]


@pytest.mark.parametrize(
    ("name", "stage", "tensors"),
    [
        ("test_vit", "stem", {"cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight"}),
        ("test_vit", "block4", {"norm.weight", "blocks.5.mlp.fc2.bias"}),
        ("cait_xxs24_224", "stem", {"pos_embed"}),
        ("cait_xxs24_224", "block4", {"cls_token", "norm.weight", "blocks_token_only.0.gamma_1"}),
        ("test_mambaout", "block4", {"head.norm.weight", "head.pre_logits.fc.weight"}),
        ("levit_128s", HEAD, {"head.linear.weight", "head_dist.linear.weight"}),
    ],
)
def test_loose_tensors_belong_to_the_first_stage_that_needs_them(name: str, stage: str, tensors: set[str]) -> None:
    net = made(name)
    found = {tensor for tensor in tensors if tensor in net.net.state_dict()}
    assert found <= set(net.stage_tensors(stage))
    assert found


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_is_that_of_the_original(name: str) -> None:
    staged, twin = made(name), made(name)
    x = pictures(staged)
    for function in (staged, twin.net):
        with seeded(0):
            function(x).square().mean().backward()
    for (path, one), other in zip(staged.net.named_parameters(), twin.net.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), path
        assert one.grad is None or torch.equal(one.grad, other.grad), path  # type: ignore[arg-type]
    for (path, one), other in zip(staged.net.named_buffers(), twin.net.buffers(), strict=True):
        assert torch.equal(one, other), path


@pytest.mark.parametrize("upto", ["stem", "block2"])
def test_training_leaves_every_frozen_tensor_as_it_was(small: StagedNet, upto: Stage) -> None:
    small.freeze(upto)
    before = copy.deepcopy(small.net.state_dict())
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    small.train()
    for _ in range(2):
        optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(small(pictures(small)), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    moved = {name for name, tensor in small.net.state_dict().items() if not torch.equal(tensor, before[name])}
    frozen = {name for stage in small.upto(upto) for name in small.stage_tensors(stage)}
    assert not moved & frozen
    learned = {name for name, p in small.net.named_parameters() if p.grad is not None} - frozen
    assert learned <= moved
    assert len(learned) > 10


@torch.no_grad()
def test_training_goes_on_behind_what_is_kept_of_the_frozen_stages(small: StagedNet) -> None:
    small.freeze("block2")
    small.train()
    x = pictures(small)
    with seeded(0):
        whole = small(x)
    behind = copy.deepcopy(small)
    with seeded(0):
        assert torch.equal(behind(behind.prefix(x, "block2"), after="block2"), whole)


@pytest.mark.parametrize("upto", STAGES[:-1])
def test_a_cut_network_is_the_beginning_of_the_whole(small: StagedNet, upto: Stage) -> None:
    whole = small.eval()
    short = cut(made(whole.name.removeprefix("timm:")), upto, 7, seed=4).eval()
    x = pictures(whole)
    with torch.no_grad():
        _begins_alike(short, whole, upto, x)
    short.train()(x).square().mean().backward()
    assert all(p.grad is not None for p in short.parameters())


@torch.no_grad()
def test_every_network_can_be_cut(net: StagedNet) -> None:
    _begins_alike(cut(made(net.name.removeprefix("timm:")), "block2", 7, seed=4).eval(), net.eval(), "block2", pictures(net))


def _begins_alike(short: StagedNet, whole: StagedNet, upto: Stage, x: Tensor) -> None:
    assert short.stages == STAGES[: STAGES.index(upto) + 1]
    assert torch.equal(short.prefix(x, upto), whole.prefix(x, upto))
    assert short(x).shape == (3, 7)
    later = {name for stage in STAGES[STAGES.index(upto) + 1 :] for name in whole.stage_tensors(stage)}
    assert not later & set(short.net.state_dict())
    assert all(name.startswith(f"{CUT_HEAD}.") for name in short.stage_tensors(HEAD))
    kept = {name for stage in short.stages for name in whole.stage_tensors(stage)}
    assert kept == {name for stage in short.stages for name in short.stage_tensors(stage)}
    assert sum(row.parameters for row in describe(short, SHAPE)) == sum(p.numel() for p in short.parameters())
    for twin in (copy.deepcopy(short), pickle.loads(pickle.dumps(short))):
        assert torch.equal(twin(x), short(x))


@torch.no_grad()
def test_smaller_pictures_are_filled_up_with_silence(small: StagedNet) -> None:
    small.eval()
    assert small.takes is not None
    mels, frames = 60, 90
    silence = torch.linspace(-3, -2, mels)[None, :, None].expand(3, -1, -1)
    x = torch.randn(2, 3, mels, frames, generator=torch.Generator().manual_seed(0))
    full = torch.empty(2, *small.takes)
    full[:] = torch.cat([silence, silence[:, -1:].expand(-1, small.takes[1] - mels, -1)], dim=1)
    full[:, :, :mels, :frames] = x
    if small.takes[1:] != (mels, frames):
        full[:, :, mels:, :frames] = silence[:, -1:]
        with pytest.raises(UserError, match=r"is made for pictures of 64 x 96, and these have 60 x 90"):
            small(x)
    small.silence = silence
    assert torch.equal(small(x), small(full))
    with pytest.raises(UserError, match="these have 200 x 90"):
        small(torch.zeros(1, 3, 200, 90))


@torch.no_grad()
def test_outputs_are_read_as_maps() -> None:
    vit, swin = made("test_vit").eval(), made("swin_tiny_patch4_window7_224").eval()
    x = pictures(vit)
    tokens = vit.net.forward_intermediates(x, indices=[5], norm=True, intermediates_only=True)[0]  # type: ignore[operator]
    assert torch.equal(stage_outputs(vit, x)["block4"], tokens)
    x = pictures(swin)
    last = swin.net.forward_features(x)  # type: ignore[operator]
    assert torch.equal(stage_outputs(swin, x)["block4"], last.permute(0, 3, 1, 2))


@torch.no_grad()
def test_layers_are_read_as_the_stages_are(small: StagedNet) -> None:
    small.eval()
    x = pictures(small)
    found = layers(small, "stages", SHAPE)
    for layer, (stage, output) in zip(found, list(stage_outputs(small, x).items())[:-1], strict=True):
        assert layer.name == stage
        assert (layer.channels, *layer.positions) == tuple(output.shape[1:])
        assert outputs(small, x, [layer])[stage].shape == output.shape
    every = layers(small, "all", SHAPE)
    assert len(every) > len(STAGES)
    for layer, output in zip(every, outputs(small, x, every).values(), strict=True):
        assert tuple(output.shape) == (3, layer.channels, *layer.positions)


def test_positions_are_interpolated_for_pictures_of_another_size(tmp_path: Path) -> None:
    plain = timm.create_model("test_vit", num_classes=9)  # 160 x 160: ten by ten patches
    save_file(plain.state_dict(), tmp_path / "vit.safetensors")
    tensors = weights.load(str(tmp_path / "vit.safetensors"), "timm:test_vit", SHAPE).tensors
    extra = plain.num_prefix_tokens
    wanted = resample_abs_pos_embed(plain.pos_embed.detach(), [4, 6], [10, 10], num_prefix_tokens=extra)
    assert tensors["pos_embed"].shape == wanted.shape
    assert torch.equal(tensors["pos_embed"], wanted)
    assert torch.equal(tensors["blocks.0.attn.qkv.weight"], plain.blocks[0].attn.qkv.weight)


def test_a_call_that_fails_leaves_the_network_as_it_was(small: StagedNet) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        small(torch.zeros(2, 3, 3, 3), after="block1")
    assert not any("forward" in vars(module) for module in small.modules())
    x = pictures(small)
    assert torch.equal(small.eval()(x), small.net(x))


class _Skipping(nn.Module):
    """What leads out of its first half is more than what its second half is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward_features(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y) + y


def test_what_is_done_before_a_stage_is_not_computed_again() -> None:
    net, x = _Skipping(), torch.ones(replay.BATCH, 4)
    calls = replay.trace(net, x)
    road = replay.Road((4,), {"second": "second"}, {"second": replay.done_before(calls, "second")})  # type: ignore[arg-type]
    computed: list[str] = []
    for name, module in net.named_children():
        module.register_forward_hook(lambda module, inputs, output, name=name: computed.append(name))
    own, _ = net.first.forward, computed.clear()
    y = torch.randn(7, 4)
    assert torch.equal(replay.run(net, road, y, "second", None), net.second(y)), "without the first half's output"
    assert net.first.forward == own
    assert torch.equal(replay.run(net, road, x, None, "second"), net.first(x))


@torch.no_grad()
def test_the_head_of_a_cut_network_reads_the_mean_of_places_or_the_class_token() -> None:
    for reads in ("mean", "token"):
        net = cut(made("test_vit"), "block2", 7, seed=4, reads=reads).eval()
        x = pictures(net)
        tokens, head = net.prefix(x, "block2"), net.net.get_submodule(CUT_HEAD)
        norm = nn.functional.layer_norm(tokens, (64,))
        apart = tokens.shape[1] - 4 * 6
        expected = head.linear(norm[:, 0] if reads == "token" else norm[:, apart:].mean(1))  # type: ignore[operator]
        torch.testing.assert_close(net(x), expected)
    for name in ("cait_xxs24_224", "test_vit_relpos", "swin_tiny_patch4_window7_224", "levit_128s"):
        with pytest.raises(UserError, match="has no class token behind its block1: its cut head can read the mean"):
            cut(made(name), "block1", 7, seed=4, reads="token")


def test_positions_may_start_at_random(tmp_path: Path) -> None:
    names = {"test_vit": "pos_embed", "swin_tiny_patch4_window7_224": "layers.3.blocks.1.attn.relative_position_bias_table"}
    for name, position in names.items():
        donor = made(name, seed=9)
        save_file(donor.net.state_dict(), tmp_path / "donor.safetensors")
        pretrained = weights.load(str(tmp_path / "donor.safetensors"), donor.name, SHAPE)
        plan = Transfer(pretrained_upto="block4", positions="random")
        net = assemble(donor.name, 5, plan, pretrained, seed=1, shape=SHAPE).net.state_dict()
        fresh = made(name).net.state_dict()
        from_seed = {tensor for tensor in net if torch.equal(net[tensor], fresh[tensor])}
        from_donor = {tensor for tensor in net if torch.equal(net[tensor], donor.net.state_dict()[tensor])}
        assert position in from_seed - from_donor
        assert all("pos" in tensor or "head" in tensor for tensor in set(net) - from_donor)
    without = build("timm:resnet10t", 5, seed=0)
    with pytest.raises(UserError, match="timm:resnet10t holds no positions that could start at random"):
        assemble(without.name, 5, plan, weights.Pretrained(without.net.state_dict(), "x"), seed=1)


def test_live_norms_take_batch_norm() -> None:
    plan = Transfer(pretrained_upto="none", frozen_upto="stem", frozen_norm="live")
    assert assemble("timm:levit_128s", 5, plan, None, seed=1, shape=SHAPE).inference_upto == "none"
    with pytest.raises(UserError, match="timm:test_vit has no batch norm, so its frozen stages have no live norms"):
        assemble("timm:test_vit", 5, plan, None, seed=1, shape=SHAPE)
