"""Random changes of training images. Each works on a whole batch (N, C, H, W) and takes its random generator as argument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .dataset import Images

__all__ = ["Augmentation", "Compose", "RandomAffine", "RandomCrop", "RandomHorizontalFlip"]

#: Takes a batch (N, C, H, W) and a random generator, returns the changed batch.
Augmentation = Callable[[Images, np.random.Generator], Images]


class Compose:
    """Applies several augmentations in order.

    Args:
        augmentations: callables that take a batch and a random generator.

    Example:
        >>> import cnnx, numpy as np
        >>> augment = cnnx.data.Compose(cnnx.data.RandomCrop(2), cnnx.data.RandomHorizontalFlip())
        >>> augment(np.ones((4, 3, 8, 8), np.float32), np.random.default_rng(0)).shape
        (4, 3, 8, 8)
    """

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


class RandomAffine:
    """Rotates, scales, shears and moves each image by random amounts; pixels from outside are zero.

    Args:
        degrees: largest angle of rotation, and of shear.
        scale: largest relative change of size, of height and width independently.
        shift: largest move in pixels.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> change = cnnx.data.RandomAffine(degrees=10, scale=0.1, shift=1)
        >>> change(np.ones((4, 1, 8, 8), np.float32), np.random.default_rng(0)).shape
        (4, 1, 8, 8)
    """

    def __init__(self, degrees: float = 0.0, scale: float = 0.0, shift: float = 0.0) -> None:
        if min(degrees, scale, shift) < 0 or scale >= 1:
            raise ValueError(
                f"[RandomAffine] degrees and shift must not be negative and scale lie in [0, 1); got {degrees}, {scale}, {shift}."
            )
        self.degrees, self.scale, self.shift = degrees, scale, shift

    def _matrices(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """The maps (N, 2, 2) from offsets in the result to offsets in the source."""
        angle, shear = np.radians(rng.uniform(-self.degrees, self.degrees, (2, count)))
        zoom = 1 + rng.uniform(-self.scale, self.scale, (2, count))
        cos, sin = np.cos(angle), np.sin(angle)
        rows = [[cos * zoom[0], -sin * zoom[0]], [(sin + np.tan(shear)) * zoom[1], cos * zoom[1]]]
        return np.array(rows, np.float32).transpose(2, 0, 1)

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        n, _, height, width = images.shape
        centre = np.array([(height - 1) / 2, (width - 1) / 2], np.float32)
        grid = (
            np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).reshape(2, -1).astype(np.float32)
        )
        moved = centre + rng.uniform(-self.shift, self.shift, (n, 2)).astype(np.float32)
        source = self._matrices(n, rng) @ (grid - centre[:, np.newaxis]) + moved[:, :, np.newaxis]
        corner = np.floor(source).astype(np.int64)
        share = source - corner
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))  # whatever lies outside is read from the zero border
        item = np.arange(n)[:, np.newaxis]
        result = np.zeros((n, height * width, images.shape[1]), np.float32)
        for down in (0, 1):
            for right in (0, 1):
                row = np.clip(corner[:, 0] + down + 1, 0, height + 1)
                column = np.clip(corner[:, 1] + right + 1, 0, width + 1)
                weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
                result += weight[:, :, np.newaxis] * padded[item, :, row, column]
        return np.ascontiguousarray(result.transpose(0, 2, 1).reshape(images.shape))


class RandomHorizontalFlip:
    """Mirrors each image left to right at random.

    Args:
        p: the probability.

    Raises:
        ValueError: for p outside [0, 1].

    Example:
        >>> import cnnx, numpy as np
        >>> flip = cnnx.data.RandomHorizontalFlip(p=1.0)
        >>> flip(np.array([[[[1, 2, 3]]]], np.float32), np.random.default_rng(0)).tolist()
        [[[[3.0, 2.0, 1.0]]]]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"[RandomHorizontalFlip] p must lie in [0, 1]; got {p}.")
        self.p = p

    def __call__(self, images: Images, rng: np.random.Generator) -> Images:
        flipped = rng.random(len(images)) < self.p
        return np.where(flipped[:, np.newaxis, np.newaxis, np.newaxis], images[..., ::-1], images)
