"""fit, evaluate and predict, and the cnnx command that uses them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cnnx


def _run(*arguments: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnnx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=300, **options)


def _train(threads: int = 2, seed: int = 0) -> tuple[cnnx.Module, cnnx.History]:
    cnnx.set_num_threads(threads)
    cnnx.manual_seed(seed)
    train, test = cnnx.data.digits()
    model = cnnx.models.small_convnet(10, width=8)
    return model, cnnx.fit(model, train, test, epochs=2, lr=0.02, augment=cnnx.data.RandomCrop(1), seed=seed)


def test_fit_learns_and_reports():
    model, history = _train()
    assert [epoch.number for epoch in history.epochs] == [1, 2]
    assert history.epochs[1].loss < history.epochs[0].loss
    assert history.epochs[1].validation_accuracy > 0.8
    assert history.epochs[1].images_per_second > 0
    assert not history.interrupted
    assert not model.training


def test_same_seed_same_bits_with_any_number_of_threads():
    states = [_train(threads, seed)[0].state_dict() for threads, seed in ((1, 0), (2, 0), (3, 0), (2, 1))]
    for name, tensor in states[0].items():
        for other in states[1:3]:
            np.testing.assert_array_equal(tensor.numpy(), other[name].numpy())
    assert states[3]["0.weight"].tolist() != states[0]["0.weight"].tolist()


def test_fit_takes_an_optimizer_schedule_and_loss():
    train, _ = cnnx.data.digits()
    model = cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(64, 10))
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    seen = []
    history = cnnx.fit(
        model,
        train,
        epochs=3,
        optimizer=optimizer,
        schedule="constant",
        loss=cnnx.MultiMarginLoss(),
        on_epoch=seen.append,
    )
    assert seen == history.epochs
    assert optimizer.lr == 0.5
    assert history.epochs[-1].accuracy > 0.9


def test_interrupted_fit_keeps_what_it_has():
    train, _ = cnnx.data.digits()
    model = cnnx.models.small_convnet(10, width=8)

    def stop(epoch):
        raise KeyboardInterrupt

    before = model[0].weight.tolist()
    history = cnnx.fit(model, train, epochs=5, on_epoch=stop)
    assert history.interrupted
    assert len(history.epochs) == 1
    assert model[0].weight.tolist() != before
    assert not model.training


def _few(count: int = 20) -> cnnx.data.Subset:
    return cnnx.data.Subset(cnnx.data.digits()[0], np.arange(count))


def _normalized(dtype: str = "float32") -> cnnx.Sequential:
    trunk = cnnx.Sequential(cnnx.Conv2d(1, 4, 3), cnnx.BatchNorm2d(4), cnnx.ReLU())
    return cnnx.Sequential({"trunk": trunk, "flatten": cnnx.Flatten(), "head": cnnx.Linear(144, 10)}).to(dtype)


@pytest.mark.parametrize("schedule", ["onecycle", lambda step: 0.5**step])
def test_fit_gives_the_optimizer_back_with_its_rates(schedule):
    model = _normalized()
    groups = [{"params": model.trunk.parameters(), "lr": 0.01}, {"params": model.head.parameters()}]
    optimizer = cnnx.optim.SGD(groups, lr=0.1)
    for _ in range(2):
        cnnx.fit(model, _few(), epochs=1, optimizer=optimizer, schedule=schedule)
        assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]

    def fail(epoch):
        raise KeyError

    with pytest.raises(KeyError):
        cnnx.fit(model, _few(), epochs=1, optimizer=optimizer, schedule=schedule, on_epoch=fail)
    assert optimizer.lr == 0.01


def test_every_module_keeps_its_mode():
    model = _normalized()
    model.trunk.eval()
    modes = [module.training for module in model.modules()]
    cnnx.evaluate(model, _few())
    cnnx.predict(model, _few())
    assert [module.training for module in model.modules()] == modes
    statistics = model.trunk[1].running_mean.tolist()
    cnnx.fit(model, _few(), _few(), epochs=2)
    assert model.trunk[1].running_mean.tolist() == statistics
    assert not any(module.training for module in model.modules())
    cnnx.fit(model, _few(), epochs=1)  # a model in evaluation mode is trained in all its parts
    assert model.trunk[1].running_mean.tolist() != statistics


def test_an_own_train_method_is_called_for_both_modes():
    class Fixed(cnnx.Sequential):
        def train(self, mode: bool = True):
            super().train(mode)
            calls.append(mode)
            self[1].training = False
            return self

    calls: list[bool] = []
    model = Fixed(cnnx.Conv2d(1, 4, 3), cnnx.BatchNorm2d(4), cnnx.Flatten(), cnnx.Linear(144, 10))
    cnnx.evaluate(model, _few())
    assert calls == [False, True]
    assert [module.training for module in model.modules()] == [True, True, True, True, True]


def test_schedules_of_the_caller_are_left_alone():
    model = cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(64, 10))
    optimizer = cnnx.optim.SGD(model.parameters(), lr=1.0)
    schedule = cnnx.optim.ExponentialLR(optimizer, 0.5)
    for rate in (0.5, 0.25):
        cnnx.fit(model, _few(), epochs=1, optimizer=optimizer, schedule=None, on_epoch=lambda _: schedule.step())
        assert optimizer.lr == rate


def test_a_loss_may_be_a_vector_of_one():
    model = cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(64, 10))
    wanted = cnnx.evaluate(model, _few()).loss
    found = cnnx.evaluate(
        model, _few(), loss=lambda scores, y: cnnx.functional.cross_entropy(scores, y).reshape(1)
    ).loss
    assert found == pytest.approx(wanted)


def test_models_of_float64():
    model = _normalized("float64")
    history = cnnx.fit(model, _few(), _few(), epochs=1)
    assert np.isfinite(history.epochs[0].validation_loss)
    assert cnnx.evaluate(model, _few()).confusion.sum() == 20
    probabilities = cnnx.predict(model, _few())
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)


class _TwoHeads(cnnx.Module):
    def __init__(self, kind=tuple):
        super().__init__()
        self.body, self.other, self.kind = cnnx.Linear(64, 10), cnnx.Linear(64, 10), kind

    def forward(self, x):
        x = x.flatten(1)
        return self.kind((self.body(x), self.other(x)))


def test_models_with_several_outputs():
    model = _TwoHeads()
    with pytest.raises(TypeError, match=r"the model returns several outputs, tuple, so it needs a loss of its own"):
        cnnx.fit(model, _few(), epochs=1)

    def loss(outputs, labels):
        return sum(cnnx.functional.cross_entropy(scores, labels) for scores in outputs)

    history = cnnx.fit(model, _few(), epochs=20, batch_size=20, lr=0.1, loss=loss)
    assert history.epochs[0].loss > 2
    assert cnnx.evaluate(model, _few(), loss=loss).accuracy > history.epochs[0].accuracy
    assert cnnx.predict(model, _few()).shape == (20, 10)
    with pytest.raises(TypeError, match=r"\[predict\] the model must return scores \(N, classes\), or a tuple"):
        cnnx.predict(_TwoHeads(lambda heads: {"scores": heads[0]}), _few())
    with pytest.raises(ValueError, match=r"\[evaluate\] .* got shape \(20, 1, 8, 8\)"):
        cnnx.evaluate(cnnx.Identity(), _few())


def test_auxiliary_heads_of_googlenet_are_trained():
    model = _TwoHeads(lambda heads: cnnx.models.GoogLeNetOutputs(heads[0], heads[1], heads[1]))
    x, labels = (cnnx.tensor(values) for values in _few().batch(np.arange(20)))
    main, other = (cnnx.functional.cross_entropy(scores, labels).item() for scores in model(x)[:2])
    history = cnnx.fit(model, _few(), epochs=1, batch_size=20)
    assert history.epochs[0].loss == pytest.approx(main + 0.6 * other)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_are_means_over_the_images_whatever_the_reduction(reduction):
    model = _normalized()
    expected = cnnx.evaluate(model, _few(20)).loss
    loss = cnnx.CrossEntropyLoss(reduction=reduction)
    assert cnnx.evaluate(model, _few(20), batch_size=7, loss=loss).loss == pytest.approx(expected, rel=1e-5)
    if reduction == "sum":
        history = cnnx.fit(model, _few(20), epochs=1, batch_size=7, lr=0.0, loss=loss)
        assert 0.5 < history.epochs[0].loss / expected < 2


def test_evaluate_and_predict_agree():
    model, _ = _train()
    _, test = cnnx.data.digits()
    model.train()
    result = cnnx.evaluate(model, test)
    assert model.training
    assert result.confusion.sum() == len(test)
    assert np.trace(result.confusion) / len(test) == result.accuracy
    probabilities = cnnx.predict(model, test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == test.labels).mean() == result.accuracy
    np.testing.assert_allclose(cnnx.predict(model, test.images, batch_size=7), probabilities, atol=1e-5)
    pixels = np.round(test.images * 255).astype(np.uint8)
    scaled = cnnx.predict(model, pixels.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(cnnx.predict(model, pixels), scaled)


def test_bad_arguments():
    train, _ = cnnx.data.digits()
    model = cnnx.models.lenet5()
    for options in (
        *({"epochs": epochs} for epochs in (0, -1, 1.5)),
        *({"batch_size": size} for size in (0, -1, 2.5)),
        *({"lr": lr} for lr in (float("nan"), float("inf"), -1.0)),
        *({"weight_decay": decay} for decay in (float("nan"), -1.0)),
        {"seed": -1},
    ):
        weights = model[0].weight.tolist()
        with pytest.raises(ValueError, match=next(iter(options))):
            cnnx.fit(model, train, **options)
        assert model[0].weight.tolist() == weights
    for function in (cnnx.fit, cnnx.evaluate):
        with pytest.raises(TypeError, match=r"must have a length and items \(image, label\); got ndarray"):
            function(model, train.images)
        with pytest.raises(TypeError, match=r"expected a Module; got"):
            function(lambda x: x, train)
    with pytest.raises(ValueError, match="schedule"):
        cnnx.fit(model, train, schedule="circular")
    empty = cnnx.data.ArrayDataset(np.zeros((0, 8, 8)), np.zeros(0, int))
    with pytest.raises(ValueError, match="empty"):
        cnnx.fit(model, empty)
    with pytest.raises(ValueError, match="the validation set is empty"):
        cnnx.fit(model, train, empty)
    with pytest.raises(ValueError, match="empty"):
        cnnx.evaluate(model, empty)


# ---- The command -----------------------------------------------------------------------------------------------------------
def test_train_evaluate_info_on_the_digits(tmp_path):
    path = tmp_path / "digits.safetensors"
    output = _run("train", "--out", path, "--epochs", 8).stdout
    accuracy = float(re.search(r"held-out accuracy ([\d.]+)% after", output)[1])
    assert accuracy >= 96
    assert f"accuracy {accuracy:.2f}%" in _run("evaluate", path).stdout
    information = _run("info", path).stdout
    assert "Conv2d(1, 32" in information
    assert "input 1 x 8 x 8; classes: 0, 1, 2" in information
    count = sum(p.numel() for p in cnnx.load(path).parameters())
    assert f"{count:,} parameters, {count * 4 / 2**20:.2f} MiB" in information
    narrow = tmp_path / "narrow.safetensors"
    cnnx.save(cnnx.load(path).to("bfloat16"), narrow)
    assert f"{count:,} parameters, {count * 2 / 2**20:.2f} MiB" in _run("info", narrow).stdout
    again = tmp_path / "again.safetensors"
    _run("train", "--out", again, "--epochs", 8, "--threads", 1)
    assert again.read_bytes() == path.read_bytes()


def test_train_and_predict_on_a_folder(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            pixels = (rng.integers(0, 60, (16, 16, 3)) + 150 * label).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    (tmp_path / "set" / "dark" / "broken.png").write_bytes(b"?")
    result = _run("train", "--data", tmp_path / "set", "--epochs", 4, cwd=tmp_path)
    assert "skipped 1 broken images of 41" in result.stderr
    assert "broken.png" in result.stderr
    model = tmp_path / "model.safetensors"
    assert "confusion" in _run("evaluate", model, "--data", tmp_path / "set").stdout
    images = [tmp_path / "set" / "dark" / "3.png", tmp_path / "set" / "light" / "4.png"]
    lines = _run("predict", model, *images).stdout.splitlines()
    assert ["dark" in lines[0].split(": ")[1].split()[0], "light" in lines[1].split(": ")[1].split()[0]] == [True, True]
    failed = _run("predict", model, images[0], tmp_path / "no.png", check=False)
    assert failed.returncode == 1
    assert "no.png" in failed.stderr
    assert "dark" in failed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "missing"], "no folder missing"),
        (["train", "--model", "huge"], "no model 'huge'"),
        (["train", "--out", "missing/x.safetensors"], "no folder"),
        (["evaluate", "missing.safetensors"], "missing.safetensors"),
        (["train", "--data", "empty"], "class nothing"),
        (["train", "--data", "one"], "one has one class only, a; at least 2 are needed"),
        (["train", "--out", "empty"], "empty is no file that a model could be saved in"),
        (["train", "--out", os.devnull], "is no file that a model could be saved in"),
        (["evaluate", "other.safetensors"], "the model is for the classes a, b, not for the digits"),
    ],
)
def test_command_errors_are_one_line(tmp_path, arguments, message):
    (tmp_path / "empty" / "nothing").mkdir(parents=True)
    (tmp_path / "one" / "a").mkdir(parents=True)
    for i in range(4):
        (tmp_path / "one" / "a" / f"{i}.pgm").write_bytes(b"P5 4 4 255 " + bytes(16))
    form = {"cnnx.input": '{"channels": 1, "height": 8, "width": 8}', "cnnx.classes": '["a", "b"]'}
    cnnx.save(cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(64, 2)), tmp_path / "other.safetensors", form)
    result = _run(*arguments, check=False, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "option",
    [("--threads", 10**12), ("--seed", 2**64), ("--image-size", 100_000), ("--epochs", 0), ("--batch-size", 0)],
)
def test_options_out_of_range_are_refused(tmp_path, option):
    result = _run("train", *option, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert option[0] in result.stderr
    assert "Traceback" not in result.stderr


def test_divergence_is_told(tmp_path):
    result = _run("train", "--lr", "1e30", "--epochs", 1, cwd=tmp_path)
    assert "the loss is no number any more; train with a lower --lr" in result.stderr


def test_ctrl_c_before_training_says_that_nothing_is_saved(tmp_path):
    code = """
import sys, cnnx, cnnx.cli
def interrupt(*arguments): raise KeyboardInterrupt
cnnx.data.digits = interrupt
sys.argv = ["cnnx", "train"]
cnnx.cli.main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.returncode == 130
    assert result.stderr.endswith("interrupted; nothing was saved\n")


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_ctrl_c_saves_and_says_so(tmp_path):
    path = tmp_path / "m.safetensors"
    command = [sys.executable, "-m", "cnnx", "train", "--epochs", "10000", "--out", str(path)]
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job of a shell ignores it, and hands that on
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1"):
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the model so far is saved in" in output
    assert "Traceback" not in errors
    assert cnnx.load(Path(path))(cnnx.zeros(1, 1, 8, 8)).shape == (1, 10)
