"""Batched augmentation (§4.2, Figs. 4–6) in which every image has its own parameters.

torchvision's v2 transforms draw one set of parameters for a whole batch; here one resampling does
crop, flips and rotation, and one colour matrix does the jitter.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# The paper names the five augmentations and gives no magnitude: these are ours.
CROP_AREA = (0.5, 1.0)  # of the image's area
CROP_RATIO = (3 / 4, 4 / 3)  # width / height
ROTATION = 10.0  # degrees, either way
BRIGHTNESS = CONTRAST = SATURATION = 0.2  # factors in 1 ± this
HUE = 0.02  # of the colour circle, either way

#: what `augment` does, for whoever stores what it made
RULE = [1, CROP_AREA, CROP_RATIO, ROTATION, BRIGHTNESS, CONTRAST, SATURATION, HUE]

PARAMETERS = 11  # uniform numbers an image consumes
LUMA = (0.299, 0.587, 0.114)


def draw(n: int, *, seed: int, epoch: int, views: int = 1, parameters: int = PARAMETERS) -> Tensor:
    """Uniform numbers (n, views * parameters), row i for image i and `parameters` columns a view.

    A pure function of (seed, epoch, i); the first view's are the same however many there are.
    """
    generator = torch.Generator().manual_seed(_mix(seed, epoch))
    return torch.cat([torch.rand(n, parameters, generator=generator) for _ in range(views)], dim=1)


def augment(images: Tensor, uniform: Tensor) -> Tensor:
    """Augmented float images in [0, 1] from uint8 (N, 3, H, W) and `draw`'s rows (N, PARAMETERS).

    In order: random resized crop, flips, rotation (reflected at the border), brightness,
    contrast, saturation, hue.
    """
    moved = move(images.float() / 255, uniform[:, :7])
    matrix, shift = colour(uniform[:, 7:], moved)
    return torch.baddbmm(shift, matrix, moved.flatten(2)).clamp_(0, 1).view_as(moved)


def move(images: Tensor, u: Tensor, area: tuple = CROP_AREA, rotation: float = ROTATION) -> Tensor:
    """Windows (N, C, H, W) of float images (N, C, H, W), by u (N, 7) as in `geometry`."""
    grid = F.affine_grid(
        geometry(u, *images.shape[2:], area, rotation), list(images.shape), align_corners=False
    )
    # reflection: a rotated window may reach over the border by a few pixels
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def geometry(
    u: Tensor,
    height: int,
    width: int,
    area: tuple = CROP_AREA,
    rotation: float = ROTATION,
) -> Tensor:
    """(N, 2, 3) matrices from output to input coordinates (both in [−1, 1]) from u (N, 7).

    `area`: least and largest share of the image; `rotation`: largest angle in degrees.
    A window wider or higher than the image, 26 % of those drawn, is cut to it (torchvision: draws
    again; ours keeps a row of numbers an image): the mean of 0.5–1 is 0.74 then, not 0.69.
    """
    share = area[0] + (area[1] - area[0]) * u[:, 0]
    low, high = math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])
    ratio = torch.exp(low + (high - low) * u[:, 1])
    sx, sy = (share * ratio).sqrt().clamp(max=1), (share / ratio).sqrt().clamp(max=1)
    tx, ty = (1 - sx) * (2 * u[:, 2] - 1), (1 - sy) * (2 * u[:, 3] - 1)
    flip_x, flip_y = 1 - 2 * (u[:, 4] < 0.5).float(), 1 - 2 * (u[:, 5] < 0.5).float()
    angle = math.radians(rotation) * (2 * u[:, 6] - 1)
    cos, sin, aspect = angle.cos(), angle.sin(), width / height
    rows = (
        torch.stack([sx * flip_x * cos, -sx * flip_y * sin / aspect, tx], 1),
        torch.stack([sy * flip_x * sin * aspect, sy * flip_y * cos, ty], 1),
    )
    return torch.stack(rows, 1)


def colour(u: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Colour matrices (N, 3, 3) and shifts (N, 1, 1) from u (N, 4); grey stays grey."""
    brightness = 1 + BRIGHTNESS * (2 * u[:, 0] - 1)
    contrast = 1 + CONTRAST * (2 * u[:, 1] - 1)
    saturation = (1 + SATURATION * (2 * u[:, 2] - 1)).view(-1, 1, 1)
    turn = 2 * math.pi * HUE * (2 * u[:, 3] - 1)
    luma = images.new_tensor(LUMA)
    grey = luma.expand(3, 3)
    identity = torch.eye(3, device=images.device)
    # Rodrigues' rotation about the grey axis
    axis = images.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = turn.cos().view(-1, 1, 1), turn.sin().view(-1, 1, 1)
    hue = cos * identity + sin * axis + (1 - cos) / 3
    matrix = (brightness * contrast).view(-1, 1, 1) * (
        (saturation * identity + (1 - saturation) * grey) @ hue
    )
    mean = images.mean(dim=(2, 3)) @ luma
    shift = brightness * (1 - contrast) * mean
    return matrix, shift.view(-1, 1, 1)


def _mix(seed: int, epoch: int) -> int:
    """One generator seed from two numbers; neighbours give unrelated streams."""
    return (seed * 1_000_003 + epoch * 7_919 + 0x5EED) % 2**63
