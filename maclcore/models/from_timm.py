"""Backbones of timm: "timm/NAME", or with other dimensions "timm/NAME:depth=6,patch_size=4".

timm takes a second to import, so that this module is imported where one of them is asked for.
"""

import difflib
from typing import Any

import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models import VisionTransformer, create_model, get_pretrained_cfg, is_model, list_models
from torch import Tensor, nn

Model = Any  #: an nn.Module, of whose attributes its type says nothing

PREFIX = "timm/"
#: what a name may change of a model, so that a transformer suits small images
SETTINGS = ("depth", "embed_dim", "num_heads", "patch_size")


def known(backbone: str) -> str:
    """`backbone`, if timm has it; else a ValueError that names the nearest, or the setting."""
    name, _ = _parsed(backbone)
    if not is_model(name):
        close = difflib.get_close_matches(name, list_models(), n=1, cutoff=0.5)
        hint = f"did you mean '{PREFIX}{close[0]}'?" if close else "timm.list_models() has them all"
        raise ValueError(f"unknown backbone {backbone!r}; {hint}")
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag, after the point
        raise ValueError(f"unknown backbone {backbone!r}: {error}") from error
    return backbone


def content(backbone: str) -> str:
    """The name and tag of the weights that "imagenet" stands for, timm's default for the model.

    ValueError if there are none, or if the model was given other dimensions.
    """
    name, settings = _parsed(known(backbone))
    stored = get_pretrained_cfg(name)
    if settings or stored is None or not stored.has_weights:
        raise ValueError(
            f"timm has no weights for {backbone}: give a file by weights=FILE, or weights=none for "
            "random ones"
        )
    return f"{PREFIX}{stored.architecture}.{stored.tag}"


def build(backbone: str, weights: str, image_size: int) -> Model:
    """The model with its classifier: weights "imagenet", "none", or a file's, loaded later.

    Position tables of downloaded weights are resampled for the size, bicubically.
    """
    pretrained = weights == "imagenet" and bool(content(backbone))
    name, options = _parsed(backbone)
    stored = get_pretrained_cfg(name)
    if stored is not None and stored.fixed_input_size:
        options["img_size"] = image_size
    try:
        model = create_model(name, pretrained=pretrained, **options)
    except OSError as error:
        raise OSError(
            f"the weights of {backbone} cannot be downloaded ({str(error).splitlines()[0]}): "
            "connect once, or give a file by weights=FILE, or weights=none for random ones"
        ) from error
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{backbone} cannot be built for images of {image_size} px "
            f"({str(error).splitlines()[0]})"
        ) from error
    patches = getattr(model, "patch_embed", None)
    if isinstance(patches, PatchEmbed) and any(image_size % side for side in patches.patch_size):
        raise ValueError(
            f"{backbone} takes no images of {image_size} px: its patches have "
            f"{patches.patch_size[0]} px, which do not divide {image_size}"
        )
    return model


def fitted(state: dict[str, Tensor], model: Model) -> dict[str, Tensor]:
    """A file's tensors as `model` names them, its position table resampled to the model's grid.

    timm has kept the names of DINO and DINOv2 but for the mask token, which only their training
    used. The table is resampled bicubically, and the class token keeps its position.
    """
    own = model.state_dict()
    state = {name: value for name, value in state.items() if name in own or name != "mask_token"}
    table = state.get("pos_embed")
    if table is not None and isinstance(model, VisionTransformer) and table.ndim == 3:
        before = 0 if model.no_embed_class else model.num_prefix_tokens
        patches = table.shape[1] - before
        if patches > 0 and int(patches**0.5) ** 2 == patches:
            grid = model.patch_embed.grid_size
            state["pos_embed"] = resample_abs_pos_embed(table, grid, num_prefix_tokens=before)
    return state


def first_layers(model: Model) -> list[str]:
    """Names of the layers that see the image."""
    names = model.pretrained_cfg["first_conv"] or []
    return [names] if isinstance(names, str) else list(names)


def statistics(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the three channels that `model` is made for."""
    return tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])


def remove_classifier(model: Model, backbone: str) -> int:
    """Leave the classifier out, so that pooled features come out; their width."""
    model.reset_classifier(0)
    return model.head_hidden_size


class TokenDropout(nn.Module):
    """In training, a random part of the patches (Wang et al., SoftCon 2024: Siamese masking).

    Of T patches T - round(ratio T) stay, at least one, drawn anew for each image and step; the
    `prefix` first tokens, such as the class token, always stay. Unlike timm's own PatchDropout
    the count is exact: that one keeps 1 of 10 patches at a ratio of 0.8.
    """

    def __init__(self, ratio: float, prefix: int) -> None:
        super().__init__()
        self.ratio, self.prefix = ratio, prefix

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, prefix + T, F), positions added, to (N, prefix + kept, F)."""
        if not self.training:
            return tokens
        first, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        n, t, f = patches.shape
        keep = max(1, t - round(self.ratio * t))
        drawn = torch.rand(n, t, device=tokens.device).argsort(dim=1)[:, :keep]
        return torch.cat([first, patches.gather(1, drawn[:, :, None].expand(-1, -1, f))], dim=1)


def drop_tokens(model: Model, ratio: float) -> None:
    """Let a vision transformer drop that share of its patches, as `RetrievalNet.drop_tokens`."""
    if not 0 <= ratio < 1:
        raise ValueError(f"the share of tokens to drop must be in [0, 1), got {ratio}")
    if not isinstance(model, VisionTransformer):
        raise ValueError(
            f"a {type(model).__name__} of {type(model).__module__.partition('.')[0]} cannot drop "
            "tokens: a convolutional network has none; vision transformers of timm can, such as "
            f"{PREFIX}vit_small_patch14_dinov2"
        )
    dropout = TokenDropout(ratio, model.num_prefix_tokens) if ratio else nn.Identity()
    model.set_submodule("patch_drop", dropout.train(model.training))


def _parsed(backbone: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of "timm/NAME:setting=number,…"."""
    name, _, text = backbone.removeprefix(PREFIX).partition(":")
    settings: dict[str, Any] = {}
    for part in text.split(",") if text else ():
        key, _, value = part.partition("=")
        if key not in SETTINGS or not value.isdecimal() or not int(value):
            raise ValueError(
                f"backbone {backbone!r}: {part!r} is not a setting; after the colon "
                f"{', '.join(SETTINGS)} may be given, as in {PREFIX}{name}:depth=6,patch_size=8"
            )
        settings[key] = int(value)
    return name, settings
