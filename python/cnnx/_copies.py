"""Copies of models, for runs that leave no trace in them."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

from ._core import Module
from .optim import Optimizer


def copy_model(model: Module, replaced: dict[int, Any]) -> Module:
    """A deep copy with other tensors: `replaced` has those by the id of the model's.

    Optimizers that are attributes are shared, and so is what cannot be copied, such as locks.
    """
    memo = replaced | {id(value): value for value in _parts(model) if isinstance(value, Optimizer)}
    try:
        return copy.deepcopy(model, dict(memo))
    except Exception:  # of any kind: it comes from a class that says so in its own way
        _share_what_cannot_be_copied(model, memo)
        return copy.deepcopy(model, memo)


def _share_what_cannot_be_copied(model: Module, memo: dict[int, Any]) -> None:
    """Enters it into `memo`: of containers and modules only those parts of which it is true."""
    containers: dict[int, Any] = {}
    pending = _parts(model)
    while pending:
        value = pending.pop()
        if id(value) in containers or _can_be_copied(value, memo):
            continue
        if parts := _parts(value):
            containers[id(value)] = value
            pending += parts
        else:
            memo[id(value)] = value
    for value in reversed(containers.values()):
        if not _can_be_copied(value, memo):  # for a reason of its own
            memo[id(value)] = value


def _parts(value: object) -> list[Any]:
    if isinstance(value, Module):
        return [attribute for module in value.modules() for attribute in vars(module).values()]
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | tuple | set | frozenset | deque) else []


def _can_be_copied(value: object, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:
        return False
    return True
