"""Datasets, augmentation, loader."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import cnnx
from cnnx import data

Image = pytest.importorskip("PIL.Image")


def _folder(root, sizes=((12, 10),), mode="RGB", classes=("cat", "dog"), count=4):
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            height, width = sizes[i % len(sizes)]
            shape = (height, width) if mode == "L" else (height, width, 3)
            pixels = (rng.integers(0, 100, shape) + 100 * label).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.{'png' if i % 2 else 'jpg'}")
    return root


def test_digits():
    train, test = data.digits()
    assert (len(train), len(test)) == (1437, 360)
    assert train.classes == [str(i) for i in range(10)]
    assert train.images.min() == 0
    assert train.images.max() == 1
    sklearn = pytest.importorskip("sklearn.datasets")
    digits = sklearn.load_digits()
    everything = np.concatenate([train.images, test.images]).reshape(-1, 64)
    theirs = digits.images.reshape(-1, 64) / 16
    assert {row.tobytes() for row in everything} == {row.astype(np.float32).tobytes() for row in theirs}


def test_array_dataset_checks():
    with pytest.raises(ValueError, match="expected images"):
        data.ArrayDataset(np.zeros(3), np.zeros(3, int))
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        data.ArrayDataset(np.zeros((3, 2, 2)), np.zeros(2, int))
    with pytest.raises(ValueError, match="integer labels"):
        data.ArrayDataset(np.zeros((3, 2, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="negative"):
        data.ArrayDataset(np.zeros((1, 2, 2)), [-1])
    with pytest.raises(ValueError, match="no name"):
        data.ArrayDataset(np.zeros((1, 2, 2)), [2], ["a", "b"])
    for label in (10**12, 2**63 - 1):
        with pytest.raises(ValueError, match=rf"labels must be below 1,048,576; got {label}\."):
            data.ArrayDataset(np.zeros((1, 2, 2)), [label])
    with pytest.raises(ValueError, match="no name"):
        data.ArrayDataset(np.zeros((1, 2, 2)), np.array([2**64 - 1], np.uint64), ["a", "b"])
    assert data.ArrayDataset(np.full((1, 2, 2), 255, np.uint8), [0]).images.max() == 1


def test_random_split_covers_everything_once():
    train, _ = data.digits()
    a, b = data.random_split(train, [0.7, 0.3], seed=3)
    assert sorted([*a.indices, *b.indices]) == list(range(len(train)))
    again, _ = data.random_split(train, [0.7, 0.3], seed=3)
    np.testing.assert_array_equal(a.indices, again.indices)
    assert a[5][1] == train[int(a.indices[5])][1]
    with pytest.raises(ValueError, match="add up"):
        data.random_split(train, [0.7, 0.7])


def test_image_folder(tmp_path):
    root = _folder(tmp_path / "set", sizes=((12, 10), (12, 10), (6, 8)))
    (root / "cat" / "deeper").mkdir()
    Image.fromarray(np.zeros((12, 10, 4), np.uint8)).save(root / "cat" / "deeper" / "alpha.png")
    (root / "dog" / "broken.png").write_bytes(b"no image")
    whole = (root / "dog" / "1.png").read_bytes()
    (root / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "notes.txt").write_text("not an image, by its name")
    folder = data.ImageFolder(root)
    assert folder.classes == ["cat", "dog"]
    assert len(folder) == 9
    assert sorted(path.name for path, _ in folder.broken) == ["broken.png", "cut.png"]
    assert all(reason for _, reason in folder.broken)
    assert (folder.size, folder.channels) == ((12, 10), 3)
    images, labels = (values.numpy() for values in next(iter(data.DataLoader(folder, 9))))
    assert images.shape == (9, 3, 12, 10)
    assert images.dtype == np.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert labels.tolist() == [0] * 5 + [1] * 4
    np.testing.assert_array_equal(folder[3][0], images[3])


def test_image_folder_of_grey_images(tmp_path):
    folder = data.ImageFolder(_folder(tmp_path / "grey", mode="L"), size=(5, 7))
    assert folder[0][0].shape == (1, 5, 7)
    assert data.ImageFolder(tmp_path / "grey", channels=3)[0][0].shape == (3, 12, 10)


def test_image_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        data.ImageFolder(tmp_path / "missing")
    with pytest.raises(ValueError, match="no sub-folders"):
        data.ImageFolder(tmp_path)
    root = _folder(tmp_path / "set")
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match="class empty"):
        data.ImageFolder(root)
    with pytest.raises(ValueError, match="does not know: empty"):
        data.ImageFolder(root, classes=["cat", "dog"])


def test_load_image(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)
    assert data.load_image(path, 1).tolist() == np.arange(12).reshape(1, 3, 4).tolist()
    assert data.load_image(path, 3, (6, 2)).shape == (3, 6, 2)
    with pytest.raises(FileNotFoundError):
        data.load_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"text")
    with pytest.raises(ValueError, match="is not an image"):
        data.load_image(tmp_path / "c.png")


def test_sixteen_bits_are_scaled(tmp_path):
    path = tmp_path / "deep.png"
    values = (np.arange(256) * 257).reshape(16, 16)
    Image.fromarray(values.astype(np.uint16)).save(path)
    assert data.load_image(path, 1)[0].tolist() == (values // 257).tolist()
    assert data.load_image(path, 3)[2].tolist() == (values // 257).tolist()
    (tmp_path / "set" / "a").mkdir(parents=True)
    path.rename(tmp_path / "set" / "a" / path.name)
    assert data.ImageFolder(tmp_path / "set").channels == 1


def test_sixteen_and_thirty_two_bits_in_other_formats(tmp_path):
    values = (np.arange(256) * 257).reshape(16, 16)
    for name, pixels in (("a.tif", values.astype(np.uint16)), ("a.pgm", values.astype(np.uint16))):
        Image.fromarray(pixels).save(tmp_path / name)
        assert data.load_image(tmp_path / name, 1)[0].tolist() == (values // 257).tolist()
    (tmp_path / "set" / "a").mkdir(parents=True)
    for kind in (np.float32, np.int32):
        path = tmp_path / "set" / "a" / f"{kind.__name__}.tif"
        Image.fromarray(values.astype(kind)).save(path)
        with pytest.raises(ValueError, match="its values have 32 bits, whose range is not known"):
            data.load_image(path)
    (tmp_path / "a.pgm").rename(tmp_path / "set" / "a" / "a.pgm")
    folder = data.ImageFolder(tmp_path / "set")
    assert [path.name for path in folder.paths] == ["a.pgm"]
    assert all("32 bits" in reason for _, reason in folder.broken)


def test_sizes_of_images(tmp_path):
    root = _folder(tmp_path / "set")
    for size in (8, (8, 8), [8, 8], np.int64(8)):
        assert data.ImageFolder(root, size=size)[0][0].shape == (3, 8, 8)
        assert data.load_image(root / "cat" / "1.png", size=size).shape == (3, 8, 8)
    for size in (0, -1, 1.5, (8,), (8, 0), (8, 8, 8), "88", 10**6, True):
        with pytest.raises(ValueError, match=r"\[ImageFolder\] size must be \(height, width\) or one number for both"):
            data.ImageFolder(root, size=size)
        with pytest.raises(ValueError, match=r"\[load_image\] size must be"):
            data.load_image(root / "cat" / "1.png", size=size)
    with pytest.raises(ValueError, match="cache_bytes must be an integer of at least 0"):
        data.ImageFolder(root, cache_bytes=-1)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_loader_gives_everything_once_and_repeats(prefetch):
    train, _ = data.digits()

    def run(seed):
        loader = data.DataLoader(train, 100, shuffle=True, augment=data.RandomCrop(1), seed=seed, prefetch=prefetch)
        assert len(loader) == 15
        return [[(x.numpy().copy(), y.numpy().copy()) for x, y in loader] for _ in range(2)]

    first, second = run(1)
    assert sum(len(y) for _, y in first) == len(train)
    np.testing.assert_array_equal(np.sort(np.concatenate([y for _, y in first])), np.sort(train.labels))
    assert not np.array_equal(first[0][1], second[0][1])
    for (x, y), (a, b) in zip(first, run(1)[0], strict=True):
        np.testing.assert_array_equal(x, a)
        np.testing.assert_array_equal(y, b)


def test_loader_drops_and_checks():
    dataset = data.ArrayDataset(np.zeros((10, 2, 2)), np.zeros(10, int))
    assert [len(y) for _, y in data.DataLoader(dataset, 4)] == [4, 4, 2]
    assert [len(y) for _, y in data.DataLoader(dataset, 4, drop_last=True)] == [4, 4]
    with pytest.raises(ValueError, match="batch_size"):
        data.DataLoader(dataset, 0)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": -3}, {"batch_size": 1.5}, {"batch_size": None}, {"prefetch": -1}, {"seed": -1}],
)
def test_loader_checks_its_options(options):
    with pytest.raises(ValueError, match=rf"\[DataLoader\] {next(iter(options))} must be an integer of at least"):
        data.DataLoader(data.digits()[0], **options)


def test_loader_works_ahead():
    class Slow:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            time.sleep(0.02)
            return np.zeros((1, 2, 2)), 0

    start = time.perf_counter()
    for _ in data.DataLoader(Slow(), 1, prefetch=2):
        time.sleep(0.02)
    assert time.perf_counter() - start < 6 * 0.04 * 0.95


def test_loader_passes_errors_on_and_ends_its_thread():
    class Failing:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            if index == 5:
                raise KeyError("broken item")
            return np.zeros((1, 2, 2)), 0

    with pytest.raises(KeyError, match="broken item"):
        list(data.DataLoader(Failing(), 2))
    for _ in data.DataLoader(data.ArrayDataset(np.zeros((100, 2, 2)), np.zeros(100, int)), 1):
        break
    time.sleep(0.3)
    assert not [t for t in threading.enumerate() if t.name == "cnnx-loader"]


_SLOW = """
import os, sys, threading, time, numpy as np, cnnx
class Slow:
    def __len__(self): return 10_000
    def __getitem__(self, index):
        time.sleep(PAUSE)
        return cnnx.functional.conv2d(cnnx.ones(1, 8, 16, 16), cnnx.ones(8, 8, 7, 7))[0], 0
