import pytest
import torch

from proxy.augmentation import altered, epoch_order, step_generator
from proxy.errors import ShapeMismatch, UnsupportedMethod
from tests.proxy.conftest import seeded


def by_hand(image, frame):
    """Every crop of an image from its frame, and of its mirror image."""
    height, width = image.shape[1:]
    for one in (image, image.flip(-1)):
        padded = torch.nn.functional.pad(one, (frame,) * 4)
        for top in range(2 * frame + 1):
            for left in range(2 * frame + 1):
                yield padded[:, top : top + height, left : left + width]


def test_a_cropped_image_is_one_of_all_its_crops():
    images = seeded(24, 3, 16, 16)
    told = altered(images, "flip_crop", step_generator(0, 0))
    seen = set()
    for image, got in zip(images, told, strict=True):
        (which,) = [at for at, crop in enumerate(by_hand(image, 2)) if torch.equal(crop, got)]
        seen.add(which)
    assert len(seen) > 12  # of 50: they differ from image to image


def test_a_flipped_image_is_itself_or_its_mirror_image():
    images = seeded(400, 1, 4, 5)
    told = altered(images, "flip", step_generator(3, 7))
    flipped = [torch.equal(got, image.flip(-1)) for image, got in zip(images, told, strict=True)]
    assert all(flip or torch.equal(got, image) for image, got, flip in zip(images, told, flipped, strict=True))
    assert 150 < sum(flipped) < 250


def test_bytes_stay_bytes():
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    assert altered(images, "flip_crop", step_generator(0, 0)).dtype == torch.uint8


def test_a_step_is_the_same_again_and_another_one_is_not():
    images = seeded(16, 3, 32, 32)
    first, again, other, seed = (
        altered(images, "flip_crop", step_generator(*which)) for which in ((1, 5), (1, 5), (1, 6), (2, 5))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, seed)


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own():
    orders = [epoch_order(50, epoch, seed) for seed in (0, 1) for epoch in (0, 1)]
    assert all(torch.equal(order.sort().values, torch.arange(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_what_is_no_image_can_be_left_as_it_is_only():
    rows = seeded(4, 7)
    assert altered(rows, "none", step_generator(0, 0)) is rows
    with pytest.raises(ShapeMismatch, match=r'augmentation="none"'):
        altered(rows, "flip", step_generator(0, 0))
    with pytest.raises(UnsupportedMethod, match="no such augmentation"):
        altered(rows, "mixup", step_generator(0, 0))
