"""Random changes of training images. Each works on a whole batch (N, C, H, W) and takes its random generator as argument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .dataset import Images

__all__ = ["Augmentation", "Compose", "RandomCrop", "RandomHorizontalFlip", "RandomShift"]

#: Takes a batch (N, C, H, W) and a random generator, returns the changed batch.
Augmentation = Callable[[Images, np.random.Generator], Images]


class Compose:
    """Applies several augmentations in order."""

    def __init__(self, *augmentations: Augmentation) -> None:
        self.augmentations = augmentations

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        for augmentation in self.augmentations:
            images = augmentation(images, rng)
        return images


class RandomCrop:
    """Pads each image with zeros and cuts out a window of the old size at a random place.

    Args:
        padding: pixels added on each side; the image moves by at most so many.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> crop = cnnx.data.RandomCrop(2)
        >>> crop(np.ones((4, 3, 8, 8), np.float32), np.random.default_rng(0)).shape
        (4, 3, 8, 8)
    """

    def __init__(self, padding: int) -> None:
        if padding < 0:
            raise ValueError(f"[RandomCrop] padding must not be negative; got {padding}.")
        self.padding = padding

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        p = self.padding
        if p == 0:
            return images
        n, _, height, width = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)))
        result = np.empty_like(images)
        offsets = rng.integers(0, 2 * p + 1, (n, 2))
        for top in range(2 * p + 1):
            for left in range(2 * p + 1):
                chosen = np.flatnonzero((offsets[:, 0] == top) & (offsets[:, 1] == left))
                if len(chosen):
                    result[chosen] = padded[chosen, :, top : top + height, left : left + width]
        return result


class RandomShift(RandomCrop):
    """Moves each image by up to ``pixels`` in each direction and fills with zeros."""

    def __init__(self, pixels: int) -> None:
        super().__init__(pixels)


class RandomHorizontalFlip:
    """Mirrors each image left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"[RandomHorizontalFlip] p must lie in [0, 1]; got {p}.")
        self.p = p

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        flipped = rng.random(len(images)) < self.p
        return np.where(flipped[:, np.newaxis, np.newaxis, np.newaxis], images[..., ::-1], images)
