"""Scikit-learn's handwritten digits: 1,797 images of 8 × 8 pixels, intensities 0 to 16."""

import importlib.util
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from vigamma.counts.dense import check_counts
from vigamma.counts.sparse import check_sparse_counts
from vigamma.counts.words import IMAGES, Labels
from vigamma.data.files import LoadedCounts
from vigamma.typing import spec

IMAGE_SHAPE = (8, 8)


class KnowledgeAndCounts(NamedTuple):
    """Training counts, and domain knowledge about their columns.

    Attributes:
      knowledge: domain knowledge, a typical row of counts; shape (M,).
      counts: the training counts, none of which are part of `knowledge`; shape (N, M).
    """

    knowledge: np.ndarray
    counts: np.ndarray


@spec
class Digits:
    """The images of one digit, split into domain knowledge and training counts.

    Attributes:
      digit: which digit, 0 to 9. There are 174 to 183 images of each.
      num_knowledge_images: the number of images, the first of the data set, that are averaged to
        the domain-knowledge image. They are excluded from training: no image is used twice.
    """

    digit: int = 0
    num_knowledge_images: int = 10

    def validate(self) -> None:
        """Raises ValueError for a digit or a number of images out of range."""
        if not 0 <= self.digit <= 9:
            raise ValueError(f"digit must be 0 to 9, got {self.digit}")
        if not 1 <= self.num_knowledge_images <= 173:
            raise ValueError(
                f"num_knowledge_images must be 1 to 173, got {self.num_knowledge_images}"
            )

    def load(self) -> KnowledgeAndCounts:
        """Loads the images, flattened to rows of 64 pixels, in the order of the data set."""
        pixels, labels = _pixels_and_labels()
        images = check_counts(pixels[labels == self.digit], f"images of the digit {self.digit}")
        knowledge, counts = np.split(images, [self.num_knowledge_images])
        return KnowledgeAndCounts(knowledge.mean(axis=0), counts)


@spec
class DigitCounts:
    """The images as a sparse matrix of counts: one row per image, one column per pixel.

    Attributes:
      digit: which digit, 0 to 9; -1 for all.
    """

    digit: int = 0

    image_shape: ClassVar[tuple[int, int]] = IMAGE_SHAPE

    def validate(self) -> None:
        """Raises ValueError for a digit out of range."""
        if not -1 <= self.digit <= 9:
            raise ValueError(f"digit must be 0 to 9, or -1 for all, got {self.digit}")

    def load(self) -> LoadedCounts:
        """Loads the images in the order of the data set."""
        pixels, labels = _pixels_and_labels()
        chosen = slice(None) if self.digit == -1 else labels == self.digit
        names = list(map(str, range(10))) if self.digit == -1 else [str(self.digit)]
        digits = None if len(names) == 1 else Labels("digit", labels, names)
        return LoadedCounts(check_sparse_counts(pixels[chosen]), words=IMAGES, labels=digits)


def _pixels_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """What `sklearn.datasets.load_digits` returns, from its file, without a second of imports."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    lines = np.loadtxt(path, delimiter=",")
    return lines[:, :-1], lines[:, -1].astype(int)
