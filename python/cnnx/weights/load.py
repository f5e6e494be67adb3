"""Loading weights into models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .._arguments import check_module
from .._core import Module, Tensor, load_state
from .archive import FileError, open_archive
from .arrays import parse_npy, to_tensor
from .torch_file import read_torch_file

if TYPE_CHECKING:
    from .._core import LoadResult

__all__ = ["load_weights", "read_weights"]


def _read_npz(path: Path) -> dict[str, Tensor]:
    with open_archive(path) as archive:
        names = [name for name in archive.entries if name.endswith(".npy")]
        if len(names) != len(archive.entries):
            raise FileError("has entries that are no .npy arrays")
        tensors = {}
        for name in names:
            try:
                tensors[name[:-4]] = to_tensor(parse_npy(archive.read(name)))
            except FileError:
                raise
            except ValueError as error:
                raise FileError(f'has a bad array "{name[:-4][:100]}": {str(error)[:200]}') from None
        return tensors


def read_weights(path: str | os.PathLike[str], key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file by name: .safetensors, .npz (``numpy.savez``), or .pth, .pt, .bin (``torch.save``).

    Floating-point numbers keep their precision, small integers become int64. Files of torch.save are read by a reader of cnnx's own that builds
    tensors and nothing else: it imports nothing and calls nothing that a file names, so that a file from a stranger cannot
    run code. Whole modules and TorchScript programs are refused, as are files from before torch 1.6.

    Args:
        path: the file; its ending says what it is.
        key: for checkpoints of torch with several entries: the entry that is the state dict, such as "state_dict".

    Returns:
        A dict of names and tensors.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is malformed or has anything but tensors; says what is wrong.

    Example:
        >>> import tempfile, numpy as np, cnnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(folder + "/w.npz", weight=np.ones((2, 3), np.float16))
        ...     print(cnnx.read_weights(folder + "/w.npz")["weight"].dtype)
        float16
    """
    file = Path(os.fsdecode(path))
    suffix = file.suffix.lower()
    if key is not None and suffix not in (".pth", ".pt", ".bin"):
        raise ValueError(f"[load_weights] key belongs to files of torch.save; got {file.name}.")
    try:
        if suffix == ".safetensors":
            return load_state(file)
        if suffix == ".npz":
            return _read_npz(file)
        if suffix in (".pth", ".pt", ".bin"):
            return read_torch_file(file, key)
    except ValueError as error:
        if suffix == ".safetensors":
            raise
        raise ValueError(f"[load_weights] {file} {str(error).rstrip('.')}.") from None
    raise ValueError(f"[load_weights] expected a file named .safetensors, .npz, .pth, .pt or .bin; got {file.name}.")


def load_weights(
    model: Module, path: str | os.PathLike[str], strict: bool = True, key: str | None = None
) -> LoadResult:
    """Copies the weights of a file into a model.

    The models of :mod:`cnnx.models` have torchvision's parameter names, so that torchvision's files load as they are; their
    ``num_batches_tracked`` is accepted. :func:`read_weights` says what files can be read.

    Args:
        model: whose parameters and buffers are filled.
        path: the file.
        strict: whether the names must be exactly the model's. Shapes must always agree; dtypes are converted.
        key: the entry of a checkpoint that is the state dict.

    Returns:
        An object with ``missing_keys`` and ``unexpected_keys``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a bad file, and for names and shapes that do not fit; nothing has changed then.

    Example:
        >>> import tempfile, cnnx
        >>> model, other = cnnx.models.lenet5(), cnnx.models.lenet5()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cnnx.save(model, folder + "/lenet5.safetensors")
        ...     cnnx.load_weights(other, folder + "/lenet5.safetensors")
        <All keys matched successfully>
    """
    check_module("load_weights", model)
    state = read_weights(path, key)
    try:
        return model.load_state_dict(state, strict)
    except ValueError as error:
        prefix = next(iter(state), "").partition(".")[0] + "."
        inner = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
        if len(inner) < len(state) or inner.isdisjoint(model.state_dict()):
            raise
        raise ValueError(
            f'{error}\n  All names of the file begin with "{prefix}", as torch\'s DataParallel writes them. Take it off: '
            f'model.load_state_dict({{name.removeprefix("{prefix}"): x for name, x in cnnx.read_weights(path).items()}}).'
        ) from None
