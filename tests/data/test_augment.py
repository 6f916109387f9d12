import math

import numpy as np
import pytest
import torch
from matplotlib.colors import rgb_to_hsv
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from maclcore.data import augment as aug
from maclcore.data import synthetic
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


def test_colours_beyond_white_and_black_are_cut():
    black, white = (torch.full((1, 3, 8, 8), value, dtype=torch.uint8) for value in (10, 245))
    image = torch.cat([black[..., :4], white[..., 4:]], dim=3)
    got = aug.augment(image, neutral(contrast=1.0, brightness=1.0))
    assert got.min() == 0 and got.max() == 1  # 1.2 times away from the mean, and brighter
    numbers = aug.draw(40, seed=0, epoch=0)
    drawn = aug.augment(image.expand(40, -1, -1, -1), numbers)
    assert 0 <= drawn.min() and drawn.max() <= 1 and drawn.dtype == torch.float32


def test_magnitudes_are_those_that_stored_features_were_made_with():
    """Whoever changes one changes `RULE`, and with it what stored features are known by."""
    assert (aug.CROP_AREA, aug.CROP_RATIO, aug.ROTATION) == ((0.5, 1.0), (3 / 4, 4 / 3), 10.0)
    assert (aug.BRIGHTNESS, aug.CONTRAST, aug.SATURATION, aug.HUE) == (0.2, 0.2, 0.2, 0.02)
    assert aug.RULE == [1, (0.5, 1.0), (3 / 4, 4 / 3), 10.0, 0.2, 0.2, 0.2, 0.02]
    assert aug.LUMA == (0.299, 0.587, 0.114)  # BT.601


@pytest.mark.parametrize(("height", "width"), [(24, 48), (50, 20)])
def test_an_image_that_is_no_square_is_turned_and_flipped_without_distortion(height, width):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (2, 3, height, width), generator=generator).to(torch.uint8)
    for share in (0.0, 0.7, 1.0):
        angle = aug.ROTATION * (2 * share - 1)
        want = F.rotate(image / 255, angle, F.InterpolationMode.BILINEAR)
        got = aug.augment(image, neutral(angle=share).expand(2, -1))
        assert difference(got, want, border=9).max() < 1e-3
        numbers = neutral(angle=share, flip_x=0.1, flip_y=0.1).expand(2, -1)
        got = aug.augment(image, numbers)
        assert difference(got, want.flip((2, 3)), border=9).max() < 1e-3


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


def test_the_numbers_of_a_stored_run_can_be_drawn_again():
    """The generator's seed is part of what a run's id stands for; later views follow the first."""
    for seed, epoch in ((0, 0), (1, 0), (0, 1), (7, 9)):
        mixed = (seed * 1_000_003 + epoch * 7_919 + 0x5EED) % 2**63
        generator = torch.Generator().manual_seed(mixed)
        views = [torch.rand(5, aug.PARAMETERS, generator=generator) for _ in range(3)]
        assert torch.equal(aug.draw(5, seed=seed, epoch=epoch, views=3), torch.cat(views, dim=1))
    aug.draw(1, seed=2**62, epoch=0)  # any seed has a generator's
    grid = [(seed, epoch) for seed in range(5) for epoch in range(400)]
    numbers = {tuple(aug.draw(1, seed=s, epoch=e)[0].tolist()) for s, e in grid}
    assert len(numbers) == len(grid), "(1, 0) is not (0, 1), and no other pair is another's"


@pytest.mark.parametrize(
    ("n", "size", "shape"), [(50, 10, (5, 10)), (57, 10, (5, 10)), (7, 10, (1, 7))]
)
def test_batches_are_full_and_visit_an_image_at_most_once(n, size, shape):
    batches = shuffled(n, size, seed=0, epoch=0)
    assert batches.shape == shape and len(set(batches.flatten().tolist())) == batches.numel()


# --- Against torchvision's transforms, which draw for one image at a time ------------------------

CROP = v2.RandomResizedCrop(64, aug.CROP_AREA, aug.CROP_RATIO)
TURN = v2.RandomRotation(aug.ROTATION)
JITTER = v2.ColorJitter(aug.BRIGHTNESS, aug.CONTRAST, aug.SATURATION, aug.HUE)
DRAWS = 4000


