import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from maclcore.evaluation.embedding import embed
from maclcore.models.network import RetrievalNet, resolve_precision


def net(**options):
    torch.manual_seed(0)
    return RetrievalNet(**{"weights": "none", "embedding_dim": 16, **options}).eval()


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("squeezenet1_1", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("googlenet", 1024),
        ("vit_b_16", 768),
    ],
)
def test_any_classifier_of_torchvision_gives_features_and_unit_embeddings(backbone, width):
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization of GoogleNet")
        model = net(backbone=backbone, image_size=64)
    images = torch.rand(2, 3, 64, 64)
    features = model.features(images)
    assert features.shape == (2, width)
    z = model(images)
    assert z.shape == (2, 16)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(2))


def test_features_are_those_of_the_plain_torchvision_network():
    model = net()
    plain = resnet18(weights=None).eval()
    plain.load_state_dict(model.backbone.state_dict(), strict=False)
    plain.fc = torch.nn.Identity()
    images = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(model.features(images), plain((images / 255 - mean) / std))


def test_a_partial_file_says_what_stayed_fresh_and_passes_features_through(tmp_path):
    source = resnet18(weights=None)
    kept = {
        name: value
        for name, value in source.state_dict().items()
        if not name.startswith("fc") and not (name.startswith("layer4") and "conv" in name)
        and not (name.startswith("layer4") and ".bn" in name)
    }  # fmt: skip
    file = tmp_path / "partial.safetensors"
    save_file(kept, file)
    model = net(weights=str(file))
    assert set(model.fresh) == set(model.backbone.state_dict()) - set(kept)
    # what is missing starts at zero: layer 4 passes on what its shortcuts make of layer 3
    source.eval()
    x = torch.rand(2, 3, 64, 64)
    images = (x - model.mean) / model.std
    for stage in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
        images = getattr(source, stage)(images)
    shortcut = source.layer4[0].downsample(images).relu()
    torch.testing.assert_close(model.features(x), shortcut.mean(dim=(2, 3)))


def test_weights_are_found_by_name_in_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    state = resnet18(weights=None).state_dict()
    save_file(state, tmp_path / "weights" / "mine.safetensors")
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    model = net(weights="mine")
    assert model.fresh == []
    assert torch.equal(model.backbone.conv1.weight, state["conv1.weight"])


def test_wrong_weights_are_errors_that_name_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MACL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no weights 'imagnet'.*use 'imagenet'"):
        net(weights="imagnet")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=r"broken.safetensors is not a readable safetensors file"):
        net(weights=str(broken))
    other = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(3), "what": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match=r"other.safetensors does not hold weights of resnet18"):
        net(weights=str(other))
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        net(backbone="resnt18")


def test_embeddings_do_not_depend_on_the_batch_and_follow_the_index():
    model = net()
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8).numpy()
    z, h = embed(model, images, batch_size=7)
    z2, h2 = embed(model, images, batch_size=2)
    torch.testing.assert_close(z, z2, atol=1e-5, rtol=1e-4)
    picked, _ = embed(model, images, [5, 1])
    torch.testing.assert_close(picked, z[[5, 1]], atol=1e-5, rtol=1e-4)
    assert h.shape == (7, 512) and z.shape == (7, 16) and not model.training


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_an_embedding_is_that_of_plain_steps_and_keeps_no_graph(device):
    model = net()
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    z, h = embed(model.train(), images.numpy(), device=device)
    with torch.no_grad():
        expected = model(images / 255)
    torch.testing.assert_close(z, expected, atol=1e-5, rtol=1e-4)
    assert z.dtype == h.dtype == torch.float32 and z.device.type == "cpu"
    assert not z.requires_grad and not h.requires_grad

    # each image with the numbers of its own row, however they are divided
    def darker(pixels, index):
        return pixels / 255 * (index > 0).view(-1, 1, 1, 1)

    moved, _ = embed(model, images, [3, 0, 4], batch_size=2, transform=darker)
    torch.testing.assert_close(moved[[0, 2]], z[[3, 4]], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(moved[1], z[0], atol=1e-3)


def test_bf16_embeddings_are_those_of_fp32_up_to_rounding():
    model = net()
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    full, _ = embed(model, images)
    half, _ = embed(model, images, precision="bf16")
    assert half.dtype == torch.float32
    assert (full * half).sum(1).min() > 0.998  # cosine; bf16 keeps 8 bits
    assert not torch.equal(full, half)


def test_auto_precision_is_resolved_once_and_an_explicit_one_is_obeyed():
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu, 32) == "fp32"
    assert resolve_precision("bf16", cpu, 32) == "bf16"
    assert resolve_precision("auto", cpu, 64) in ("bf16", "fp32")
