"""Batched augmentation of images of any bands, each image with its own parameters.

Steps and magnitudes are those that DeCUR trains with on SSL4EO-S12, whose data SoftCon has too
(SoftCon's own are not published), but for solarising: its threshold is not known to us. Bytes are
stretched decibels or reflectances; what would make light brighter means nothing for a radar.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maclcore.data import augment as colours
from maclcore.data.archives import RGB

CROP_AREA = (0.2, 1.0)  # of the image's area
JITTER, BRIGHTNESS, CONTRAST = 0.8, (0.6, 1.4), (0.6, 1.4)  # how often, and factors
GREY = 0.2  # how often
BLUR, SIGMA = 0.5, (0.1, 2.0)  # how often, and pixels
RADAR = {"VV", "VH", "HH", "HV"}  # its polarisations: neither brightness nor contrast

#: what `augment` does, for whoever stores what it made
RULE = ["bands 1", CROP_AREA, colours.CROP_RATIO, JITTER, BRIGHTNESS, CONTRAST, GREY, BLUR, SIGMA]

PARAMETERS = 12  # uniform numbers an image consumes


class Augmentation(NamedTuple):
    """How the images of an archive are augmented; `rule` is for whoever stores what it made."""

    parameters: int  #: uniform numbers an image consumes
    rule: list
    augment: Callable[[Tensor, Tensor], Tensor]  #: as `augment.augment`

    def draw(self, n: int, *, seed: int, epoch: int, views: int = 1) -> Tensor:
        """(n, views * parameters), as `augment.draw`."""
        return colours.draw(n, seed=seed, epoch=epoch, views=views, parameters=self.parameters)


def augmentation(bands: Sequence[str]) -> Augmentation:
    """That of `maclcore.data.augment` for red, green and blue; for other bands that of here."""
    if tuple(bands) == RGB:
        return Augmentation(colours.PARAMETERS, colours.RULE, colours.augment)
    return Augmentation(PARAMETERS, RULE, partial(augment, bands=tuple(bands)))


def augment(images: Tensor, uniform: Tensor, bands: Sequence[str]) -> Tensor:
    """Augmented float images in [0, 1] from uint8 (N, C, H, W) and uniform numbers (N, PARAMETERS).

    In order: random resized crop and flips, brightness, contrast, grey, blur. `bands` are the names
    of the C channels.
    """
    place = F.pad(uniform[:, :6], (0, 1))  # without an angle
    moved = colours.move(images.float() / 255, place, area=CROP_AREA, rotation=0)
    matrix, shift = colour(uniform[:, 6:10], moved, bands)
    coloured = torch.baddbmm(shift, matrix, moved.flatten(2)).view_as(moved)
    return blur(coloured, uniform[:, 10:]).clamp_(0, 1)


def colour(u: Tensor, images: Tensor, bands: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Matrices between channels (N, C, C) and shifts (N, C, 1) from u (N, 4).

    Brightness and contrast have a factor for each image, not for each band, so that spectra keep
    their shape; contrast is about each channel's own mean. Grey is the mean of a sensor's bands.
    """
    radar = torch.tensor([band.upper() in RADAR for band in bands], device=u.device)
    jittered = (u[:, :1] < JITTER) & ~radar  # (N, C)
    brightness = torch.where(jittered, _between(*BRIGHTNESS, u[:, 1:2]), 1.0)
    contrast = torch.where(jittered, _between(*CONTRAST, u[:, 2:3]), 1.0)
    shift = brightness * (1 - contrast) * images.mean(dim=(2, 3))
    together = (radar[:, None] == radar).float()  # channels of one sensor
    mean = together / together.sum(dim=1)
    grey = (u[:, 3] < GREY).view(-1, 1, 1)
    mix = torch.where(grey, mean, torch.eye(len(bands), device=u.device))
    return mix * (brightness * contrast).unsqueeze(1), mix @ shift.unsqueeze(2)


def blur(images: Tensor, u: Tensor) -> Tensor:
    """`images` (N, C, H, W), of which those that u (N, 2) chooses are blurred, in place."""
    rows = (u[:, 0] < BLUR).nonzero()[:, 0]  # blurring none of the others halves the time
    sigma = _between(*SIGMA, u[rows, 1])
    down, across = (smoothing(sigma, side).unsqueeze(1) for side in images.shape[2:])
    images[rows] = down @ images[rows] @ across.mT
    return images


def smoothing(sigma: Tensor, side: int) -> Tensor:
    """(N, side, side) matrices that blur a column of `side` pixels by each of `sigma` (N,).

    Gaussian weights to three times the largest sigma; beyond the border the last pixel goes on.
    """
    reach = math.ceil(3 * SIGMA[1])
    steps = torch.arange(-reach, reach + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    pixels = torch.arange(side, device=sigma.device)
    source = (pixels + steps[:, None]).clamp(0, side - 1)  # of each step and pixel
    # a product, where scattering would add in any order on a GPU
    return (weights @ (source[..., None] == pixels).float().flatten(1)).view(-1, side, side)


def _between(low: float, high: float, u: Tensor) -> Tensor:
    return low + (high - low) * u
