"""Trains a small model and writes it with images, labels and scores. Usage: make_samples.py MODEL SAMPLES"""

from __future__ import annotations

import sys

import cnnx


def main(model_path: str, samples_path: str) -> None:
    train, test = cnnx.data.digits()
    cnnx.manual_seed(0)
    model = cnnx.models.small_convnet(10, width=8, dropout=0.0)
    cnnx.fit(model, train, epochs=1, lr=0.01, progress=False)
    images, labels = cnnx.tensor(test.images[:64]), cnnx.tensor(test.labels[:64])
    with cnnx.no_grad():
        scores = model(images)
    cnnx.save(model, model_path)
    cnnx.save_state({"images": images, "labels": labels, "scores": scores}, samples_path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
