from __future__ import annotations

import builtins
import collections.abc
import typing

import cnnx._core

__all__: list[str] = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "ParamGroup", "RMSprop", "clip_grad_norm"]

class ParamGroup:
    def __contains__(self, arg0: str) -> builtins.bool: ...
    def __getitem__(self, name: str) -> typing.Any: ...
    def __iter__(self) -> collections.abc.Iterator[str]: ...
    def __len__(self) -> int: ...
    def __repr__(self) -> str: ...
    def __setitem__(self, name: str, value: typing.Any) -> None: ...
    def keys(self) -> list[str]: ...

class Optimizer:
    def __reduce_ex__(self, protocol: typing.SupportsInt | typing.SupportsIndex) -> tuple[typing.Any, ...]: ...
    def __repr__(self) -> str: ...
    def add_param_group(self, param_group: dict[str, typing.Any]) -> None: ...
    def load_state_dict(self, state_dict: dict[str, typing.Any]) -> None: ...
    def state_dict(self) -> dict[str, typing.Any]: ...
    def step(self, closure: typing.Any = None) -> typing.Any: ...
    def zero_grad(self, set_to_none: builtins.bool = True) -> None: ...
    @property
    def lr(self) -> float: ...
    @lr.setter
    def lr(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def param_groups(self) -> tuple[ParamGroup, ...]: ...

class SGD(Optimizer):
    def __init__(
        self,
        params: typing.Any,
        lr: typing.SupportsFloat | typing.SupportsIndex = 0.001,
        momentum: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        dampening: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        nesterov: builtins.bool = False,
    ) -> None: ...

class Adam(Optimizer):
    def __init__(
        self,
        params: typing.Any,
        lr: typing.SupportsFloat | typing.SupportsIndex = 0.001,
        betas: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex] = (
            0.9,
            0.999,
        ),
        eps: typing.SupportsFloat | typing.SupportsIndex = 1e-08,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    ) -> None: ...

class AdamW(Optimizer):
    def __init__(
        self,
        params: typing.Any,
        lr: typing.SupportsFloat | typing.SupportsIndex = 0.001,
        betas: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex] = (
            0.9,
            0.999,
        ),
        eps: typing.SupportsFloat | typing.SupportsIndex = 1e-08,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex = 0.01,
    ) -> None: ...

class RMSprop(Optimizer):
    def __init__(
        self,
        params: typing.Any,
        lr: typing.SupportsFloat | typing.SupportsIndex = 0.01,
        alpha: typing.SupportsFloat | typing.SupportsIndex = 0.99,
        eps: typing.SupportsFloat | typing.SupportsIndex = 1e-08,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        momentum: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        centered: builtins.bool = False,
    ) -> None: ...

class Adagrad(Optimizer):
    def __init__(
        self,
        params: typing.Any,
        lr: typing.SupportsFloat | typing.SupportsIndex = 0.01,
        lr_decay: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        eps: typing.SupportsFloat | typing.SupportsIndex = 1e-10,
    ) -> None: ...

def _rebuild(
    cls: type, groups: list[typing.Any], defaults: dict[str, typing.Any], state: dict[str, typing.Any]
) -> typing.Any: ...
def _unscale(optimizer: Optimizer, factor: typing.SupportsFloat | typing.SupportsIndex) -> builtins.bool: ...
def clip_grad_norm(
    parameters: typing.Any,
    max_norm: typing.SupportsFloat | typing.SupportsIndex,
    norm_type: typing.SupportsFloat | typing.SupportsIndex = 2.0,
) -> cnnx._core.Tensor: ...