"""


def _python(code: str, pause: float = 0.0, before: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", before + _SLOW.replace("PAUSE", str(pause)) + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_process_ends_with_an_unfinished_loader():
    """Python aborts where a thread of the library's wants its lock back from an interpreter that has ended."""
    for ending in ("", "sys.exit()", "raise SystemExit(0)"):
        result = _python(f"batches = iter(cnnx.data.DataLoader(Slow(), 500))\nnext(batches)\n{ending}")
        assert (result.returncode, result.stderr) == (0, "")


def test_an_iteration_that_outlives_its_thread_is_told():
    """Functions of atexit from before the import run when the loader's threads have been stopped."""
    before = """
import atexit
@atexit.register
def late():
    try:
        for _ in range(9): next(batches)
    except RuntimeError as error: print(error)
"""
    result = _python("batches = iter(cnnx.data.DataLoader(Slow(), 4))\nnext(batches)", before=before)
    assert "[DataLoader] this iteration has ended with the process" in result.stdout, result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_that_the_iteration_is_its_parents():
    code = """
loader = cnnx.data.DataLoader(Slow(), 4)
batches = iter(loader)
next(batches)
child = os.fork()
if child == 0:
    try:
        for _ in range(5):
            next(batches)
    except RuntimeError as error:
        assert "[DataLoader] this iteration belongs to the parent process" in str(error), error
        del batches
        next(iter(loader))
        sys.exit(7)
deadline = time.time() + 30
while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
    if time.time() > deadline:
        os.kill(child, 9)
        sys.exit("the child hangs")
    time.sleep(0.01)
assert os.waitstatus_to_exitcode(ended[1]) == 7, ended
next(batches)
"""
    result = _python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("part", [lambda folder: folder, lambda folder: data.Subset(folder, range(8))])
