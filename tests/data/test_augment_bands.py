"""Augmentation of any bands, against loops over images, bands and pixels, SciPy and torchvision."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2 import functional as F

from maclcore.data import augment as aug
from maclcore.data import augment_bands as bands_aug
from maclcore.data.archives import RGB
from maclcore.data.augment_bands import augmentation
from maclcore.data.synthetic_sentinel import BANDS, generate

NAMES = (
    *("area", "ratio", "x", "y", "flip_x", "flip_y"),
    *("jitter", "brightness", "contrast", "grey", "blur", "sigma"),
)
OPTICAL, RADAR = slice(0, 13), slice(13, 15)


def neutral(**changes):
    """Numbers that leave an image as it is, but for `changes`."""
    values = dict.fromkeys(NAMES, 0.5)
    values |= {"area": 1.0, "flip_x": 0.9, "flip_y": 0.9, "jitter": 0.9, "grey": 0.9, "blur": 0.9}
    assert len(NAMES) == bands_aug.PARAMETERS and set(changes) <= set(NAMES)
    return torch.tensor([[(values | changes)[name] for name in NAMES]])


@pytest.fixture(scope="module")
def images():
    """Eight drawn images of 32 px in all 15 bands."""
    return torch.from_numpy(generate(8, 32)[0])


def change(images, uniform, bands=BANDS):
    return augmentation(bands).augment(images, uniform)


def near(got, want, atol=1e-4):
    torch.testing.assert_close(got, torch.as_tensor(want, dtype=got.dtype), atol=atol, rtol=0)


def slow(image, numbers, bands):
    """One uint8 image (C, S, S), step by step and band by band."""
    u = dict(zip(NAMES, numbers.tolist(), strict=True))
    side = image.shape[-1]

    def between(low, high, share):
        return low + (high - low) * share

    share = between(0.2, 1, u["area"])
    ratio = math.exp(between(math.log(3 / 4), math.log(4 / 3), u["ratio"]))
    width, height = (side * min(1, math.sqrt(a)) for a in (share * ratio, share / ratio))
    left, top = (side - width) * u["x"], (side - height) * u["y"]
    out = []
    for band in image.double().numpy() / 255:
        window = np.empty((side, side))
        for i, j in np.ndindex(side, side):  # bilinear, at the middles of pixels
            y = top + (i + 0.5) * height / side - 0.5
            x = left + (j + 0.5) * width / side - 0.5
            at_y = np.clip([math.floor(y), math.floor(y) + 1], 0, side - 1)
            at_x = np.clip([math.floor(x), math.floor(x) + 1], 0, side - 1)
            weights = np.outer([1 - y % 1, y % 1], [1 - x % 1, x % 1])
            window[i, j] = (weights * band[np.ix_(at_y, at_x)]).sum()
        window = window[:, ::-1] if u["flip_x"] < 0.5 else window
        out.append(window[::-1] if u["flip_y"] < 0.5 else window)
    radar = [k for k, name in enumerate(bands) if name in ("VV", "VH")]
    optical = [k for k in range(len(bands)) if k not in radar]
    if u["jitter"] < 0.8:
        for k in optical:
            bright = out[k] * between(0.6, 1.4, u["brightness"])
            mean = bright.mean()
            out[k] = mean + between(0.6, 1.4, u["contrast"]) * (bright - mean)
    if u["grey"] < 0.2:
        for sensor in (radar, optical):
            for k, mean in [(k, np.mean([out[j] for j in sensor], axis=0)) for k in sensor]:
                out[k] = mean
    if u["blur"] < 0.5:
        sigma = between(0.1, 2, u["sigma"])
        out = [gaussian_filter(band, sigma, mode="nearest", radius=6) for band in out]
    return np.clip(out, 0, 1)


@pytest.mark.parametrize(
    "bands", [BANDS, BANDS[:13], ("VV", "VH"), ("VH", "B4", "VV", "B8A"), ("B8",)]
)
def test_all_steps_are_those_of_a_loop_over_images_and_bands(images, bands):
    some = images[:, [BANDS.index(band) for band in bands], :14, :14]
    uniform = augmentation(bands).draw(8, seed=1, epoch=0)
    uniform[:4, 9], uniform[2:6, 10] = 0.1, 0.1  # grey, blur and both: chance draws few
    want = [slow(image, numbers, bands) for image, numbers in zip(some, uniform, strict=True)]
    near(change(some, uniform, bands), np.array(want))


def test_neutral_numbers_change_nothing(images):
    near(change(images, neutral().expand(8, -1)), images / 255)


@pytest.mark.parametrize(("name", "axis"), [("flip_x", 3), ("flip_y", 2)])
def test_flips(images, name, axis):
    near(change(images, neutral(**{name: 0.1}).expand(8, -1)), (images / 255).flip(axis))


def test_a_window_is_torchvisions(images):
    left, top, width, height = 3, 10, 24, 20
    share = (width * height / 32**2 - 0.2) / 0.8
    ratio = math.log(width / height * 4 / 3) / math.log(16 / 9)
    numbers = neutral(area=share, ratio=ratio, x=left / (32 - width), y=top / (32 - height))
    want = F.resized_crop(images / 255, top, left, height, width, [32, 32])
    # torchvision knows nothing beyond the window, so the last pixels differ
    near(change(images, numbers.expand(8, -1))[..., 2:-2, 2:-2], want[..., 2:-2, 2:-2])
    smallest = neutral(area=0.0, ratio=0.5, x=0.0, y=0.0)
    side = 32 * math.sqrt(0.2)
    first = change(images, smallest.expand(8, -1))[..., 0, 0]
    near(first, images[..., 0, 0] / 255)  # a fifth of the image, from its corner on
    matrix = aug.geometry(torch.tensor([[0.0, 0.5, 0, 0, 0.9, 0.9, 0]]), 32, 32, (0.2, 1.0), 0)
    assert matrix[0, 0, 0].item() == pytest.approx(side / 32) and matrix[0, 0, 1] == 0


def test_a_jitter_leaves_radar_alone(images):
    numbers = neutral(jitter=0.79, brightness=1.0, contrast=0.0).expand(8, -1)
    got = change(images, numbers)
    near(got[:, RADAR], (images / 255)[:, RADAR])
    bright = 1.4 * images[:, OPTICAL].double() / 255
    mean = bright.mean(dim=(2, 3), keepdim=True)
    near(got[:, OPTICAL], (mean + 0.6 * (bright - mean)).clamp(0, 1))
    assert (got != images / 255)[:, OPTICAL].any(dim=(2, 3)).all()
    near(change(images, neutral(jitter=0.81, brightness=1.0).expand(8, -1)), images / 255)
    polarised = change(images[:, :2], numbers, ("hh", "HV"))
    near(polarised, images[:, :2] / 255)  # the two other polarisations


def test_spectra_keep_their_shape_in_other_light(images):
    """One factor an image: what a band is of another stays, so that an index such as NDVI does."""
    got = change(images, neutral(jitter=0.1, brightness=0.2).expand(8, -1))[:, OPTICAL]
    near(got, images[:, OPTICAL] / 255 * 0.76)


def test_grey_is_the_mean_of_each_sensor(images):
    pixels = images.double() / 255
    got = change(images, neutral(grey=0.19).expand(8, -1))
    for part in (OPTICAL, RADAR):
        near(got[:, part], pixels[:, part].mean(dim=1, keepdim=True).expand_as(pixels[:, part]))
    near(change(images, neutral(grey=0.21).expand(8, -1)), pixels)
    near(change(images[:, 3:4], neutral(grey=0.0).expand(8, -1), ("B4",)), pixels[:, 3:4])


def test_blur_is_gaussian_and_keeps_what_is_flat(images):
    for share, sigma in ((0.0, 0.1), (0.5, 1.05), (1.0, 2.0)):
        got = change(images, neutral(blur=0.49, sigma=share).expand(8, -1))
        want = gaussian_filter(
            images.double().numpy() / 255, (0, 0, sigma, sigma), mode="nearest", radius=6
        )
        near(got, want)
        near(got, gaussian_filter(images / 255.0, (0, 0, sigma, sigma), mode="nearest"), 5e-3)
    flat = torch.full((1, 15, 9, 5), 100, dtype=torch.uint8)  # smaller than the kernel
    near(change(flat, neutral(blur=0.0, sigma=1.0)), flat / 255)
    sums = bands_aug.smoothing(torch.tensor([0.1, 0.7, 2.0]), 16)
    near(sums.sum(dim=2), torch.ones(3, 16))
    near(sums, sums.flip(1, 2))
    near(change(images, neutral(blur=0.51, sigma=1.0).expand(8, -1)), images / 255)


def test_each_image_has_its_own_numbers(images):
    rule = augmentation(BANDS)
    same = images[:1].expand(40, -1, -1, -1)
    uniform = rule.draw(40, seed=0, epoch=0)
    got = rule.augment(same, uniform)
    assert 0 <= got.min() and got.max() <= 1 and got.dtype == torch.float32
    assert len(torch.unique(got.flatten(1), dim=0)) == 40
    alone = [rule.augment(same[i : i + 1], uniform[i : i + 1]) for i in range(40)]
    near(got, torch.cat(alone), 1e-6)  # and nothing of its neighbours'
    assert torch.equal(same, images[:1].expand(40, -1, -1, -1)), "images are left as they are"


def test_drawn_numbers_depend_on_seed_epoch_and_image_alone():
    rule = augmentation(("VV", "VH"))
    two = rule.draw(9, seed=3, epoch=5, views=2)
    assert two.shape == (9, 24) and rule.parameters == bands_aug.PARAMETERS == 12
    assert torch.equal(rule.draw(9, seed=3, epoch=5), two[:, :12])
    assert torch.equal(rule.draw(4, seed=3, epoch=5), two[:4, :12]), "not on how many there are"
    seen = [rule.draw(9, seed=s, epoch=e) for s in range(3) for e in range(3)]
    seen.append(two[:, 12:])
    for i, one in enumerate(seen):
        assert all(not torch.equal(one, other) for other in seen[:i])


def test_steps_happen_as_often_as_they_say():
    """Read off what is done to images that tell one step from another."""
    n, rule = 4000, augmentation(("B4", "B8"))
    uniform = rule.draw(n, seed=0, epoch=0)
    uniform[:, :6] = neutral()[:, :6]
    dot = torch.zeros(1, 2, 15, 15, dtype=torch.uint8)
    dot[0, 0, 7, 7] = 120
    got = rule.augment(dot.expand(n, -1, -1, -1), uniform)
    grey = (got[:, 1] > 1e-3).flatten(1).any(dim=1)
    assert grey.float().mean() == pytest.approx(0.2, abs=0.02)
    spread = got[:, 0, 7, 9] > got[:, 0, 0, 0] + 1e-4  # two pixels away, from sigma 0.5 on
    assert spread.float().mean() == pytest.approx(0.5 * 1.5 / 1.9, abs=0.03)
    light = got[:, 0].sum(dim=(1, 2)) * 255 / 120 * torch.where(grey, 2, 1)
    plain = (light - 1).abs() < 1e-4
    assert plain.float().mean() == pytest.approx(0.2, abs=0.02)
    factors = light[~plain & ~spread & ~grey]
    assert 0.6 <= factors.min() < 0.63 and 1.37 < factors.max() and factors.std() > 0.1


def test_red_green_and_blue_have_the_augmentation_that_they_had():
    rule = augmentation(RGB)
    assert rule.augment is aug.augment and rule.rule == aug.RULE
    assert rule.parameters == aug.PARAMETERS
    assert torch.equal(
        rule.draw(5, seed=1, epoch=2, views=2), aug.draw(5, seed=1, epoch=2, views=2)
    )
    assert augmentation(list(RGB)).augment is aug.augment
    for others in (("B4", "B3", "B2"), ("blue", "green", "red"), BANDS):
        assert augmentation(others).rule == bands_aug.RULE != aug.RULE


def test_magnitudes_are_those_that_stored_features_were_made_with():
    """Whoever changes one changes `RULE`, and with it what stored features are known by."""
    assert bands_aug.RULE == [
        *("bands 1", (0.2, 1.0), (3 / 4, 4 / 3), 0.8, (0.6, 1.4), (0.6, 1.4)),
        *(0.2, 0.5, (0.1, 2.0)),
    ]
