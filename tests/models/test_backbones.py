"""Networks of timm, for any number of channels, and dropping tokens."""

import copy

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from maclcore.models.backbones import set_channels
from maclcore.models.from_timm import content, drop_tokens
from maclcore.models.network import RetrievalNet, check_size, synchronised
from maclcore.models.weights import weights_content

#: a vision transformer of 64 patches and a class token at 32 px
SMALL = "timm/vit_tiny_patch16_224:depth=2,embed_dim=48,num_heads=3,patch_size=4"


def net(backbone=SMALL, image_size=32, **options):
    torch.manual_seed(0)
    options = {"weights": "none", "embedding_dim": 16, "image_size": image_size, **options}
    return RetrievalNet(backbone, **options).eval()


# --- timm -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "width", "size"),
    [
        ("timm/test_vit", 64, 48),  # takes any size
        ("timm/test_resnet", 96, 40),
        ("timm/mobilenetv3_small_050", 1024, 40),  # its features pass one more layer
        ("timm/vit_tiny_patch16_224", 192, 64),  # positions of 224 px elsewhere
        (SMALL, 48, 32),
    ],
)
def test_any_model_of_timm_gives_features_and_unit_embeddings(backbone, width, size):
    model = net(backbone, size)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    assert model.features(images).shape == (2, width)
    z = model(images)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(2))
    copied = copy.deepcopy(model).to(memory_format=torch.channels_last)
    torch.testing.assert_close(copied(images), z, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(images)
    assert half.dtype == torch.float32 and (half * z).sum(dim=1).min() > 0.99


def test_three_channels_are_normalised_as_the_backbone_is_made_for():
    assert net("timm/vit_small_patch14_dinov2:depth=1", 28).mean.flatten().tolist() == (
        pytest.approx([0.485, 0.456, 0.406])
    )
    model = net("timm/vit_tiny_patch16_224:depth=1", 32)
    assert model.mean.unique().tolist() == model.std.unique().tolist() == [0.5]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(model.features(images), model.backbone(images / 255 * 2 - 1))


@pytest.mark.parametrize(
    ("backbone", "size", "message"),
    [
        ("timm/vit_tiny_patch16_223", 64, "did you mean 'timm/vit_tiny_patch16_224'"),
        ("timm/qqqqqqqqqqqqqqqqqqqq", 64, "timm.list_models() has them all"),
        ("timm/vit_tiny_patch16_224.mine", 64, "Invalid pretrained tag (mine)"),
        (SMALL + ",heads=3", 32, "'heads=3' is not a setting"),
        (SMALL + ",depth=0", 32, "'depth=0' is not a setting"),
        ("timm/test_resnet:depth=3", 64, "test_resnet:depth=3 cannot be built for images of 64 px"),
        ("timm/vit_tiny_patch16_224", 72, "patches have 16 px, which do not divide 72"),
        ("vit_b_16", 72, "patches have 16 px, which do not divide 72"),
    ],
)
def test_a_backbone_that_cannot_be_is_an_error_that_says_why(backbone, size, message):
    with pytest.raises(ValueError) as error:
        net(backbone, size)
    assert message in str(error.value)


def test_sizes_are_checked_with_the_channels_of_the_network():
    for model in (net(channels=13), net("resnet18", 32, channels=2)):
        check_size(model.train(), "it", 32)
        assert model.training
    with pytest.raises(ValueError, match=r"takes no images of 48 px \(Input height \(48\)"):
        check_size(net(channels=13), SMALL, 48)


def test_pretrained_weights_are_named_by_their_tag_or_an_error_where_there_are_none():
    dino = "timm/vit_small_patch14_dinov2"
    assert weights_content(dino, "imagenet") == content(dino) == dino + ".lvd142m"
    assert content("timm/vit_small_patch16_224.dino") == "timm/vit_small_patch16_224.dino"
    for backbone in (dino + ":depth=6", "timm/resnet200"):
        with pytest.raises(ValueError, match="timm has no weights for"):
            content(backbone)
        with pytest.raises(ValueError, match="timm has no weights for"):
            net(backbone, 28, weights="imagenet")


def test_offline_the_weights_of_timm_are_an_error_with_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="of timm/test_vit cannot be downloaded.*weights=FILE"):
        net("timm/test_vit", 32, weights="imagenet")