def test_loaders_of_folders_end_before_the_batch_does(tmp_path, monkeypatch, part):
    folder = data.ImageFolder(_folder(tmp_path / "set"))
    pixels, read, in_second_batch = folder._pixels(0), [], threading.Event()

    def slow(index):
        read.append(index)
        if len(read) > 4:
            in_second_batch.set()
            time.sleep(0.2)
        return pixels

    monkeypatch.setattr(folder, "_pixels", slow)
    batches = iter(data.DataLoader(part(folder), 4))
    next(batches)
    assert in_second_batch.wait(30)
    batches.close()
    assert 4 < len(read) < 8


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
@pytest.mark.parametrize("dataset", ["Slow()", "cnnx.data.Subset(cnnx.data.Subset(Slow(), range(900)), range(800))"])
def test_ctrl_c_does_not_wait_for_a_whole_batch(dataset):
    code = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
start = time.time()
try:
    next(iter(cnnx.data.DataLoader({dataset}, 500)))
except KeyboardInterrupt:
    print(time.time() - start)
"""
    result = _python(code, pause=0.02)
    assert float(result.stdout) < 5, result.stderr


def test_augmentations_keep_shape_and_depend_on_the_generator():
    images = np.random.default_rng(0).random((16, 3, 8, 6), dtype=np.float32)
    for augment in (
        data.RandomCrop(2),
        data.RandomHorizontalFlip(),
        data.RandomAffine(10, 0.1, 1),
        data.Compose(data.RandomCrop(1), data.RandomHorizontalFlip()),
    ):
        a, b, c = (augment(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert a.shape == images.shape
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    np.testing.assert_allclose(data.RandomAffine()(images, np.random.default_rng(0)), images, atol=1e-6)
    np.testing.assert_array_equal(data.RandomHorizontalFlip(1.0)(images, np.random.default_rng(0)), images[..., ::-1])
    shifted = data.RandomAffine(shift=3)(np.ones((50, 1, 8, 8), np.float32), np.random.default_rng(0))
    assert shifted.min() == 0
    assert cnnx.from_numpy(shifted).shape == shifted.shape


def test_subsets_by_index_and_by_mask():
    whole = data.ArrayDataset(np.arange(6.0).reshape(6, 1, 1, 1), np.arange(6))
    mask = whole.labels % 2 == 1
    assert [label for _, label in data.Subset(whole, mask)] == [1, 3, 5]
    assert [label for _, label in data.Subset(whole, [4, 0])] == [4, 0]
    assert len(data.Subset(whole, [])) == 0
    for wrong in (mask[:5], [0.5, 1.5], [[0, 1]], 3):
        with pytest.raises(ValueError, match=r"\[Subset\] expected a list of indices, or a mask of 6 truth values"):
            data.Subset(whole, wrong)
