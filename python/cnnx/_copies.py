"""Copies of models, for runs that leave no trace in them."""

from __future__ import annotations

import copy
from typing import Any

from ._core import Module
from .optim import Optimizer


def copy_model(model: Module, replaced: dict[int, Any]) -> Module:
    """A deep copy with other tensors: `replaced` has those by the id of the model's.

    Optimizers that are attributes are shared, and so is what cannot be copied, such as locks.
    """
    modules = list(model.modules())
    attributes = [value for module in reversed(modules) for value in vars(module).values()]
    memo = replaced | {id(value): value for value in attributes if isinstance(value, Optimizer)}
    try:
        return copy.deepcopy(model, dict(memo))
    except Exception:  # of any kind: it comes from a class that says so in its own way
        for value in attributes:
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                memo[id(value)] = value
        return copy.deepcopy(model, memo)
