"""The network of the paper (§4.2): a backbone and a two-layer projection head."""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maclcore.models.backbones import build


class Head(nn.Sequential):
    """Features (N, F) to unit embeddings (N, D), float32 whatever the autocast."""

    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, embedding_dim)
        )
        for layer in (self[0], self[2]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(super().forward(features).float(), dim=1)

    @torch.no_grad()
    def stretch(self, by: Tensor) -> None:
        """Multiply the columns of its embeddings by (D,), before they are made unit rows."""
        self[2].weight.mul_(by[:, None])
        self[2].bias.mul_(by)


class LabelHead(nn.Sequential):
    """Features (N, F) to a logit a label (N, L): standardised, Linear-ReLU-Linear, float32.

    `mean` and `spread` (F,) of the features are buffers, 0 and 1 until they are set.
    """

    def __init__(self, width: int, labels: int, hidden: int = 512) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, labels))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def hidden(self, features: Tensor) -> Tensor:
        """(N, 512): what the last layer tells labels by."""
        return self[1](self[0]((features - self.mean) / self.spread)).float()

    def forward(self, features: Tensor) -> Tensor:
        return self[2](self.hidden(features)).float()


class HiddenHead(LabelHead):
    """A `LabelHead` of which the last layer is not asked: features (N, F) to (N, 512)."""

    forward = LabelHead.hidden


class RetrievalNet(nn.Module):
    """Images to unit embeddings: backbone, global pooling, Linear-ReLU-Linear, L2 norm.

    backbone: a classification model of torchvision, or one of timm, timm/vit_small_patch14_dinov2;
        its last layer is replaced by the head. Of a transformer of timm depth, embed_dim,
        num_heads and patch_size may be set, for small images:
        timm/vit_tiny_patch16_224:depth=6,patch_size=8.
    weights: "imagenet" (the library's default, downloaded once), "none", or a file in the library's
        naming, by path or by name in the data folder's `weights/`: safetensors, or a .pth or .pt
        of tensors alone (`read_weights`). A file may be partial: `fresh` lists what it lacks, and
        residual branches it lacks start at zero, so that a ResNet computes the features of the
        layers that it does have. A transformer's table of positions is resampled to its patches.
    embedding_dim: D.
    channels: of the images. The mean and standard deviation of three are those that the backbone
        is made for, ImageNet's with torchvision; other numbers are only divided by 255.
    first_layer: for other than three channels, unless a file has a first layer for them: "random",
        as a layer of its kind starts, or "inflated", which spreads the mean of three loaded ones
        over the channels (`set_channels`). Where nothing is loaded it is random.

    ValueError for an unknown backbone, weights that do not fit, and an image size that the
    patches do not divide; OSError for weights that are not here and cannot be downloaded.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        weights: str = "imagenet",
        embedding_dim: int = 256,
        image_size: int = 224,
        channels: int = 3,
        first_layer: str = "random",
    ) -> None:
        super().__init__()
        self.channels = channels
        built = build(backbone, weights, image_size, channels, first_layer)
        self.backbone, self.fresh = built.module, built.fresh
        self.head = Head(built.width, embedding_dim)
        for name, values in (("mean", built.mean), ("std", built.std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (N, F) of images (N, channels, H, W): uint8, or float in [0, 1].

        A vision transformer of timm gives its class token after the last norm, or what it pools.
        """
        if images.dtype == torch.uint8:
            images = images.float() / 255
        return self.backbone((images - self.mean) / self.std)

    def project(self, features: Tensor) -> Tensor:
        """Features (N, F) to unit embeddings (N, D)."""
        return self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.project(self.features(images))

    def drop_tokens(self, ratio: float) -> None:
        """Let the backbone drop that share of its tokens in training; 0: see all of them again.

        ratio: in [0, 1). Which ones is drawn anew for each image and step, after positions are
        added; the class token stays, and evaluation sees all. ValueError for another ratio, and
        for a backbone without tokens.
        """
        from maclcore.models.from_timm import drop_tokens  # timm takes a second to import

        drop_tokens(self.backbone, ratio)


def synchronised(model: RetrievalNet) -> RetrievalNet:
    """Let BatchNorm count the images of all processes: its statistics become those of the batch.

    By timm's function, since its own layers of this kind apply an activation, too, which torch's
    would leave out.
    """
    from timm.layers import convert_sync_batchnorm  # timm takes a second to import

    return convert_sync_batchnorm(model)


@torch.no_grad()
def check_size(model: RetrievalNet, backbone: str, image_size: int) -> None:
    """ValueError if `model` takes no images of that size; leaves its state as it is."""
    training, device = model.training, next(model.parameters()).device
    try:
        model.eval()(torch.zeros(1, model.channels, image_size, image_size, device=device))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"{backbone} takes no images of {image_size} px ({str(error).splitlines()[0]}): "
            "choose another image_size, or another backbone"
        ) from error
    finally:
        model.train(training)


def resolve_precision(precision: str, device: torch.device, image_size: int) -> str:
    """What "auto" means here: bf16 where the hardware multiplies it (AMX, AVX-512), else fp32.

    Small images do not fill those units: on two cores with AMX, bf16 gains nothing at 32 px.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast and image_size >= 48 else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
