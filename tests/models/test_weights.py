"""Files of weights: what they are keyed by, what of them fits, and that none of them runs code."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18, resnet50

from maclcore.models.network import RetrievalNet
from maclcore.models.weights import read_weights, weights_content, weights_file, weights_name

#: DINOv2 in small: patches of 14 px, 2 blocks, 3 heads
DINOV2 = "timm/vit_small_patch14_dinov2:depth=2,embed_dim=24,num_heads=3"


def net(backbone, weights, **options):
    torch.manual_seed(0)
    return RetrievalNet(backbone, str(weights), **{"embedding_dim": 16, **options}).eval()


def dinov2(width, depth, patch, channels, positions):
    """Names and shapes of DINOv2's own vision transformer, as SoftCon's files have them."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, positions, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for i in range(depth):
        shapes |= {
            f"blocks.{i}.{name}": shape
            for name, shape in {
                "norm1.weight": (width,),
                "norm1.bias": (width,),
                "attn.qkv.weight": (3 * width, width),
                "attn.qkv.bias": (3 * width,),
                "attn.proj.weight": (width, width),
                "attn.proj.bias": (width,),
                "ls1.gamma": (width,),
                "norm2.weight": (width,),
                "norm2.bias": (width,),
                "mlp.fc1.weight": (4 * width, width),
                "mlp.fc1.bias": (4 * width,),
                "mlp.fc2.weight": (width, 4 * width),
                "mlp.fc2.bias": (width,),
                "ls2.gamma": (width,),
            }.items()
        }
    return {**shapes, "norm.weight": (width,), "norm.bias": (width,)}


def resnet(channels):
    """Names and shapes of SoftCon's ResNet-50: torchvision's, without classifier."""
    with torch.device("meta"):
        state = resnet50().state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if name[:2] != "fc"}
    return {**shapes, "conv1.weight": (64, channels, 7, 7)}


def filled(shapes):
    """Each tensor with one number of its own, which takes no room in a file."""
    return {
        name: torch.tensor(i / 64).expand(shape)
        if shape
        else torch.tensor(i)  # how many batches BatchNorm has seen
        for i, (name, shape) in enumerate(shapes.items())
    }


def drawn(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) / 4 for name, shape in shapes.items()}


# --- The released files of SoftCon ----------------------------------------------------------------


@pytest.mark.parametrize("channels", [13, 2])
@pytest.mark.parametrize("first_layer", ["random", "inflated"])
def test_a_resnet_of_softcon_is_loaded_as_it_is(tmp_path, channels, first_layer):
    file, state = tmp_path / "rn50_softcon.pth", filled(resnet(channels))
    torch.save(state, file)
    model = net("resnet50", file, image_size=64, channels=channels, first_layer=first_layer)
    own = model.backbone.state_dict()
    assert own["conv1.weight"].shape == (64, channels, 7, 7)
    assert own.keys() == state.keys() and all(torch.equal(own[k], state[k]) for k in state)
    assert model.fresh == []  # the file has no classifier, and the network none any more


@pytest.mark.parametrize(
    ("backbone", "width", "channels"),
    [("vit_small_patch14_dinov2", 384, 13), ("vit_base_patch14_dinov2", 768, 2)],
)
def test_a_transformer_of_softcon_is_loaded_as_it_is(tmp_path, backbone, width, channels):
    file, state = tmp_path / "vit14_softcon.pth", filled(dinov2(width, 12, 14, channels, 257))
    torch.save(state, file)
    with torch.device("meta"):  # names and shapes of the whole network, without its 22 M numbers
        whole = RetrievalNet(f"timm/{backbone}", "none", 16, 224, channels).backbone.state_dict()
    del state["mask_token"]
    assert {k: v.shape for k, v in whole.items()} == {k: v.shape for k, v in state.items()}
    if width == 384:
        model = net(f"timm/{backbone}", file, channels=channels)
        own = model.backbone.state_dict()
        assert all(torch.equal(own[k], state[k]) for k in state) and model.fresh == []


