"""Datasets in memory, parts of datasets, and the digits that come with the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["ArrayDataset", "Dataset", "Images", "Labels", "Subset", "digits", "fetch", "random_split"]

_MOST_CLASSES = 2**20  # that get numbers for names

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@runtime_checkable
class Dataset(Protocol):
    """Images with labels: anything with a length whose items are (image (C, H, W), label).

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> class Stripes:
        ...     def __len__(self):
        ...         return 16
        ...     def __getitem__(self, index):
        ...         image = np.zeros((1, 4, 4), np.float32)
        ...         image[:, :, index % 4] = 1
        ...         return image, index % 4
        >>> images, labels = next(iter(cnnx.data.DataLoader(Stripes(), batch_size=4)))
        >>> images.shape, labels.tolist()
        ((4, 1, 4, 4), [0, 1, 2, 3])
    """

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Any, int]:
        """One image and its label."""
        ...


class ArrayDataset:
    """Images and labels that are NumPy arrays already.

    Args:
        images: (N, C, H, W), or (N, H, W) for one channel. Integers are divided by 255.
        labels: N class numbers, from 0.
        classes: the classes' names; default: "0", "1", ...

    Raises:
        ValueError: for arrays of other shapes or of different lengths.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> data = cnnx.data.ArrayDataset(np.zeros((10, 8, 8)), np.zeros(10, int))
        >>> len(data), data[3][0].shape, data[3][1]
        (10, (1, 8, 8), 0)
    """

    def __init__(self, images: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str] | None = None) -> None:
        pixels = np.asarray(images)
        if pixels.ndim == 3:
            pixels = pixels[:, np.newaxis]
        if pixels.ndim != 4:
            raise ValueError(f"[ArrayDataset] expected images (N, C, H, W) or (N, H, W); got shape {pixels.shape}.")
        if np.issubdtype(pixels.dtype, np.integer):
            pixels = pixels / np.float32(255)
        numbers = np.asarray(labels)
        if numbers.ndim != 1 or not (np.issubdtype(numbers.dtype, np.integer) or numbers.size == 0):
            raise ValueError(
                f"[ArrayDataset] expected a vector of integer labels; got {numbers.dtype} {numbers.shape}."
            )
        if len(numbers) != len(pixels):
            raise ValueError(
                f"[ArrayDataset] expected a label an image; got {len(pixels)} images and {len(numbers)} labels."
            )
        if numbers.size and numbers.min() < 0:
            raise ValueError(f"[ArrayDataset] labels must not be negative; got {numbers.min()}.")
        count = int(numbers.max()) + 1 if numbers.size else 0
        if classes is None and count > _MOST_CLASSES:
            raise ValueError(
                f"[ArrayDataset] labels must be below {_MOST_CLASSES:,}; got {count - 1}. Number the classes from 0."
            )
        self.classes = list(classes) if classes is not None else [str(i) for i in range(count)]
        if count > len(self.classes):
            raise ValueError(f"[ArrayDataset] label {count - 1} has no name among the {len(self.classes)} classes.")
        self.images: Images = np.ascontiguousarray(pixels, np.float32)
        self.labels: Labels = np.ascontiguousarray(numbers, np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> tuple[Images, int]:
        return self.images[index], int(self.labels[index])

    def batch(self, indices: npt.NDArray[np.int64]) -> tuple[Images, Labels]:
        """Images and labels of several indices at once."""
        return self.images[indices], self.labels[indices]


class Subset:
    """Some of a dataset's images, in a given order.

    Args:
        dataset: where the images are.
        indices: which of them, or a mask: a truth value for each.

    Raises:
        ValueError: for anything else.

    Example:
        >>> import cnnx
        >>> train, _ = cnnx.data.digits()
        >>> zeros = cnnx.data.Subset(train, train.labels == 0)
        >>> {label for _, label in zeros}
        {0}
    """

    def __init__(self, dataset: Dataset, indices: npt.ArrayLike) -> None:
        self.dataset = dataset
        chosen = np.asarray(indices)
        if chosen.dtype == np.bool_ and chosen.shape == (len(dataset),):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.size > 0 and chosen.dtype.kind not in "iu"):
            raise ValueError(
                f"[Subset] expected a list of indices, or a mask of {len(dataset)} truth values; got an array of shape "
                f"{chosen.shape} and dtype {chosen.dtype}."
            )
        self.indices = chosen.astype(np.int64)
        self.classes: list[str] = list(getattr(dataset, "classes", []))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> tuple[Any, int]:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: npt.NDArray[np.int64]) -> tuple[Images, Labels]:
        """Images and labels of several indices at once."""
        return fetch(self.dataset, self.indices[indices])


def fetch(
    dataset: Dataset, indices: npt.NDArray[np.int64], check: Callable[[], None] = lambda: None
) -> tuple[Images, Labels]:
    """A batch of any dataset; `check` is called before each image of those without batches of their own."""
    while isinstance(dataset, Subset) and type(dataset) is Subset:
        indices = dataset.indices[indices]
        dataset = dataset.dataset
    batch = getattr(dataset, "batch", None)
    if batch is not None:
        images, labels = batch(indices)
        return images, labels
    items = []
    for i in indices:
        check()
        items.append(dataset[int(i)])
    images = np.stack([np.asarray(image, np.float32) for image, _ in items])
    return images, np.array([label for _, label in items], np.int64)


def random_split(dataset: Dataset, fractions: Sequence[float], seed: int = 0) -> list[Subset]:
    """Cuts a dataset into random parts that do not overlap.

    Args:
        dataset: what to cut.
        fractions: share of each part; they add up to 1 at most.
        seed: of the shuffle; the same seed gives the same parts.

    Returns:
        One Subset for each fraction.

    Example:
        >>> import cnnx
        >>> train, test = cnnx.data.digits()
        >>> [len(part) for part in cnnx.data.random_split(train, [0.9, 0.1])]
        [1293, 144]
    """
    if any(f < 0 for f in fractions) or sum(fractions) > 1 + 1e-9:
        raise ValueError(
            f"[random_split] fractions must not be negative and add up to 1 at most; got {list(fractions)}."
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    ends = np.round(np.cumsum(fractions) * len(dataset)).astype(int)
    return [Subset(dataset, part) for part in np.split(order, ends)[: len(fractions)]]


def digits() -> tuple[ArrayDataset, ArrayDataset]:
    """1,797 handwritten digits of 8x8 pixels with values from 0 to 1: (training set, held-out fifth).

    The fifth is fixed: every fifth image of the list sorted by class, 360 in all.

    Source:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository (1998), CC BY 4.0.

    Example:
        >>> import cnnx
        >>> train, test = cnnx.data.digits()
        >>> len(train), len(test), train.images.shape[1:]
        (1437, 360, (1, 8, 8))
    """
    with (files("cnnx.data") / "digits.npz").open("rb") as file:
        arrays = np.load(file)
        images, labels = arrays["images"].astype(np.float32) / 16, arrays["labels"].astype(np.int64)
    order = np.argsort(labels, kind="stable")
    held_out = np.zeros(len(labels), bool)
    held_out[order[::5]] = True
    names = [str(i) for i in range(10)]
    return (
        ArrayDataset(images[~held_out], labels[~held_out], names),
        ArrayDataset(images[held_out], labels[held_out], names),
    )
