"""Images and labels: datasets, augmentation and a loader that prepares batches in the background.

A dataset is anything with ``len(dataset)`` and ``dataset[i] -> (image, label)``; one that also has
``dataset.batch(indices) -> (images, labels)`` is read faster. Images are float32 arrays (C, H, W), labels integers.
"""

from __future__ import annotations

from .augment import Augmentation, Compose, RandomAffine, RandomCrop, RandomHorizontalFlip
from .dataset import ArrayDataset, Dataset, Subset, digits, random_split
from .folder import ImageFolder, load_image
from .loader import DataLoader

__all__ = [
    "ArrayDataset",
    "Augmentation",
    "Compose",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Subset",
    "digits",
    "load_image",
    "random_split",
]
