"""Fine-tunes a convnet: pretrained on the digits 0 to 4, it learns 5 to 9 from a few images in a few passes.

"Don't be a hero": a net that has learnt something similar needs little to learn more. Three nets get the same 20 images of
each new digit for the same three passes: one starts from scratch, one trains a new head over pretrained and frozen
convolutions, one trains all layers, the pretrained ones at a tenth of the head's learning rate. (With hundreds of images or
passes the net from scratch catches up: these digits are easy.)

Usage: python examples/fine_tune.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import cnnx

IMAGES_PER_CLASS = 20
PASSES = 3


def digits_from(dataset: cnnx.data.ArrayDataset, first: int, per_class: int | None = None) -> cnnx.data.ArrayDataset:
    """Five digits from `first` on as classes 0 to 4, all images or some of each."""
    chosen = np.concatenate([np.flatnonzero(dataset.labels == label)[:per_class] for label in range(first, first + 5)])
    return cnnx.data.ArrayDataset(dataset.images[chosen], dataset.labels[chosen] - first)


def make_net() -> cnnx.Sequential:
    features = cnnx.pattern("INPUT -> [[CONV -> RELU]*2 -> POOL]*2", input_shape=(1, 8, 8), filters=16)
    return cnnx.Sequential({"features": features, "flatten": cnnx.Flatten(), "head": cnnx.Linear(32 * 2 * 2, 5)})


def with_new_head(weights: Path) -> cnnx.Sequential:
    model = make_net()
    cnnx.load_weights(model, weights)
    model.head = cnnx.Linear(32 * 2 * 2, 5)
    return model


def main() -> dict[str, float]:
    cnnx.manual_seed(0)
    train, test = cnnx.data.digits()
    few, held_out = digits_from(train, 5, IMAGES_PER_CLASS), digits_from(test, 5)
    accuracy = {}

    def learn(name: str, model: cnnx.Sequential, optimizer: cnnx.optim.Optimizer) -> None:
        cnnx.fit(model, few, epochs=PASSES, batch_size=10, optimizer=optimizer)
        accuracy[name] = cnnx.evaluate(model, held_out).accuracy
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        print(f"{name:>14}: {accuracy[name]:.1%} of held-out digits 5 to 9 ({trained:,} parameters trained)")

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "pretrained.safetensors"
        pretrained = make_net()
        cnnx.fit(pretrained, digits_from(train, 0), epochs=6, lr=0.003)
        cnnx.save(pretrained, weights)
        print(
            f"{'pretrained':>14}: {cnnx.evaluate(pretrained, digits_from(test, 0)).accuracy:.1%} of held-out digits 0 to 4"
        )
        frozen, whole = with_new_head(weights), with_new_head(weights)

    scratch = make_net()
    learn("from scratch", scratch, cnnx.optim.Adam(scratch.parameters(), lr=0.003))

    cnnx.freeze(frozen, "features")
    learn("frozen", frozen, cnnx.optim.Adam(frozen.head.parameters(), lr=0.01))

    groups = [{"params": whole.features.parameters(), "lr": 0.001}, {"params": whole.head.parameters(), "lr": 0.01}]
    learn("all fine-tuned", whole, cnnx.optim.Adam(groups))
    return accuracy


if __name__ == "__main__":
    main()
