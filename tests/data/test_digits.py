import numpy as np
import pytest
from sklearn.datasets import load_digits

from vigamma import DigitCounts, Digits


def test_no_image_is_used_twice_and_none_is_lost():
    pixels, labels = load_digits(return_X_y=True)
    zeros = pixels[labels == 0]
    knowledge, counts = Digits(digit=0, num_knowledge_images=10).load()
    assert len(zeros) == 178
    np.testing.assert_array_equal(counts, zeros[10:])
    np.testing.assert_allclose(knowledge, zeros[:10].mean(axis=0))


@pytest.mark.parametrize("digit", range(10))
def test_every_digit_loads(digit):
    knowledge, counts = Digits(digit=digit, num_knowledge_images=173).load()
    assert knowledge.shape == (64,)
    assert counts.shape[0] >= 1


@pytest.mark.parametrize(
    "bad",
    [
        {"digit": 12},
        {"digit": -1},
        {"num_knowledge_images": 0},
        {"num_knowledge_images": 174},  # all that there are of an 8
    ],
)
def test_digits_that_do_not_exist_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Digits(**bad).load()


@pytest.mark.parametrize("digit", [-1, 0, 9])
def test_digits_as_sparse_counts_are_the_images(digit):
    pixels, labels = load_digits(return_X_y=True)
    loaded = DigitCounts(digit=digit).load()
    np.testing.assert_array_equal(
        loaded.counts.toarray(), pixels if digit == -1 else pixels[labels == digit]
    )
    assert loaded.parts is None
    assert DigitCounts.image_shape == (8, 8)


@pytest.mark.parametrize("digit", [-2, 10])
def test_sparse_digits_that_do_not_exist_are_refused(digit):
    with pytest.raises(ValueError, match=f"digit must be 0 to 9, or -1 for all, got {digit}"):
        DigitCounts(digit=digit).load()
