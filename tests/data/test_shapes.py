"""The coloured shapes: the same in every call, and of the class they are said to be."""

import pytest
import torch

from nanoldm.data.shapes import CLASSES, draw_shapes


@pytest.fixture(scope="module")
def shapes():
    return draw_shapes(240, 0)


def test_a_call_draws_what_a_longer_one_begins_with(shapes):
    assert torch.equal(draw_shapes(24, 0).images, shapes.images[:24])
    assert not torch.equal(draw_shapes(24, 1).images, shapes.images[:24])


def test_the_images_are_rgb_with_all_classes_equally_often(shapes):
    assert shapes.images.shape == (240, 3, 32, 32)
    assert shapes.images.dtype == torch.uint8
    assert torch.bincount(shapes.labels).tolist() == [20] * len(CLASSES) == [20] * 12
    assert shapes.names()[1] == "ring"


@pytest.mark.parametrize(("name", "hollow"), [("disc", False), ("square", False), ("ring", True),
                                              ("frame", True)])
def test_only_rings_and_frames_have_a_hole(shapes, name, hollow):
    """Their centre has the colour of the ground, which is in the corner of the image."""
    number = list(CLASSES).index(name)
    images = shapes.images[shapes.labels == number].int()
    shape = (images - images[:, :, :1, :1]).abs().amax(1) > 30            # (20, 32, 32)
    rows, columns = torch.arange(32)[:, None], torch.arange(32)
    area = shape.sum((1, 2))
    at = [((shape * axis).sum((1, 2)) / area).round().int() for axis in (rows, columns)]
    centre = shape[torch.arange(20), at[0], at[1]]
    assert (~centre if hollow else centre).all()


def test_shapes_are_brighter_than_their_ground(shapes):
    corner = shapes.images[:, :, 0, 0].amax(1)
    assert corner.max() < 80
    assert (shapes.images.flatten(1).amax(1) >= 190).all()
