"""Zip archives from strangers: every size is checked against the file's before anything is read."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Archive", "FileError", "open_archive"]

_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, NotImplementedError, RuntimeError)
_DEFLATE_RATIO = 64  # weights do not shrink that much, bombs do
_SMALL = 2**26


class FileError(ValueError):
    """What is wrong with a file; the text begins behind its name, in mid-sentence."""


class Archive:
    """A zip file whose entries add up to no more than the file, compressed, and 64 times as much uncompressed."""

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        self.file = file
        self.size = size
        self.entries = {info.filename: info for info in file.infolist()}
        if len(self.entries) != len(file.infolist()):
            raise FileError("has two entries of one name")
        if sum(info.compress_size for info in self.entries.values()) > size:
            raise FileError("has entries that are larger than the file or overlap")
        if sum(info.file_size for info in self.entries.values()) > _DEFLATE_RATIO * size + _SMALL:
            raise FileError("claims to be far larger uncompressed than weights can be")

    def read(self, name: str, stored: bool = False) -> bytes:
        """The bytes of an entry. With `stored` it must not be compressed."""
        info = self.entries.get(name)
        if info is None:
            raise FileError(f'lacks the entry "{name[:100]}"')
        if stored and (info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size):
            raise FileError(f'has a compressed entry "{name[:100]}"; torch.save does not compress')
        data = self.file.read(info)
        if len(data) != info.file_size:
            raise FileError(f'has an entry "{name[:100]}" of another size than it claims')
        return data


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """Opens a zip file; what is wrong with it raises a FileError in the block, too."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as opened:
                yield Archive(opened, os.fstat(file.fileno()).st_size)
        except FileError:
            raise
        except _ERRORS as error:
            raise FileError(f"is a damaged zip file: {str(error)[:200]}") from None
        except (ValueError, OverflowError, OSError) as error:
            raise FileError(f"cannot be read: {str(error)[:200]}") from None
