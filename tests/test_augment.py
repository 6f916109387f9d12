import math

import pytest
import torch

from maclcore.data import augment as aug
from maclcore.data.sampler import shuffled


def neutral(**changes: float) -> torch.Tensor:
    """Numbers that leave an image as it is, but for `changes`."""
    names = (
        "area", "ratio", "x", "y", "flip_x", "flip_y", "angle",
        "brightness", "contrast", "saturation", "hue",
    )  # fmt: skip
    values = dict.fromkeys(names, 0.5) | {"area": 1.0, "flip_x": 0.9, "flip_y": 0.9} | changes
    assert len(names) == aug.PARAMETERS
    return torch.tensor([[values[name] for name in names]])


@pytest.fixture
def image():
    return torch.randint(0, 256, (1, 3, 20, 20), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def test_neutral_numbers_change_nothing(image):
    torch.testing.assert_close(aug.augment(image, neutral()), image / 255, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "axis"), [("flip_x", 3), ("flip_y", 2)])
def test_flips(image, name, axis):
    flipped = aug.augment(image, neutral(**{name: 0.1}))
    torch.testing.assert_close(flipped, (image / 255).flip(axis), atol=1e-4, rtol=0)


def test_crop_is_the_named_window(image):
    # area 0.5625 of a square is a window of 0.75 a side; x = y = 0 puts it at the top left
    area = (0.5625 - aug.CROP_AREA[0]) / (aug.CROP_AREA[1] - aug.CROP_AREA[0])
    got = aug.augment(image, neutral(area=area, x=0.0, y=0.0))
    window = torch.nn.functional.interpolate(
        image[:, :, :15, :15] / 255, size=20, mode="bilinear", align_corners=False
    )
    # the last row and column see pixels outside the window
    torch.testing.assert_close(got[..., :18, :18], window[..., :18, :18], atol=1e-4, rtol=0)


def test_rotation_turns_by_the_named_angle():
    line = torch.zeros(1, 3, 65, 65, dtype=torch.uint8)
    line[:, :, 32, :] = 255
    got = aug.augment(line, neutral(angle=1.0))[0, 0]
    rows = torch.arange(65.0)
    left, right = ((got[:, c] * rows).sum() / got[:, c].sum() for c in (10, 54))
    angle = math.degrees(math.atan2(abs(right - left), 44))
    assert angle == pytest.approx(aug.ROTATION, abs=0.5)


def test_colour_against_plain_arithmetic(image):
    pixels = image / 255
    got = aug.augment(image, neutral(brightness=1.0))
    torch.testing.assert_close(got, (pixels * (1 + aug.BRIGHTNESS)).clamp(max=1), atol=1e-4, rtol=0)
    grey = (pixels * torch.tensor(aug.LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    s = 1 - aug.SATURATION
    got = aug.augment(image, neutral(saturation=0.0))
    torch.testing.assert_close(got, s * pixels + (1 - s) * grey, atol=1e-4, rtol=0)
    c = 1 - aug.CONTRAST
    got = aug.augment(image, neutral(contrast=0.0))
    torch.testing.assert_close(got, c * pixels + (1 - c) * grey.mean(), atol=1e-4, rtol=0)


def test_hue_keeps_grey_and_moves_colour():
    grey = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    torch.testing.assert_close(aug.augment(grey, neutral(hue=1.0)), grey / 255, atol=1e-4, rtol=0)
    red = grey.clone()
    red[:, 0] = 200
    assert (aug.augment(red, neutral(hue=1.0)) - red / 255).abs().max() > 0.02


def test_each_image_has_its_own_parameters_and_does_not_depend_on_its_batch():
    images = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8).expand(6, -1, -1, -1)
    uniform = aug.draw(6, seed=0, epoch=0)
    together = aug.augment(images, uniform)
    assert all((together[i] - together[j]).abs().max() > 0.01 for i in range(6) for j in range(i))
    alone = torch.cat([aug.augment(images[i : i + 1], uniform[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


def test_draws_and_order_are_functions_of_seed_and_epoch_alone():
    assert torch.equal(aug.draw(5, seed=1, epoch=2), aug.draw(5, seed=1, epoch=2))
    assert torch.equal(aug.draw(5, seed=1, epoch=2), aug.draw(9, seed=1, epoch=2)[:5])
    drawn = [aug.draw(5, seed=s, epoch=e) for s in range(3) for e in range(3)]
    orders = [shuffled(50, 10, seed=s, epoch=e) for s in range(3) for e in range(3)]
    for i in range(9):
        for j in range(i):
            assert not torch.equal(drawn[i], drawn[j])
            assert not torch.equal(orders[i], orders[j])
    assert torch.equal(shuffled(50, 10, seed=1, epoch=2), shuffled(50, 10, seed=1, epoch=2))


@pytest.mark.parametrize(
    ("n", "size", "shape"), [(50, 10, (5, 10)), (57, 10, (5, 10)), (7, 10, (1, 7))]
)
def test_batches_are_full_and_visit_an_image_at_most_once(n, size, shape):
    batches = shuffled(n, size, seed=0, epoch=0)
    assert batches.shape == shape and len(set(batches.flatten().tolist())) == batches.numel()