def theirs(transform, *names: str, side: int = 4096) -> torch.Tensor:
    """(DRAWS, names) parameters that torchvision draws for a square image."""
    torch.manual_seed(0)
    image = torch.empty(3, side, side, device="meta")
    drawn = [transform.make_params([image]) for _ in range(DRAWS)]
    return torch.tensor([[float(parameters[name]) for name in names] for parameters in drawn])


def windows() -> dict[str, torch.Tensor]:
    """What `geometry`'s matrices do to a square image, read off them."""
    m = aug.geometry(aug.draw(DRAWS, seed=0, epoch=0)[:, :7], 64, 64)
    sx, sy = m[:, 0, :2].norm(dim=1), m[:, 1, :2].norm(dim=1)
    flip_x, flip_y = m[:, 0, 0].sign(), m[:, 1, 1].sign()
    angle = torch.atan2(m[:, 1, 0] * flip_x / sy, m[:, 0, 0] * flip_x / sx).rad2deg()
    return {"sx": sx, "sy": sy, "x": m[:, 0, 2] / (1 - sx), "y": m[:, 1, 2] / (1 - sy),
            "flip_x": flip_x, "flip_y": flip_y, "angle": angle}  # fmt: skip


def same(ours: torch.Tensor, their: torch.Tensor) -> bool:
    """Two samples that Kolmogorov and Smirnov do not tell apart at the 1 % level."""
    return ks_2samp(ours.numpy(), their.numpy()).pvalue > 0.01


def test_windows_are_distributed_as_torchvisions_where_it_need_not_draw_again():
    w = windows()
    inside = (w["sx"] < 1 - 1e-6) & (w["sy"] < 1 - 1e-6)
    left, top, width, height = theirs(CROP, "left", "top", "width", "height").T / 4096
    room = (width < 0.999) & (height < 0.999)  # for more than one position
    sx, sy = w["sx"][inside], w["sy"][inside]
    assert same(sx * sy, width * height) and same(sx / sy, width / height)
    assert same(sx, width) and same(sy, height)
    assert same(w["x"][inside], (2 * left / (1 - width) - 1)[room])
    assert same(w["y"][inside], (2 * top / (1 - height) - 1)[room])
    # a window wider or higher than the image is cut to it, where torchvision draws another
    assert 1 - inside.float().mean().item() == pytest.approx(0.26, abs=0.02)
    assert not same(w["sx"] * w["sy"], width * height)
    means = (w["sx"] * w["sy"]).mean().item(), (width * height).mean().item()
    assert means == pytest.approx((0.738, 0.694), abs=0.01)


