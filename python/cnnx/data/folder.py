"""Images in a folder of class sub-folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._arguments import as_integer, check_integer, check_names
from .dataset import Labels

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["ImageFolder", "load_image"]

_EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_MAX_SIDE = 128  # of images whose size nobody gave
_MOST_PIXELS = 65_535  # of a side, as in JPEG


def _check_size(op: str, size: Any) -> tuple[int, int] | None:
    """(height, width); one number stands for both."""
    if size is None:
        return None
    sides = [as_integer(side) for side in (size if isinstance(size, Iterable) else (size, size))]
    if len(sides) != 2 or not all(side is not None and 1 <= side <= _MOST_PIXELS for side in sides):
        raise ValueError(
            f"[{op}] size must be (height, width) or one number for both, from 1 to {_MOST_PIXELS}; got {size!r}."
        )
    return sides[0] or 0, sides[1] or 0


def load_image(
    path: str | os.PathLike[str], channels: int = 3, size: int | tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Reads an image file.

    Args:
        path: a PNG, JPEG or other file that Pillow reads. Its orientation tag is obeyed; transparency is dropped; grey
            values of 16 bits are scaled to 8.
        channels: 3 for colour, 1 for grey.
        size: (height, width) to resize to, or one number for both.

    Returns:
        uint8 (channels, H, W).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image, a broken one, or one of 32-bit values, whose range is not known; names the path.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> import cnnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (6, 4), "red").save(folder + "/red.png")
        ...     cnnx.data.load_image(folder + "/red.png", size=(2, 3))[:, 0, 0].tolist()
        [255, 0, 0]
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if channels not in (1, 3):
        raise ValueError(f"[load_image] channels must be 1 or 3; got {channels}.")
    size = _check_size("load_image", size)
    try:
        with Image.open(path) as file:
            image = _eight_bits(ImageOps.exif_transpose(file), file.format).convert("L" if channels == 1 else "RGB")
            if size is not None and image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except FileNotFoundError:
        raise
    except UnidentifiedImageError:
        raise ValueError(f"[load_image] {path} is not an image.") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise ValueError(f"[load_image] {path} cannot be read: {error}") from None
    return np.ascontiguousarray(pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1))


def _eight_bits(image: PIL.Image.Image, file_format: str | None) -> PIL.Image.Image:
    """Scales 16-bit grey values to 8 bits, where Pillow's own conversion would turn everything above 255 white."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its values have 32 bits, whose range is not known. Save it with 8 or 16 bits.")
    return image


def _inspect(path: Path) -> tuple[tuple[int, int], bool] | str:
    """((height, width), whether it is grey), or why the image cannot be used."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            grey = file.mode in ("1", "L", "I", "F", "LA") or file.mode.startswith("I;16")
            image = _eight_bits(ImageOps.exif_transpose(file), file.format)
            image.load()
            return (image.height, image.width), grey
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        return str(error).split(" '")[0] or type(error).__name__


class ImageFolder:
    """Images of a folder whose sub-folders are the classes.

    Every image is read once at the start: those that are broken are left out and listed in ``broken``. What fits into
    ``cache_bytes`` stays in memory; the rest is read again when it is needed.

    Args:
        root: the folder. Classes are its sub-folders in alphabetical order; images may lie deeper.
        size: (height, width) to which all images are resized, or one number for both; default: the most common size, scaled down to at most 128
            pixels on the longer side.
        channels: 1 for grey, 3 for colour; default: 1 if all images are grey.
        classes: names of the classes in order, for a folder that is to be used with a model trained on another; default:
            all sub-folders.
        cache_bytes: memory for decoded images.

    Attributes:
        classes: the class names.
        paths: the usable images.
        labels: their class numbers.
        broken: (path, reason) of each image that was left out.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for a folder without classes, an unknown class, or a class without a usable image.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> import cnnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("blue", "red"):
        ...         pathlib.Path(folder, name).mkdir()
        ...         Image.new("RGB", (6, 4), name).save(f"{folder}/{name}/image.png")
        ...     data = cnnx.data.ImageFolder(folder)
        ...     data.classes, len(data), data[1][0].shape, data[1][1]
        (['blue', 'red'], 2, (3, 4, 6), 1)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        classes: list[str] | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"[ImageFolder] there is no folder {self.root}.")
        if channels not in (None, 1, 3):
            raise ValueError(f"[ImageFolder] channels must be 1 or 3; got {channels}.")
        size = _check_size("ImageFolder", size)
        cache_bytes = check_integer("ImageFolder", "cache_bytes", cache_bytes, 0, 2**63 - 1)
        self.classes = self._find_classes(None if classes is None else check_names("ImageFolder", "classes", classes))
        found = [(path, label) for label, name in enumerate(self.classes) for path in self._images_in(name)]
        with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
            inspected = list(pool.map(_inspect, [path for path, _ in found]))
        self.broken = [
            (path, reason) for (path, _), reason in zip(found, inspected, strict=True) if isinstance(reason, str)
        ]
        usable = [(*item, *what) for item, what in zip(found, inspected, strict=True) if not isinstance(what, str)]
        self.paths = [path for path, *_ in usable]
        self.labels: Labels = np.array([label for _, label, *_ in usable], np.int64)
        self._check_classes(complete=classes is None)
        self.channels = channels or (1 if all(grey for *_, grey in usable) else 3)
        self.size = size or self._common_size([what for *_, what, _ in usable])
        self._cache: dict[int, npt.NDArray[np.uint8]] = {}
        self._cache_limit = cache_bytes // (self.channels * self.size[0] * self.size[1])

    def _find_classes(self, wanted: list[str] | None) -> list[str]:
        present = sorted(
            entry.name for entry in self.root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
        if not present:
            raise ValueError(
                f"[ImageFolder] {self.root} has no sub-folders. Put the images of each class into a folder of its own."
            )
        if wanted is None:
            return present
        unknown = [name for name in present if name not in wanted]
        if unknown:
            raise ValueError(
                f"[ImageFolder] {self.root} has classes that the model does not know: {', '.join(unknown)}."
            )
        return list(wanted)

    def _images_in(self, name: str) -> list[Path]:
        folder = self.root / name
        return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _EXTENSIONS and p.is_file())

    def _check_classes(self, complete: bool) -> None:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        empty = [name for name, count in zip(self.classes, counts, strict=True) if count == 0]
        if (complete and empty) or not len(self.labels):
            broken = f" ({len(self.broken)} broken images were left out)" if self.broken else ""
            raise ValueError(f"[ImageFolder] no usable image in the class {', '.join(empty)} of {self.root}{broken}.")

    @staticmethod
    def _common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
        counts = Counter(sizes)
        height, width = min(counts, key=lambda size: (-counts[size], size))
        scale = min(1.0, _MAX_SIDE / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def __len__(self) -> int:
        return len(self.paths)

    def _pixels(self, index: int) -> npt.NDArray[np.uint8]:
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        pixels = load_image(self.paths[index], self.channels, self.size)
        if len(self._cache) < self._cache_limit:
            self._cache[index] = pixels
        return pixels

    def __getitem__(self, index: int, /) -> tuple[Any, int]:
        return self._pixels(index).astype(np.float32) / np.float32(255), int(self.labels[index])
