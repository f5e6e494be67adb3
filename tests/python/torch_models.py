"""The case-study nets as functions of a torch state dict with torchvision's names, written apart from cnnx's models."""

from __future__ import annotations

import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]


def _conv(s: State, name: str, x: torch.Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> torch.Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride, padding, 1, groups)


def _linear(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, s[f"{name}.weight"], s[f"{name}.bias"])


def _norm(s: State, name: str, x: torch.Tensor, training: bool, eps: float = 1e-5) -> torch.Tensor:
    mean, var = s[f"{name}.running_mean"].clone(), s[f"{name}.running_var"].clone()
    return F.batch_norm(x, mean, var, s[f"{name}.weight"], s[f"{name}.bias"], training, 0.1, eps)


def _classify(s: State, x: torch.Tensor, layers: tuple[int, int, int]) -> torch.Tensor:
    x = x.flatten(1)
    for layer in layers[:2]:
        x = F.relu(_linear(s, f"classifier.{layer}", x))
    return _linear(s, f"classifier.{layers[2]}", x)


def alexnet(s: State, x: torch.Tensor) -> torch.Tensor:
    x = F.max_pool2d(F.relu(_conv(s, "features.0", x, 4, 2)), 3, 2)
    x = F.max_pool2d(F.relu(_conv(s, "features.3", x, 1, 2)), 3, 2)
    for layer in (6, 8, 10):
        x = F.relu(_conv(s, f"features.{layer}", x, 1, 1))
    return _classify(s, F.adaptive_avg_pool2d(F.max_pool2d(x, 3, 2), 6), (1, 4, 6))


def alexnet_2012(s: State, x: torch.Tensor, groups: int) -> torch.Tensor:
    x = F.local_response_norm(F.relu(_conv(s, "features.0", x, 4)), 5, 5e-4, 0.75, 2.0)
    x = F.relu(_conv(s, "features.4", F.max_pool2d(x, 3, 2), 1, 2, groups))
    x = F.max_pool2d(F.local_response_norm(x, 5, 5e-4, 0.75, 2.0), 3, 2)
    for layer, split in ((8, 1), (10, groups), (12, groups)):
        x = F.relu(_conv(s, f"features.{layer}", x, 1, 1, split))
    return _classify(s, F.max_pool2d(x, 3, 2), (1, 4, 6))


def zfnet(s: State, x: torch.Tensor) -> torch.Tensor:
    x = F.max_pool2d(F.relu(_conv(s, "features.0", x, 2, 1)), 3, 2, ceil_mode=True)
    x = F.relu(_conv(s, "features.4", F.local_response_norm(x, 5, 5e-4, 0.75, 2.0), 2))
    x = F.local_response_norm(F.max_pool2d(x, 3, 2, ceil_mode=True), 5, 5e-4, 0.75, 2.0)
    for layer in (8, 10, 12):
        x = F.relu(_conv(s, f"features.{layer}", x, 1, 1))
    return _classify(s, F.max_pool2d(x, 3, 2), (1, 4, 6))


def lenet5(s: State, x: torch.Tensor) -> torch.Tensor:
    for layer in (0, 3):
        x = F.max_pool2d(F.relu(_conv(s, str(layer), x)), 2)
    x = x.flatten(1)
    for layer in (7, 9):
        x = F.relu(_linear(s, str(layer), x))
    return _linear(s, "11", x)


def all_convolutional(s: State, x: torch.Tensor) -> torch.Tensor:
    windows = {0: (1, 1), 2: (1, 1), 4: (2, 1), 7: (1, 1), 9: (1, 1), 11: (2, 1), 14: (1, 0), 16: (1, 0), 18: (1, 0)}
    for layer, (stride, padding) in windows.items():
        x = F.relu(_conv(s, str(layer), x, stride, padding))
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def vgg(s: State, x: torch.Tensor, depths: tuple[int, ...], batch_norm: bool) -> torch.Tensor:
    layer = 0
    for depth in depths:
        for _ in range(depth):
            x = _conv(s, f"features.{layer}", x, 1, 1)
            if batch_norm:
                x = _norm(s, f"features.{layer + 1}", x, False)
            x = F.relu(x)
            layer += 3 if batch_norm else 2
        x = F.max_pool2d(x, 2)
        layer += 1
    return _classify(s, F.adaptive_avg_pool2d(x, 7), (0, 3, 6))


def resnet(
    s: State, x: torch.Tensor, depths: tuple[int, ...], bottleneck: bool, training: bool = False
) -> torch.Tensor:
    x = F.relu(_norm(s, "bn1", _conv(s, "conv1", x, 2, 3), training))
    x = F.max_pool2d(x, 3, 2, 1)
    for group, depth in enumerate(depths, start=1):
        for i in range(depth):
            name = f"layer{group}.{i}"
            stride = 2 if group > 1 and i == 0 else 1
            windows = ((1, 0), (stride, 1), (1, 0)) if bottleneck else ((stride, 1), (1, 1))
            y = x
            for number, (step, padding) in enumerate(windows, start=1):
                y = _norm(s, f"{name}.bn{number}", _conv(s, f"{name}.conv{number}", y, step, padding), training)
                if number < len(windows):
                    y = F.relu(y)
            if f"{name}.downsample.0.weight" in s:
                x = _norm(s, f"{name}.downsample.1", _conv(s, f"{name}.downsample.0", x, stride), training)
            x = F.relu(x + y)
    return _linear(s, "fc", F.adaptive_avg_pool2d(x, 1).flatten(1))


def googlenet(
    s: State, x: torch.Tensor, batch_norm: bool, training: bool = False, heads: bool = False
) -> tuple[torch.Tensor, ...]:
    """(scores, those of the second auxiliary head, those of the first)."""

    def basic(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        x = _conv(s, f"{name}.conv", x, stride, s[f"{name}.conv.weight"].shape[2] // 2)
        return F.relu(_norm(s, f"{name}.bn", x, training, 1e-3) if batch_norm else x)

    def inception(name: str, x: torch.Tensor) -> torch.Tensor:
        pooled = F.max_pool2d(x, 3, 1, 1, ceil_mode=True)
        branches = [basic(f"{name}.branch1", x)]
        branches += [basic(f"{name}.branch{b}.1", basic(f"{name}.branch{b}.0", x)) for b in (2, 3)]
        return torch.cat([*branches, basic(f"{name}.branch4.1", pooled)], 1)

    def head(name: str, x: torch.Tensor) -> torch.Tensor:
        x = basic(f"{name}.conv", F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return _linear(s, f"{name}.fc2", F.relu(_linear(s, f"{name}.fc1", x)))

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x if batch_norm else F.local_response_norm(x, 5)

    x = norm(F.max_pool2d(basic("conv1", x, 2), 3, 2, ceil_mode=True))
    x = norm(basic("conv3", basic("conv2", x)))
    outputs = {}
    for group, letters, size in (("3", "ab", 3), ("4", "abcde", 3), ("5", "ab", 2 if batch_norm else 3)):
        x = F.max_pool2d(x, size, 2, ceil_mode=True)
        for letter in letters:
            x = outputs[group + letter] = inception(f"inception{group}{letter}", x)
    scores = _linear(s, "fc", F.adaptive_avg_pool2d(x, 1).flatten(1))
    if not heads:
        return (scores,)
    return scores, head("aux2", outputs["4d"]), head("aux1", outputs["4a"])
