"""Residual and Concat in torch. Apart from the rest, because a torch process unpickles networks that hold them."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Sequential):
    """ReLU of the body plus the shortcut."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for name, child in self.named_children():
            if name != "downsample":
                y = child(y)
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Concat(nn.Sequential):
    """All modules on one input, joined along the channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([child(x) for child in self.children()], 1)