def by_hand(state, images, heads):
    """Class token of DINOv2's vision transformer, written down from its paper and names."""
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    grid = images.shape[2] // patch

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    out = []
    for image in images:
        tokens = [state["cls_token"][0, 0]]
        for i in range(grid):
            for j in range(grid):
                square = image[:, patch * i : patch * (i + 1), patch * j : patch * (j + 1)]
                weight = state["patch_embed.proj.weight"]
                tokens.append((weight * square).sum((1, 2, 3)) + state["patch_embed.proj.bias"])
        x = torch.stack(tokens) + state["pos_embed"][0]
        for i in range(2):
            qkv, mixed = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv"), []
            for h in range(heads):
                q, k, v = (
                    qkv[:, part * width + h * width // heads :][:, : width // heads]
                    for part in range(3)
                )
                mixed.append((q @ k.T / (width / heads) ** 0.5).softmax(-1) @ v)
            attended = linear(torch.cat(mixed, dim=1), f"blocks.{i}.attn.proj")
            x = x + state[f"blocks.{i}.ls1.gamma"] * attended
            hidden = linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")
            hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
            x = x + state[f"blocks.{i}.ls2.gamma"] * linear(hidden, f"blocks.{i}.mlp.fc2")
        out.append(norm(x, "norm")[0])
    return torch.stack(out)


@pytest.mark.parametrize("channels", [2, 13])
def test_features_are_the_class_token_of_the_network_that_the_names_mean(tmp_path, channels):
    state = drawn(dinov2(24, 2, 14, channels, 10))
    torch.save(state, tmp_path / "small.pth")
    model = net(DINOV2, tmp_path / "small.pth", image_size=42, channels=channels)
    images = torch.randint(0, 256, (3, channels, 42, 42), dtype=torch.uint8)
    exact = by_hand({k: v.double() for k, v in state.items()}, images.double() / 255, 3)
    torch.testing.assert_close(model.features(images), exact.float(), atol=1e-4, rtol=1e-4)


# --- Positions ------------------------------------------------------------------------------------


def bicubic(old, new):
    """Matrix (new, old) of bicubic resampling that averages where it makes smaller (a = -1/2)."""

    def kernel(x):
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    ratio, rows = old / new, torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        centre = ratio * (i + 0.5)
        for j in range(old):
            rows[i, j] = kernel((j + 0.5 - centre) / max(ratio, 1))
    return rows / rows.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("size", [224, 518, 560])
def test_positions_are_resampled_bicubically_and_the_class_token_keeps_its_own(tmp_path, size):
    state = drawn(dinov2(24, 2, 14, 3, 1 + 37 * 37))
    torch.save(state, tmp_path / "dinov2.pth")
    model, grid = net(DINOV2, tmp_path / "dinov2.pth", image_size=size), size // 14
    table, start = model.backbone.pos_embed.detach(), state["pos_embed"]
    assert table.shape == (1, 1 + grid * grid, 24) and model.fresh == []
    assert torch.equal(table[:, 0], start[:, 0])
    if grid == 37:
        assert torch.equal(table, start)
    rows, square = bicubic(37, grid), start[0, 1:].view(37, 37, 24).double()
    expected = torch.einsum("ai,bj,ijf->abf", rows, rows, square).reshape(grid * grid, 24)
    torch.testing.assert_close(table[0, 1:], expected.float(), atol=1e-5, rtol=1e-4)


def test_positions_that_are_no_square_or_of_another_width_are_refused(tmp_path):
    for positions, width in ((12, 24), (10, 48)):
        state = {"pos_embed": torch.zeros(1, positions, width)}
        save_file(state, tmp_path / "odd.safetensors")
        with pytest.raises(ValueError, match=rf"pos_embed \(1, {positions}, {width}\), expected"):
            net(DINOV2, tmp_path / "odd.safetensors", image_size=42)


# --- What files are keyed by ----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
@pytest.mark.parametrize("under", [None, "state_dict", "model", "teacher"])
def test_tensors_may_lie_under_a_name_and_have_a_prefix(tmp_path, prefix, under):
    state = {f"{prefix}{name}": torch.ones(2) for name in ("a", "b.c")}
    stored = {under: state, "epoch": 3, "optimizer": {"lr": 0.1}} if under else state
    torch.save(stored, tmp_path / "some.pth")
    read = read_weights(tmp_path / "some.pth")
    assert list(read) == ["a", "b.c"] and torch.equal(read["a"], torch.ones(2))


def test_a_prefix_that_only_some_have_stays_and_the_file_is_refused(tmp_path):
    state = {f"backbone.{k}": v for k, v in resnet18().state_dict().items()}
    torch.save({"teacher": {**state, "head.weight": torch.ones(2)}}, tmp_path / "dino.pth")
    assert "backbone.conv1.weight" in read_weights(tmp_path / "dino.pth")
    with pytest.raises(ValueError, match=r"dino.pth does not hold weights of resnet18: 123 of 123"):
        net("resnet18", tmp_path / "dino.pth", image_size=32)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pth_file_is_read_as_a_safetensors_file_is(tmp_path, zipped):
    state = resnet18().state_dict()
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    save_file(state, tmp_path / "a.safetensors")
    a, b = (read_weights(tmp_path / name) for name in ("a.pt", "a.safetensors"))
    assert a.keys() == b.keys() == state.keys()
    assert all(torch.equal(a[k], state[k]) and torch.equal(b[k], state[k]) for k in state)
    del a  # mapped, and closed again, before the folder goes


def test_a_file_for_other_channels_than_the_images_is_refused(tmp_path):
    torch.save(filled(resnet(13)), tmp_path / "b13.pth")
    for channels, first in ((3, (64, 3, 7, 7)), (2, (64, 2, 7, 7))):
        with pytest.raises(ValueError) as error:
            net("resnet50", tmp_path / "b13.pth", image_size=32, channels=channels)
        assert f"conv1.weight (64, 13, 7, 7), expected {first}" in str(error.value)
        assert "1 of 318 tensors do not fit" in str(error.value)


def test_files_are_found_by_name_and_path_and_known_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    for name in ("some.safetensors", "some.pth"):
        (tmp_path / "weights" / name).write_bytes(name.encode())
    assert weights_file("some").name == weights_file("some.safetensors").name == "some.safetensors"
    assert weights_file("some.pth") == tmp_path / "weights" / "some.pth"
    assert weights_name("some.pth") == "some.pth"
    path = str(tmp_path / "weights" / "some.pth")
    assert weights_name(path) == path
    assert weights_content("resnet18", path) == weights_content("timm/test_vit", "some.pth")
    assert weights_content("resnet18", path) != weights_content("resnet18", "some")
    with pytest.raises(FileNotFoundError, match="no weights 'other.pth': .*MACL_DATA"):
        weights_file("other.pth")


# --- Files that would run code --------------------------------------------------------------------


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def write_zipped(value, file):
    torch.save(value, file)


def write_old(value, file):
    torch.save(value, file, _use_new_zipfile_serialization=False)


def write_plain(value, file):
    file.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("write", [write_zipped, write_old, write_plain])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, write):
    mark, file = tmp_path / "ran", tmp_path / "bad.pth"
    write({"conv1.weight": torch.zeros(64, 3, 7, 7), "x": Malicious(str(mark))}, file)
    with pytest.raises(ValueError, match=r"bad.pth .* is not unpickled, since that can run code"):
        net("resnet18", file, image_size=32)
    assert not mark.exists()
    # it is what it is taken for: an unsafe unpickler runs it
    if write is write_plain:
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert mark.exists()


def test_what_a_refused_file_asks_for_is_named(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"whole.pth asks for torch.nn.modules.linear.Linear: .*"):
        read_weights(tmp_path / "whole.pth")
    torch.save({"args": Path("/"), "model": {"a": torch.ones(1)}}, tmp_path / "args.pth")
    with pytest.raises(ValueError, match=r"args.pth asks for pathlib\S*: .* state_dict\(\) alone"):
        read_weights(tmp_path / "args.pth")


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04" + bytes(99)])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(ValueError, match="broken.pth is damaged, or no file of torch.save"):
        read_weights(tmp_path / "broken.pth")


@pytest.mark.parametrize("stored", [torch.ones(2), {"a": 1}, {1: torch.ones(1)}, [1], {"model": 1}])
def test_a_file_of_other_than_named_tensors_is_an_error(tmp_path, stored):
    torch.save(stored, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth does not hold tensors by name"):
        read_weights(tmp_path / "other.pth")