def test_batch_norm_that_is_shared_among_processes_keeps_its_activation():
    for backbone in ("timm/test_efficientnet", "resnet18"):
        model = net(backbone)
        images = torch.rand(2, 3, 32, 32)
        before = model.features(images)
        shared = synchronised(model)
        norms = [x for x in shared.modules() if isinstance(x, nn.modules.batchnorm._BatchNorm)]
        assert norms and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
        torch.testing.assert_close(shared.eval().features(images), before)


# --- Channels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 13])
@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "timm/test_resnet", SMALL])
def test_networks_for_other_channels_train(backbone, channels):
    model = net(backbone, 32, channels=channels).train()
    model.to(memory_format=torch.channels_last)
    assert model.channels == channels and model.fresh == []
    images = torch.randint(0, 256, (4, channels, 32, 32), dtype=torch.uint8)
    # as they are, divided by 255 alone
    pixels, seen = images.float() / 255, []
    hook = model.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-3), []
    for _ in range(8):
        losses.append((model(images) - torch.eye(4, 16)).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] and torch.equal(seen[0], pixels)
    (first,) = [x for x in model.modules() if isinstance(x, nn.Conv2d)][:1]
    assert first.weight.shape[1] == channels and first.weight.grad.abs().sum(dim=(0, 2, 3)).all()
    hook.remove()


def test_an_inflated_layer_has_the_mean_of_three_and_the_response_to_constants():
    layer = nn.Conv2d(3, 1, (1, 2))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0, 0.1], [0.2, 0.3], [0.4, 0.5]]).view(1, 3, 1, 2))
    bias = layer.bias.detach().clone()
    before = layer(torch.ones(1, 3, 1, 2))
    set_channels(layer, 13, inflate=True)
    expected = torch.tensor([0.046154, 0.069231]).expand(1, 13, 2)
    torch.testing.assert_close(layer.weight[:, :, 0], expected, atol=1e-6, rtol=0)
    after = layer(torch.ones(1, 13, 1, 2))
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(after - bias.view(1, 1, 1, 1), torch.full((1, 1, 1, 1), 1.5))


@pytest.mark.parametrize("channels", [2, 13])
@pytest.mark.parametrize(
    "backbone", ["shufflenet_v2_x0_5", "timm/test_resnet", SMALL, "timm/crossvit_9_240"]
)
def test_the_first_layer_is_inflated_or_random_and_all_else_is_loaded(tmp_path, backbone, channels):
    size = 240 if "crossvit" in backbone else 32
    start, file = net(backbone, size).backbone.state_dict(), tmp_path / "three.safetensors"
    save_file(start, file)
    options = {"weights": str(file), "channels": channels}
    torch.manual_seed(5)
    inflated = net(backbone, size, first_layer="inflated", **options)
    random = net(backbone, size, first_layer="random", **options)
    other = inflated.backbone.state_dict()
    widened = [name for name in start if other[name].shape != start[name].shape]
    assert len(widened) == (2 if "crossvit" in backbone else 1)
    for name in widened:
        three = start[name].double()
        for channel in range(channels):
            mean = (three[:, 0] + three[:, 1] + three[:, 2]) / 3
            expected = (mean * 3 / channels).float()
            torch.testing.assert_close(other[name][:, channel], expected)
    assert all(torch.equal(other[name], start[name]) for name in start if name not in widened)
    assert not set(widened) & set(inflated.fresh) and set(widened) <= set(random.fresh)
    for name, value in random.backbone.state_dict().items():
        assert (name in random.fresh) != (name in start and torch.equal(value, start[name])), name
    # as a layer of its kind starts: uniform within 1 / sqrt of its inputs
    for name in widened:
        weight = random.backbone.state_dict()[name]
        bound = weight[0].numel() ** -0.5
        assert 0.9 * bound < weight.abs().max() <= bound