def test_flips_and_angles_are_distributed_as_torchvisions():
    w = windows()
    assert same(w["angle"], theirs(TURN, "angle")[:, 0])
    for name in ("flip_x", "flip_y"):
        assert (w[name] > 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert abs(torch.corrcoef(torch.stack([w["flip_x"], w["flip_y"], w["angle"]]))[0, 1]) < 0.05


def test_colour_factors_are_distributed_as_torchvisions():
    names = "brightness_factor", "contrast_factor", "saturation_factor", "hue_factor"
    their = dict(zip(names, theirs(JITTER, *names).T, strict=True))
    grey = torch.full((DRAWS, 3, 1, 1), 0.5)
    drawn = aug.draw(DRAWS, seed=0, epoch=0)[:, 7:]
    matrix, shift = {}, {}
    for i, name in enumerate(names):  # one at a time, the others neutral
        u = torch.full_like(drawn, 0.5)
        u[:, i] = drawn[:, i]
        matrix[name], shift[name] = aug.colour(u, grey)
    trace = {name: m.diagonal(dim1=1, dim2=2).sum(1) for name, m in matrix.items()}
    hue = matrix["hue_factor"]
    ours = {
        "brightness_factor": trace["brightness_factor"] / 3,
        "contrast_factor": 1 - shift["contrast_factor"].flatten() / 0.5,
        "saturation_factor": (trace["saturation_factor"] - 1) / 2,
        "hue_factor": torch.atan2(
            (hue[:, 1, 0] - hue[:, 0, 1]) * math.sqrt(3), trace["hue_factor"] - 1
        ) / (2 * math.pi),
    }  # fmt: skip
    assert all(same(ours[name], their[name]) for name in names)


@pytest.fixture(scope="module")
def scenes():
    """Sixteen drawn scenes of 64 px, their colours within what no jitter clips."""
    return (40 + synthetic.generate(16, 64, 0)[0] * 0.55).astype(np.uint8)


def scaled(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def window(left: int, top: int, width: int, height: int, side: int = 64) -> dict[str, float]:
    """The numbers that choose these pixels of a square image."""
    return {
        "area": scaled(width * height / side**2, *aug.CROP_AREA),
        "ratio": scaled(math.log(width / height), *map(math.log, aug.CROP_RATIO)),
        "x": left / (side - width),
        "y": top / (side - height),
    }


def difference(ours: torch.Tensor, their: torch.Tensor, border: int = 2) -> torch.Tensor:
    return (ours - their)[..., border:-border, border:-border].abs()


def test_pixels_of_a_window_and_of_a_turn_are_torchvisions(scenes):
    images = torch.from_numpy(scenes)
    for box in ((0, 0, 50, 60), (9, 3, 55, 47), (14, 7, 48, 56)):
        left, top, width, height = box
        want = F.resized_crop(images / 255, top, left, height, width, [64, 64])
        got = aug.augment(images, neutral(**window(*box)).expand(16, -1))
        assert difference(got, want).max() < 1e-4
    for share in (0.0, 0.3, 1.0):
        angle = aug.ROTATION * (2 * share - 1)
        want = F.rotate(images / 255, angle, F.InterpolationMode.BILINEAR)
        got = aug.augment(images, neutral(angle=share).expand(16, -1))
        assert difference(got, want, border=8).max() < 1e-4  # theirs is black in the corners


def test_pixels_of_the_jitter_are_torchvisions(scenes):
    images = torch.from_numpy(scenes)
    for share in (0.0, 0.3, 1.0):
        factors = {name: 1 + 0.2 * (2 * share - 1) for name in ("brightness", "contrast")}
        want = images / 255
        for name, factor in factors.items():
            want = getattr(F, f"adjust_{name}")(want, factor)
        want = F.adjust_saturation(want, 1.1)
        numbers = neutral(brightness=share, contrast=share, saturation=0.75).expand(16, -1)
        assert difference(aug.augment(images, numbers), want).max() < 1e-4


def test_the_hue_turns_as_torchvisions_and_its_pixels_are_near(scenes):
    images = torch.from_numpy(scenes)

    def hue(pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(rgb_to_hsv(pixels.movedim(1, 3).numpy())[..., 0])

    coloured = (images.amax(dim=1) - images.amin(dim=1)) > 20
    for share in (0.0, 0.3, 1.0):
        turn = aug.HUE * (2 * share - 1)
        want = F.adjust_hue(images / 255, turn)
        got = aug.augment(images, neutral(hue=share).expand(16, -1))
        # about the grey axis at the same luma, where torchvision keeps HSV's value
        assert difference(got, want).max() < 0.03 and difference(got, want).mean() < 0.004
        off = (hue(got) - hue(want) + 0.5).remainder(1)[coloured] - 0.5
        assert off.abs().median() < 0.15 * abs(turn) and off.abs().max() < 0.5 * abs(turn)


def test_pixels_of_all_in_one_are_those_of_torchvisions_six_steps(scenes):
    images = torch.from_numpy(scenes)
    box, angle = (9, 3, 55, 47), 0.6 * aug.ROTATION
    left, top, width, height = box
    want = F.resized_crop(images / 255, top, left, height, width, [64, 64])
    want = F.hflip(F.rotate(want, angle, F.InterpolationMode.BILINEAR))
    for name, factor in (("brightness", 1.1), ("contrast", 0.9), ("saturation", 1.1)):
        want = getattr(F, f"adjust_{name}")(want, factor)
    want = F.adjust_hue(want, 0.01)
    numbers = neutral(**window(*box), flip_x=0.1, angle=0.8, brightness=0.75, contrast=0.25,
                      saturation=0.75, hue=0.75)  # fmt: skip
    off = difference(aug.augment(images, numbers.expand(16, -1)), want, border=8)
    assert off.mean() < 0.01 and off.flatten().quantile(0.99) < 0.05  # theirs resamples twice
