"""The tape: accumulation, retain_graph, no_grad, errors, stale values, long chains."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F


def test_gradients_accumulate_over_calls_and_uses():
    x = cnnx.tensor([2.0], requires_grad=True)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.item() == 7
    y = x * 2
    x.grad = None
    (y * y + y).sum().backward()
    assert x.grad.item() == pytest.approx(2 * (2 * 4) + 2)


def test_grad_belongs_to_the_leaf_alone():
    x = cnnx.ones(2, requires_grad=True)
    seed = cnnx.ones(2)
    (x + 0).backward(seed)
    x.grad.fill_(5)
    assert seed.tolist() == [1, 1]
    y = cnnx.ones(2, requires_grad=True)
    z = cnnx.ones(2, requires_grad=True)
    (y + z).sum().backward()
    y.grad.fill_(9)
    assert z.grad.tolist() == [1, 1]


def test_retain_graph():
    x = cnnx.tensor([3.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_partly_freed_graph():
    x = cnnx.tensor([3.0], requires_grad=True)
    shared = x * x
    a, b = shared.sum(), (shared * 2).sum()
    a.backward()
    with pytest.raises(RuntimeError, match="freed"):
        b.backward()


def test_no_grad():
    x = cnnx.ones(2, requires_grad=True)
    with cnnx.no_grad():
        y = x * 2
        assert not cnnx.is_grad_enabled()
        with cnnx.enable_grad():
            assert (x * 2).requires_grad
    assert not y.requires_grad
    assert cnnx.is_grad_enabled()

    @cnnx.no_grad()
    def double(t):
        return t * 2

    assert not double(x).requires_grad
    loss = (x * 2).sum()
    with cnnx.no_grad(), pytest.raises(RuntimeError, match="no_grad"):
        loss.backward()
    with pytest.raises(KeyError), cnnx.no_grad():
        raise KeyError
    assert cnnx.is_grad_enabled()


def test_no_grad_is_per_thread():
    seen = []
    with cnnx.no_grad():
        thread = threading.Thread(target=lambda: seen.append(cnnx.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


_MODES = pytest.mark.parametrize(
    ("mode", "read", "inside"),
    [
        (cnnx.no_grad, cnnx.is_grad_enabled, False),
        (cnnx.detect_anomaly, cnnx._core._is_detect_anomaly, True),
        (lambda: cnnx.autocast("cuda"), cnnx._core._autocast, 3),
        (lambda: cnnx.autocast("cuda", "bfloat16"), cnnx._core._autocast, 2),
    ],
)


@_MODES
def test_threads_may_share_a_context_manager(mode, read, inside):
    """A state that one thread found must not become that of another, which had its own."""
    shared, entered, left, seen = mode(), threading.Event(), threading.Event(), []
    outside = read()

    def work():
        with mode():
            with shared:
                entered.set()
                left.wait(30)
            seen.append(read())

    thread = threading.Thread(target=work)
    with shared:
        thread.start()
        entered.wait(30)
    mine = read()
    left.set()
    thread.join()
    assert (mine, seen) == (outside, [inside])


@_MODES
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_context_managers_are_copied_and_pickled(mode, read, inside, duplicate):
    outside = read()
    model = cnnx.Identity()
    model.mode = mode()
    with model.mode:
        twins = [duplicate(model.mode), duplicate(model).mode]
    for twin in twins:
        assert twin is not model.mode
        with twin:
            assert read() == inside
        assert read() == outside


def test_copies_of_enable_grad_and_of_a_disabled_autocast():
    with cnnx.no_grad(), cnnx.autocast("cuda"), copy.deepcopy(cnnx.enable_grad()):
        assert cnnx.is_grad_enabled()
        with copy.deepcopy(cnnx.autocast("cuda", enabled=False)):
            assert cnnx._core._autocast() == 0


def test_decorated_generators_run_in_the_mode_and_their_callers_do_not():
    ended = []

    @cnnx.no_grad()
    def numbers():
        try:
            got = yield cnnx.is_grad_enabled()
            try:
                yield got, cnnx.is_grad_enabled()
            except KeyError:
                yield "caught", cnnx.is_grad_enabled()
            yield "last"
            return cnnx.is_grad_enabled()
        finally:
            ended.append(cnnx.is_grad_enabled())

    steps = numbers()
    assert next(steps) is False
    assert cnnx.is_grad_enabled()
    assert steps.send(3) == (3, False)
    assert steps.throw(KeyError()) == ("caught", False)
    assert next(steps) == "last"
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is False
    unfinished = numbers()
    next(unfinished)
    unfinished.close()
    assert ended == [False, False]
    assert cnnx.is_grad_enabled()


def test_decorated_coroutines_run_in_the_mode():
    @cnnx.no_grad()
    async def work(name):
        before = cnnx.is_grad_enabled()
        await asyncio.sleep(0)
        return name, before, cnnx.is_grad_enabled()

    async def beside():
        await asyncio.sleep(0)
        return cnnx.is_grad_enabled()

    async def both():
        return await asyncio.gather(work("a"), beside(), work("b"))

    assert asyncio.run(both()) == [("a", False, False), True, ("b", False, False)]
    with pytest.raises(TypeError, match=r"\[no_grad\] async generators are not decorated"):

        @cnnx.no_grad()
        async def steps():
            yield


def test_modes_of_the_process_may_be_entered_again():
    mode = cnnx.fit_mode("strict")
    with mode:
        assert cnnx.get_fit_mode() == "strict"
    assert cnnx.get_fit_mode() != "strict"
    with mode, mode:
        assert cnnx.get_fit_mode() == "strict"
    assert cnnx.get_fit_mode() != "strict"


def test_backward_errors():
    x = cnnx.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"\[backward\] a tensor of shape \(2,\) needs a gradient argument"):
        (x * 2).backward()
    with pytest.raises(ValueError, match="shape"):
        (x * 2).backward(cnnx.ones(3))
    with pytest.raises(RuntimeError, match="no gradient record"):
        cnnx.ones(1).backward()


def test_updates_of_leaves():
    x = cnnx.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        x += 1
    y = (x * x).sum()
    with cnnx.no_grad():
        x += 1
    assert x.tolist() == [2, 2]
    assert x.requires_grad
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_detach_shares_memory_without_a_record():
    x = cnnx.ones(2, requires_grad=True)
    d = (x * 3).detach()
    assert not d.requires_grad
    assert d.is_leaf
    x.detach().fill_(7)
    assert x.tolist() == [7, 7]


def test_long_chains_need_no_recursion():
    x = cnnx.ones(1, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(100_000):
        y = y + 1
    del y  # unlinking must not recurse either


@given(st.integers(0, 2**32 - 1))
def test_random_graphs_match_finite_differences(seed):
    rng = np.random.default_rng(seed)

    def fn(a, b):
        nodes = [a, b]
        order = np.random.default_rng(seed)
        for _ in range(8):
            p, q = (nodes[i] for i in order.integers(0, len(nodes), 2))
            nodes.append([p + q, p * q, p - q, F.tanh(p), F.sigmoid(q) * p][order.integers(0, 5)])
        total = nodes[0]
        for node in nodes[1:]:
            total = total + node
        return total

    inputs = [cnnx.tensor(rng.standard_normal(3), dtype="float64", requires_grad=True) for _ in range(2)]
    assert cnnx.testing.gradcheck(fn, inputs)


def test_arrays_changed_between_forward_and_backward_do_no_harm():
    images, labels = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    x = cnnx.from_numpy(images).requires_grad_()
    loss = F.cross_entropy(x, cnnx.from_numpy(labels))
    labels[:] = 10**12  # the tape must have kept its own
    loss.backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_several_threads_run_backward_on_their_own_graphs():
    w = cnnx.randn(16, 16)
    results = [None] * 4

    def work(i):
        x = cnnx.ones(8, 16, requires_grad=True)
        for _ in range(20):
            x.grad = None
            F.relu(x @ w).sum().backward()
        results[i] = x.grad.numpy().copy()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_gradcheck_finds_a_wrong_gradient():
    def wrong(x):
        return x * x.detach()  # half of the gradient of x squared

    x = cnnx.tensor(np.array([1.0, 2.0]), dtype="float64", requires_grad=True)
    with pytest.raises(AssertionError, match=r"gradient of input 0 is wrong in 2 of 2 places; worst at \(1,\)"):
        cnnx.testing.gradcheck(wrong, x)
    assert not cnnx.testing.gradcheck(wrong, x, raise_exception=False)


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_gradcheck_leaves_inputs_alone_when_the_function_raises(fails_at):
    calls = []

    def fn(x):
        calls.append(1)
        if len(calls) == fails_at:
            raise ArithmeticError
        return x * x

    x = cnnx.tensor(np.array([1.0, 2.0]), dtype="float64", requires_grad=True)
    x.grad = grad = cnnx.ones(2, dtype="float64")
    with pytest.raises(ArithmeticError):
        cnnx.testing.gradcheck(fn, x)
    assert x.tolist() == [1, 2]
    assert x.grad.tolist() == grad.tolist() == [1, 1]
