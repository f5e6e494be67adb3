"""Bad calls of what builds, converts, loads and analyses models."""

from __future__ import annotations

import cnnx
import cnnx.functional as F

from .common import NET, Case, Dictionary, Product, X

CASES: list[Case] = [
    # Patterns, conversion, weights, freezing; each has a table of its own in its tests
    (
        lambda: cnnx.pattern("INPUT -> REUL -> FC", input_shape=(3, 8, 8), classes=2),
        ValueError,
        '[pattern] "REUL" is no layer. Layers are INPUT, CONV, CONV3-64, CONV11-96/4P0, RELU, POOL, POOL3/2, FC, FC4096, BN, LRN,'
        " DROPOUT.\n  INPUT -> REUL -> FC\n           ^",
    ),
    (
        lambda: cnnx.pattern_of(cnnx.Sequential(cnnx.GELU())),
        ValueError,
        "[pattern_of] no pattern can say layer \"0\": GELU(approximate='none').",
    ),
    (
        lambda: cnnx.convert.linear_to_conv(cnnx.ReLU(), (1, 4, 4)),
        ValueError,
        "[linear_to_conv] expected a Sequential, whose layers are known; got ReLU. Build the net as a Sequential.",
    ),
    (
        lambda: cnnx.convert.conv_to_linear(cnnx.ReLU(), (1, 4, 4)),
        ValueError,
        "[conv_to_linear] expected a Conv2d; got ReLU.",
    ),
    (
        lambda: cnnx.convert.sliding_scores(cnnx.MaxPool2d(4), cnnx.zeros(1, 1, 8, 8), 3),
        ValueError,
        "[sliding_scores] stride must divide the net's own, 4; got 3.",
    ),
    (
        lambda: cnnx.load_weights(cnnx.ReLU(), "weights.h5"),
        ValueError,
        "[load_weights] expected a file named .safetensors, .npz, .pth, .pt or .bin; got weights.h5.",
    ),
    (
        lambda: cnnx.freeze(cnnx.Sequential(cnnx.Linear(1, 1)), "haed"),
        ValueError,
        '[freeze] no parameter or module with parameters is named "haed"; there are 0.',
    ),
    (
        lambda: cnnx.unfreeze(cnnx.Sequential(cnnx.Linear(1, 1)), until="haed"),
        ValueError,
        '[unfreeze] no parameter or module with parameters is named "haed"; there are 0.',
    ),
    (
        lambda: cnnx.testing.gradcheck(lambda x: x, cnnx.ones(1, requires_grad=True)),
        ValueError,
        "[gradcheck] inputs that require a gradient must be float64 leaves",
    ),
    # Analysis, memory, checkpointing
    (
        lambda: cnnx.Sequential(cnnx.ReLU(), cnnx.Conv2d(1, 1, 3))(X),
        ValueError,
        "got input of shape (2, 3, 8, 8); at 1 (Conv2d), input (2, 3, 8, 8).",
    ),
    (
        lambda: cnnx.zeros(2, device="meta").numpy(),
        ValueError,
        '[to] a tensor on "meta" has a shape but no values; got device "cpu".',
    ),
    (
        lambda: cnnx.Device("cuda").__enter__(),
        ValueError,
        '[device] a block may be under "cpu" or "meta"; got "cuda:0".',
    ),
    (lambda: cnnx.cuda.memory.info("cpu"), ValueError, '[cuda] expected a CUDA device; got "cpu".'),
    (lambda: cnnx.Device("tpu"), ValueError, '[device] expected "cpu", "cuda", "cuda:N" or "meta"; got "tpu".'),
    (lambda: cnnx.checkpoint(F.relu), TypeError, "[checkpoint] expected a Module; got"),
    (
        lambda: cnnx.checkpoint(cnnx.Linear(2, 2))(X, X),
        TypeError,
        "[checkpoint] a checkpointed module takes one tensor; got other arguments.",
    ),
    (
        lambda: cnnx.memory.set_workspace_limit(-1),
        ValueError,
        '[set_workspace_limit] expected a positive number of bytes, or text such as "6 GB"; got -1.',
    ),
    (
        lambda: cnnx.memory.set_workspace_limit("much"),
        ValueError,
        "[set_workspace_limit] expected a positive number of",
    ),
    (
        lambda: cnnx.analysis.summary(NET, (3, -1, 8)),
        ValueError,
        "[summary] input_shape must be the shape of one image without the batch, such as (3, 224, 224); got (3, -1, 8).",
    ),
    (lambda: cnnx.analysis.summary(NET, 3), ValueError, "[summary] input_shape must be the shape of one image"),
    (
        lambda: cnnx.analysis.summary(NET, (3, 8, 8), style="plain"),
        ValueError,
        '[summary] style must be "table" or "notes"; got "plain".',
    ),
    (lambda: cnnx.analysis.check_sizes(F.relu), TypeError, "[check_sizes] expected a Module; got"),
    (lambda: cnnx.analysis.check_sizes(NET, (4, 8, 8)), ValueError, "at 0 (Conv2d), input (1, 4, 8, 8)."),
    (
        lambda: cnnx.analysis.receptive_field(cnnx.Linear(3, 3), (3,)),
        ValueError,
        "[receptive_field] a receptive field needs images (channels, height, width); got (3,).",
    ),
    (
        lambda: cnnx.analysis.receptive_field(Product(), (3, 8, 8)),
        ValueError,
        "[receptive_field] the receptive field of the model (Product) is not known: what it does beside its layers cannot",
    ),
    (
        lambda: cnnx.analysis.receptive_field(Product(cnnx.ReLU()), (3, 8, 8)),
        ValueError,
        "[receptive_field] the input of layer (ReLU) comes from no layer, so its field is not known. Use layers in place",
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), 0),
        ValueError,
        "[memory_report] batch_size must be an integer of at least 1; got 0.",
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), mode="both"),
        ValueError,
        '[memory_report] mode must be "train" or "infer"; got \'both\'.',
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), optimizer="newton"),
        ValueError,
        '[memory_report] optimizer must be one of "sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", or a function',
    ),
    (lambda: cnnx.analysis.memory_report(F.relu, (3, 8, 8)), TypeError, "[memory_report] expected a Module; got"),
    (
        lambda: cnnx.analysis.suggest_batch_size(NET, (3, 8, 8), "lots"),
        ValueError,
        "[suggest_batch_size] expected a positive number of bytes, or text such as \"6 GB\"; got 'lots'.",
    ),
    (
        lambda: cnnx.analysis.suggest_batch_size(NET, (3, 8, 8), 100),
        ValueError,
        "KiB; got 100 B. Use smaller images, a smaller model or cnnx.checkpoint.",
    ),
    (
        lambda: cnnx.pattern("INPUT -> FC", input_shape=8, classes=2),
        ValueError,
        "[pattern] input_shape must be (channels, h",
    ),
    (lambda: cnnx.pattern("INPUT -> FC2", input_shape=(1, 2, 2.0)), ValueError, "at least 1 each; got (1, 2, 2.0)."),
    (
        lambda: cnnx.pattern("INPUT -> FC", input_shape=(1, 2, 2), classes=2**40),
        ValueError,
        "[pattern] classes must be at most 2147483647; got 1099511627776.",
    ),
    (
        lambda: cnnx.pattern("INPUT -> DROPOUT -> FC2", input_shape=(1, 2, 2), dropout="half"),
        ValueError,
        "[pattern] dropout must lie in [0, 1]; got 'half'.",
    ),
    (
        lambda: cnnx.pattern_of(cnnx.Sequential(cnnx.AdaptiveAvgPool2d(6))),
        ValueError,
        'can say layer "0": AdaptiveAvgPool2d(output_size=6). Pass input_shape=...: where it changes nothing, it is left out.',
    ),
    (
        lambda: cnnx.pattern_of(cnnx.Sequential(cnnx.Conv2d(1, 2, 3)), input_shape=(3, 8, 8)),
        ValueError,
        '[pattern_of] input_shape does not fit layer "0": [conv2d] expected 1 input channels',
    ),
    (
        lambda: cnnx.pattern_of(cnnx.Sequential(), input_shape=5),
        ValueError,
        "[pattern_of] input_shape must be (channels",
    ),
    (
        lambda: cnnx.convert.linear_to_conv("vgg16", (3, 8, 8)),
        TypeError,
        "[linear_to_conv] expected a Module; got str.",
    ),
    (
        lambda: cnnx.convert.linear_to_conv(NET, 8),
        ValueError,
        "[linear_to_conv] input_shape must be (channels, height, width)",
    ),
    (
        lambda: cnnx.convert.conv_to_linear(cnnx.Conv2d(1, 1, 1), (1, 2)),
        ValueError,
        "[conv_to_linear] input_shape must be (channels, height, width), at least 1 each; got (1, 2).",
    ),
    (lambda: cnnx.convert.sliding_scores(None, X), TypeError, "[sliding_scores] expected a Module; got NoneType."),
    (
        lambda: cnnx.convert.sliding_scores(cnnx.MaxPool2d(4), cnnx.zeros(1, 1, 8, 8), 1.5),
        ValueError,
        "[sliding_scores] stride must be an integer of at least 1; got 1.5.",
    ),
    (
        lambda: cnnx.load_weights(cnnx.ReLU, "weights.npz"),
        TypeError,
        "[load_weights] expected a Module; got the class ReLU.",
    ),
    (
        lambda: cnnx.load_weights(cnnx.ReLU(), "a\0.safetensors"),
        ValueError,
        "[path] expected a file's name; got 'a\\x00.safetensors'.",
    ),
    (lambda: cnnx.freeze(NET, 0), TypeError, "[freeze] names must be dotted names; got [0]."),
    (lambda: cnnx.freeze(cnnx.models.lenet5), TypeError, "[freeze] expected a Module; got function."),
    (
        lambda: cnnx.checkpoint(cnnx.ReLU),
        TypeError,
        "[checkpoint] expected a Module; got the class ReLU. Call it: it makes",
    ),
    (
        lambda: cnnx.analysis.summary(NET, (3, float("inf"), 8)),
        ValueError,
        "[summary] input_shape must be the shape of one",
    ),
    (
        lambda: cnnx.analysis.summary(NET, (3, 8.5, 8)),
        ValueError,
        "[summary] input_shape must be the shape of one image",
    ),
    (
        lambda: cnnx.analysis.receptive_field(cnnx.MaxPool2d(2), (3, 8, 6)).pixels(0, 3),
        ValueError,
        "[receptive_field] column must be at most 2; got 3.",
    ),
    (
        lambda: cnnx.analysis.receptive_field(cnnx.MaxPool2d(2), (3, 8, 6)).pixels(0.5, 0),
        ValueError,
        "[receptive_field] row must be an integer of at least 0; got 0.5.",
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), True),
        ValueError,
        "[memory_report] batch_size must be an integer of at least 1; got True.",
    ),
    (
        lambda: cnnx.analysis.memory_report(cnnx.ReLU(), (3, 8, 8)),
        ValueError,
        '[memory_report] the model has no parameters to train. Use mode="infer".',
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), optimizer=lambda parameters: None),
        TypeError,
        "[memory_report] the function optimizer must return an Optimizer; got NoneType.",
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), loss=5),
        TypeError,
        "[memory_report] loss must be a function of",
    ),
    (
        lambda: cnnx.analysis.memory_report(NET, (3, 8, 8), loss=lambda outputs, targets: None),
        TypeError,
        "[memory_report] the function loss must return a tensor; got NoneType.",
    ),
    (
        lambda: cnnx.analysis.memory_report(Dictionary(), (3, 8, 8)),
        TypeError,
        "[memory_report] the model must return a tensor, or a tuple of them; got dict. For other outputs pass loss=...",
    ),
    (
        lambda: cnnx.analysis.suggest_batch_size(None, (3, 8, 8)),
        TypeError,
        "[suggest_batch_size] expected a Module; got",
    ),
    (
        lambda: cnnx.analysis.suggest_batch_size(NET, (3, 8, 8), largest=0),
        ValueError,
        "[suggest_batch_size] largest must be an integer of at least 1; got 0.",
    ),
]
