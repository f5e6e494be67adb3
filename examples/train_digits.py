"""Trains a small convnet on handwritten digits with an explicit loop, then saves it.

Usage: python examples/train_digits.py
"""

from __future__ import annotations

import cnnx
import cnnx.functional as F


class Net(cnnx.Module):
    """Two convolutions and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = cnnx.Conv2d(1, 16, 3, padding=1)
        self.conv2 = cnnx.Conv2d(16, 32, 3, padding=1)
        self.hidden = cnnx.Linear(32 * 4 * 4, 64)
        self.scores = cnnx.Linear(64, 10)

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.scores(F.relu(self.hidden(x.flatten(1))))


def main() -> None:
    cnnx.manual_seed(0)
    train, test = cnnx.data.digits()
    model = Net()
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = cnnx.data.DataLoader(
        train, batch_size=32, shuffle=True, augment=cnnx.data.RandomAffine(degrees=10, shift=0.5)
    )
    for epoch in range(1, 11):
        model.train()
        total = 0.0
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        accuracy = cnnx.evaluate(model, test).accuracy
        print(f"epoch {epoch}: loss {total / len(train):.4f}, held-out accuracy {accuracy:.2%}")
    cnnx.save(model, "net.safetensors")


if __name__ == "__main__":
    main()
