"""GoogLeNet: Inception modules, and average pooling in place of a stack of linear layers."""

from __future__ import annotations

from typing import NamedTuple

from .._core import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Tensor,
)

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "googlenet"]


class GoogLeNetOutputs(NamedTuple):
    """Scores of the main head and, while training, of the two auxiliary ones; in torchvision's order.

    Attributes:
        logits: of the main head, (N, classes).
        aux_logits2: of the head behind inception4d.
        aux_logits1: of the head behind inception4a.

    Example:
        >>> import cnnx
        >>> with cnnx.Device("meta"):
        ...     scores = cnnx.models.googlenet(num_classes=5, aux_logits=True)(cnnx.zeros(2, 3, 224, 224))
        >>> scores.logits.shape, scores.aux_logits1.shape
        ((2, 5), (2, 5))
    """

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


# Filters of each module: 1x1; 3x3 reduced, 3x3; 5x5 reduced, 5x5; 1x1 behind the pooling.
_INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class _Parts:
    """The pieces in which the two variants differ."""

    def __init__(self, batch_norm: bool) -> None:
        self.batch_norm = batch_norm

    def convolution(self, inputs: int, outputs: int, size: int, stride: int = 1) -> Sequential:
        conv = Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=not self.batch_norm)
        if self.batch_norm:
            return Sequential({"conv": conv, "bn": BatchNorm2d(outputs, eps=1e-3), "relu": ReLU()})
        return Sequential({"conv": conv, "relu": ReLU()})

    def normalization(self, name: str) -> dict[str, Module]:
        return {} if self.batch_norm else {name: LocalResponseNorm(5)}

    def inception(self, inputs: int, filters: tuple[int, ...]) -> Concat:
        one, three_reduced, three, five_reduced, five, pooled = filters
        last = 3 if self.batch_norm else 5  # torchvision's 3x3 where the paper has 5x5
        return Concat(
            {
                "branch1": self.convolution(inputs, one, 1),
                "branch2": Sequential(
                    self.convolution(inputs, three_reduced, 1), self.convolution(three_reduced, three, 3)
                ),
                "branch3": Sequential(
                    self.convolution(inputs, five_reduced, 1), self.convolution(five_reduced, five, last)
                ),
                "branch4": Sequential(MaxPool2d(3, 1, 1, fit="ceil"), self.convolution(inputs, pooled, 1)),
            }
        )

    def head(self, inputs: int, num_classes: int) -> Sequential:
        return Sequential(
            {
                "avgpool": AdaptiveAvgPool2d(4),
                "conv": self.convolution(inputs, 128, 1),
                "flatten": Flatten(),
                "fc1": Linear(128 * 4 * 4, 1024),
                "relu": ReLU(),
                "dropout": Dropout(0.7),
                "fc2": Linear(1024, num_classes),
            }
        )


def _trunk(parts: _Parts, num_classes: int, dropout: float) -> dict[str, Module]:
    layers: dict[str, Module] = {
        "conv1": parts.convolution(3, 64, 7, 2),
        "maxpool1": MaxPool2d(3, 2, fit="ceil"),
        **parts.normalization("norm1"),
        "conv2": parts.convolution(64, 64, 1),
        "conv3": parts.convolution(64, 192, 3),
        **parts.normalization("norm2"),
        "maxpool2": MaxPool2d(3, 2, fit="ceil"),
    }
    channels = 192
    for name, filters in _INCEPTION.items():
        if name == "4a":
            layers["maxpool3"] = MaxPool2d(3, 2, fit="ceil")
        if name == "5a":
            layers["maxpool4"] = MaxPool2d(2 if parts.batch_norm else 3, 2, fit="ceil")
        layers[f"inception{name}"] = parts.inception(channels, filters)
        one, _, three, _, five, pooled = filters
        channels = one + three + five + pooled
    layers["avgpool"] = AdaptiveAvgPool2d(1)
    layers["flatten"] = Flatten()
    layers["dropout"] = Dropout(dropout)
    layers["fc"] = Linear(channels, num_classes)
    return layers


class GoogLeNet(Module):
    """GoogLeNet with its auxiliary heads, which only training uses. Made by :func:`googlenet`.

    While training it returns a :class:`GoogLeNetOutputs`, in evaluation the scores. The paper adds 0.3 times each
    auxiliary loss to the main one.

    Example:
        >>> import cnnx
        >>> with cnnx.Device("meta"):
        ...     net = cnnx.models.googlenet(aux_logits=True).eval()
        ...     scores = net(cnnx.zeros(1, 3, 224, 224))
        >>> type(net).__name__, scores.shape
        ('GoogLeNet', (1, 1000))
    """

    def __init__(self, num_classes: int, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        parts = _Parts(batch_norm)
        for name, layer in _trunk(parts, num_classes, dropout).items():
            self.add_module(name, layer)
        self.aux1 = parts.head(512, num_classes)
        self.aux2 = parts.head(528, num_classes)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        """The scores and, while training, those of the auxiliary heads."""
        early: dict[str, Tensor] = {}
        for name, layer in self.named_children():
            if name in ("aux1", "aux2"):
                continue
            x = layer(x)
            if self.training and name in ("inception4a", "inception4d"):
                early[name] = x
        if not self.training:
            return x
        return GoogLeNetOutputs(x, self.aux2(early["inception4d"]), self.aux1(early["inception4a"]))


def googlenet(
    num_classes: int = 1000, variant: str = "torchvision", aux_logits: bool = False, dropout: float | None = None
) -> Sequential | GoogLeNet:
    """GoogLeNet.

    Args:
        num_classes: length of the score vector.
        variant: ``"torchvision"``: batch normalization, 3x3 filters for the paper's 5x5, torchvision's parameter names.
            ``"2014"``: the paper's net, with local response normalization.
        aux_logits: whether to add the two auxiliary heads, which are scored while training only.
        dropout: share of features dropped before the scores, while training. Default: 0.2, and 0.4 for the paper's net.

    Shape:
        (N, 3, 224, 224) to (N, num_classes). torchvision's pretrained weights expect images in [-1, 1].

    Raises:
        ValueError: for an unknown variant.

    Source:
        Szegedy et al., "Going Deeper with Convolutions" (2014).

    Example:
        >>> import cnnx
        >>> sum(p.numel() for p in cnnx.models.googlenet().parameters())
        6624904
        >>> sum(p.numel() for p in cnnx.models.googlenet(variant="2014").parameters())
        6998552
    """
    if variant not in ("torchvision", "2014"):
        raise ValueError(f'[googlenet] variant must be "torchvision" or "2014"; got "{variant}".')
    batch_norm = variant == "torchvision"
    if dropout is None:
        dropout = 0.2 if batch_norm else 0.4
    if aux_logits:
        return GoogLeNet(num_classes, batch_norm, dropout)
    return Sequential(_trunk(_Parts(batch_norm), num_classes, dropout))
