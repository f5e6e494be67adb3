"""Models on CUDA: training, files, copies, fusion, gradcheck and the same bits from run to run. See test_cuda.py."""

from __future__ import annotations

import copy
import pickle

import numpy as np
from helpers import assert_close, needs_cuda, randoms

import cnnx
import cnnx.functional as F


def small_net() -> cnnx.Sequential:
    return cnnx.Sequential(
        cnnx.Conv2d(3, 8, 3, padding=1, bias=False),
        cnnx.BatchNorm2d(8),
        cnnx.ReLU(),
        cnnx.MaxPool2d(2),
        cnnx.Conv2d(8, 8, 3, padding=1, groups=8),
        cnnx.ReLU(),
        cnnx.AvgPool2d(2),
        cnnx.Flatten(),
        cnnx.Dropout(0.3),
        cnnx.Linear(32, 10),
    )


@needs_cuda
def test_training_goes_as_on_the_cpu():
    images, labels = np.random.default_rng(0).standard_normal((16, 3, 8, 8)), np.arange(16) % 10
    ends = {}
    for device in ("cpu", "cuda"):
        cnnx.manual_seed(1)
        net = small_net().to(device)
        optimizer = cnnx.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x, t = cnnx.tensor(images, dtype="float32", device=device), cnnx.tensor(labels, device=device)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), t)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        net.eval()
        ends[device] = (losses, net.to("cpu").state_dict(), net(cnnx.tensor(images, dtype="float32")))
    np.testing.assert_allclose(ends["cuda"][0], ends["cpu"][0], rtol=1e-4)
    for name, value in ends["cpu"][1].items():
        assert_close(ends["cuda"][1][name], value, scale=50)
    assert_close(ends["cuda"][2].detach(), ends["cpu"][2].detach(), scale=100)


@needs_cuda
def test_fit_evaluate_and_predict_take_the_model_where_it_is():
    rng = np.random.default_rng(0)
    data = cnnx.data.ArrayDataset(rng.standard_normal((24, 3, 8, 8)).astype(np.float32), np.arange(24) % 10)
    ends = []
    for device in ("cpu", "cuda"):
        cnnx.manual_seed(1)
        net = small_net().to(device)
        history = cnnx.fit(net, data, validation=data, epochs=2, batch_size=8, progress=False)
        ends.append((history.epochs[-1].loss, history.epochs[-1].validation_loss, cnnx.predict(net, data)))
    np.testing.assert_allclose(ends[1][:2], ends[0][:2], rtol=1e-3)
    np.testing.assert_allclose(ends[1][2], ends[0][2], atol=1e-3)


@needs_cuda
def test_gradients_agree_with_differences():
    x, w = (cnnx.tensor(a, device="cuda", requires_grad=True) for a in randoms(20, (2, 3, 5, 4), (4, 3, 3, 3)))
    assert cnnx.testing.gradcheck(lambda x, w: F.conv2d(x, w, stride=2, padding=1), [x, w])
    assert cnnx.testing.gradcheck(lambda x: F.max_pool2d(x, 2).sum(), x)


@needs_cuda
def test_models_and_optimizers_are_saved_and_copied(tmp_path):
    net = small_net().to("cuda")
    cnnx.save(net, tmp_path / "net.safetensors")
    loaded = cnnx.load(tmp_path / "net.safetensors")
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(np.asarray(loaded.state_dict()[name]), np.asarray(value))
    net.load_state_dict(loaded.state_dict())
    assert net[0].weight.device == "cuda"
    assert copy.deepcopy(net)[0].weight.device == "cuda"
    assert pickle.loads(pickle.dumps(net[0].weight.detach())).device == "cuda"
    optimizer = cnnx.optim.Adam(net.parameters(), lr=0.01)
    net(cnnx.randn(2, 3, 8, 8, device="cuda")).sum().backward()
    optimizer.step()
    other = cnnx.optim.Adam(net.parameters(), lr=0.01)
    other.load_state_dict(optimizer.state_dict())
    other.step()


@needs_cuda
def test_evaluation_fuses_layers_on_the_gpu_too():
    net = small_net().eval()
    x = cnnx.randn(2, 3, 8, 8)
    with cnnx.no_grad():
        expected = net(x)
        assert_close(net.to("cuda")(x.to("cuda")), expected)


@needs_cuda
def test_results_are_the_same_from_run_to_run():
    x, w = (cnnx.tensor(a, dtype="float32", device="cuda") for a in randoms(14, (4, 8, 20, 20), (16, 8, 3, 3)))
    results = []
    for _ in range(2):
        for t in (x, w):
            t.requires_grad_()
            t.grad = None
        y = F.conv2d(x, w, padding=1)
        (y * y).sum().backward()
        results.append([np.asarray(t) for t in (y, x.grad, w.grad)])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
