"""Freezing and unfreezing parameters by name or by depth, for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from ._arguments import check_module, check_names
from ._core import Module, Tensor

__all__ = ["freeze", "unfreeze"]


def _paths(name: str) -> Iterator[str]:
    """The parameter's name and those of the modules that it is in."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(len(parts), 0, -1))


def _select(op: str, model: Module, names: tuple[str, ...], until: str | None) -> dict[str, Tensor]:
    parameters = dict(check_module(op, model).named_parameters(remove_duplicate=False))
    for pattern in check_names(op, "names", [*names, *([] if until is None else [until])]):
        if not any(fnmatchcase(path, pattern) for name in parameters for path in _paths(name)):
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name in parameters))
            raise ValueError(f'[{op}] no parameter or module with parameters is named "{pattern}"; there are {known}.')
    selected: dict[str, Tensor] = {}
    chosen: set[int] = set()
    for name, parameter in parameters.items():
        paths = list(_paths(name))
        if until is not None and any(fnmatchcase(path, until) for path in paths):
            break
        wanted = not names or any(fnmatchcase(path, pattern) for path in paths for pattern in names)
        if wanted and id(parameter) not in chosen:
            chosen.add(id(parameter))
            selected[name] = parameter
    return selected


def freeze(model: Module, *names: str, until: str | None = None) -> list[str]:
    """Stops training of parameters: they require no gradient, and nothing is recorded or computed for them.

    The trunk of a net whose parameters are all frozen costs no more memory than in evaluation. Optimizers pass frozen
    parameters over. Batch normalization goes on measuring its statistics in training mode, as in torch: put frozen parts into
    evaluation mode with ``model.features.eval()`` after ``model.train()`` where that is not wanted; :func:`cnnx.fit` leaves
    them there.

    Args:
        model: the module.
        names: parameters and modules by dotted name, with ``*``, ``?`` and ``[...]`` as in file names: "features",
            "layer[12]", "*.bias". A module's name stands for all that is in it. None: all parameters.
        until: by depth: only what comes before the first parameter or module of that name, in order of registration.

    Returns:
        The names of the frozen parameters; one that has several, because it is shared, comes once.

    Raises:
        ValueError: for a name that nothing has.

    Example:
        >>> import cnnx
        >>> model = cnnx.models.lenet5()
        >>> cnnx.freeze(model, until="9")
        ['0.weight', '0.bias', '3.weight', '3.bias', '7.weight', '7.bias']
        >>> cnnx.unfreeze(model, "7")
        ['7.weight', '7.bias']
        >>> [name for name, p in model.named_parameters() if p.requires_grad]
        ['7.weight', '7.bias', '9.weight', '9.bias', '11.weight', '11.bias']
    """
    selected = _select("freeze", model, names, until)
    for parameter in selected.values():
        parameter.requires_grad = False
        parameter.grad = None  # an optimizer would take it for a new one
    return list(selected)


def unfreeze(model: Module, *names: str, until: str | None = None) -> list[str]:
    """Trains parameters again.

    Args:
        model: the module.
        names: as for :func:`freeze`.
        until: as for :func:`freeze`.

    Returns:
        The names of the parameters that are trained again.

    Raises:
        ValueError: for a name that nothing has.

    Example:
        >>> import cnnx
        >>> model = cnnx.models.lenet5()
        >>> frozen = cnnx.freeze(model)
        >>> cnnx.unfreeze(model, "11")
        ['11.weight', '11.bias']
    """
    selected = _select("unfreeze", model, names, until)
    for parameter in selected.values():
        parameter.requires_grad = True
    return list(selected)