def test_without_weights_an_inflated_layer_is_a_random_one():
    random, inflated = (net(channels=4, first_layer=f) for f in ("random", "inflated"))
    pairs = zip(random.parameters(), inflated.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(ValueError, match="first_layer must be random or inflated, got 'inflate'"):
        net(channels=4, first_layer="inflate")
    with pytest.raises(ValueError, match="channels must be positive, got 0"):
        net(channels=0)
    with pytest.raises(ValueError, match="csatv2 has no first convolution of three channels"):
        net("timm/csatv2", 64, channels=4)


# --- Dropped tokens -------------------------------------------------------------------------------


def tokens(model, images):
    """What the first block is given."""
    seen = []
    hook = model.backbone.blocks[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model.features(images)
    hook.remove()
    return seen[0].detach()


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.5, 32), (0.75, 16), (0.8, 13), (0.01, 63), (0.999, 1)]
)
def test_so_many_distinct_tokens_and_the_class_token_are_kept(ratio, kept):
    model = net(channels=2)
    images = torch.rand(5, 2, 32, 32)
    whole = tokens(model, images)
    patches = model.backbone.patch_embed(images) + model.backbone.pos_embed[:, 1:]
    torch.testing.assert_close(whole[:, 1:], patches)  # positions are added before
    model.drop_tokens(ratio)
    assert torch.equal(tokens(model, images), whole)  # evaluation sees all
    model.train()
    draws = []
    for _ in range(2):
        some = tokens(model, images)
        assert some.shape == (5, 1 + kept, 48)
        assert torch.equal(some[:, 0], whole[:, 0])
        # which one each is: exactly one of its own image
        same = (some[:, 1:, None] == whole[:, None, 1:]).all(dim=3)
        assert (same.sum(dim=2) == 1).all() and (same.sum(dim=1) <= 1).all()
        draws.append(same.any(dim=1))
    if 1 < kept < 60:
        assert len({tuple(row.tolist()) for draw in draws for row in draw}) == 10


def test_each_token_is_as_likely_kept_as_another():
    model = net()
    model.drop_tokens(0.75)
    model.train()
    dropout = model.backbone.patch_drop
    given = torch.arange(9.0).view(1, 9, 1).expand(4000, 9, 1)
    kept = dropout(given)
    assert kept.shape == (4000, 3, 1)  # 2 of 8, and the first
    share = torch.stack([(kept == i).any(dim=1).float().mean() for i in range(9)])
    assert share[0] == 1 and (share[1:] - 0.25).abs().max() < 0.04  # five standard errors


def test_no_share_restores_the_whole_pass_bit_for_bit_and_copies_are_apart():
    model = net().train()
    images = torch.rand(3, 3, 32, 32)
    before, names = model(images), list(model.state_dict())
    key = copy.deepcopy(model)
    model.drop_tokens(0.5)
    assert not torch.equal(model(images), before)
    assert torch.equal(key(images), before) and list(model.state_dict()) == names
    masked = copy.deepcopy(model)
    model.drop_tokens(0)
    state = torch.get_rng_state()
    assert torch.equal(model(images), before) and torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(masked(images), before)
    masked.eval(), model.eval()
    assert torch.equal(masked(images), model(images))


def test_a_seed_makes_the_draw_and_gradients_reach_what_was_kept():
    model = net().train()
    model.drop_tokens(0.75)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.manual_seed(1)
    z = model(images)
    z[:, 0].sum().backward()
    patches = images.grad.abs().sum(dim=1).unfold(1, 4, 4).unfold(2, 4, 4).sum(dim=(3, 4))
    assert ((patches > 0).sum(dim=(1, 2)) == 16).all()
    torch.manual_seed(1)
    assert torch.equal(model(images), z)


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan")])
def test_a_share_is_in_the_range(ratio):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), got"):
        net().drop_tokens(ratio)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (torchvision.models.mobilenet_v3_small, "a MobileNetV3 of torchvision"),
        (lambda: timm.create_model("test_resnet"), "a ResNet of timm"),
        (
            lambda: torchvision.models.VisionTransformer(32, 16, 1, 1, 8, 8),
            "a VisionTransformer of torchvision",
        ),
    ],
)
def test_what_cannot_drop_tokens_says_what_can(model, name):
    with pytest.raises(ValueError, match=f"{name} cannot drop tokens.*timm/vit_small_patch14"):
        drop_tokens(model(), 0.5)
