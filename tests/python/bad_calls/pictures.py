"""Bad calls of cnnx.viz."""

from __future__ import annotations

import numpy as np

import cnnx
import cnnx.functional as F

from .common import HUGE, NET, Case, Unused, W, X, meta_net

CASES: list[Case] = [
    # Pictures
    (
        lambda: cnnx.viz.filter_grid(cnnx.Linear(2, 2)),
        ValueError,
        "[filter_grid] expected a model with a Conv2d; got Linear without one.",
    ),
    (
        lambda: cnnx.viz.filter_grid(NET, "2"),
        ValueError,
        "[filter_grid] expected a layer with weights; 2 is a Flatten.",
    ),
    (
        lambda: cnnx.viz.filter_grid(W[0]),
        ValueError,
        "[filter_grid] expected weights (K, C, R, S); got shape (3, 3, 3).",
    ),
    (
        lambda: cnnx.viz.filter_grid(cnnx.zeros(65, 64, 3, 3)),
        ValueError,
        "[filter_grid] at most 4096 tiles can be told apart; got 65 filters over 64 channels. Pass some of them: filter_grid",
    ),
    (
        lambda: cnnx.viz.filter_grid(W, scale="log"),
        ValueError,
        '[filter_grid] scale must be "each" or "all"; got \'log\'.',
    ),
    (
        lambda: cnnx.viz.filter_grid(W, columns=0),
        ValueError,
        "[filter_grid] columns must be an integer of at least 1; got 0.",
    ),
    (lambda: cnnx.viz.filter_grid(W, ax=W), TypeError, "[filter_grid] ax must be matplotlib's Axes; got Tensor."),
    (
        lambda: cnnx.viz.filter_grid(cnnx.zeros(1, 1, 3, 3, device="meta")),
        ValueError,
        '[filter_grid] the weight must have values; got a tensor on the device "meta".',
    ),
    (
        lambda: cnnx.viz.filter_grid(W / 0),
        ValueError,
        "[filter_grid] the weight must be finite; got NaN or infinity.",
    ),
    (
        lambda: cnnx.viz.layer_outputs(NET, X),
        ValueError,
        "[layer_outputs] expected one image (C, H, W); got shape (2, 3, 8, 8). Pick one of a batch: images[0].",
    ),
    (
        lambda: cnnx.viz.layer_outputs(NET, "image.png"),
        TypeError,
        "[layer_outputs] the image must be an array of numbers; got str.",
    ),
    (lambda: cnnx.viz.layer_outputs(F.relu, X[0]), TypeError, "[layer_outputs] expected a Module; got"),
    (
        lambda: cnnx.viz.layer_outputs(Unused(), X[0], ["unused"]),
        ValueError,
        "[layer_outputs] layers must be called by the model; unused is not, in evaluation mode.",
    ),
    (
        lambda: cnnx.viz.layer_outputs(meta_net(), X[0]),
        ValueError,
        '[layer_outputs] the model needs values; got weight on the device "meta". Make it outside of Device("meta").',
    ),
    (
        lambda: cnnx.viz.activation_maps(NET, X[0], maps=0),
        ValueError,
        "[activation_maps] maps must be an integer of at least 1; got 0.",
    ),
    (
        lambda: cnnx.viz.activation_maps(cnnx.Flatten(), X[0]),
        ValueError,
        "[activation_maps] expected layers with outputs (N, C, H, W); got none.",
    ),
    (
        lambda: cnnx.viz.activation_maps(NET, X[0], classes=["cat"]),
        ValueError,
        "[activation_maps] expected 2 class names; got 1.",
    ),
    (
        lambda: cnnx.viz.saliency_map(NET, X[0], 2),
        ValueError,
        "[saliency_map] target must be a class from 0 to 1; got 2.",
    ),
    (
        lambda: cnnx.viz.saliency(cnnx.ReLU(), X[0]),
        ValueError,
        "[saliency] expected a model with scores (N, classes); got an output of shape (1, 3, 8, 8).",
    ),
    (
        lambda: cnnx.viz.saliency(Unused(two=True), X[0]),
        ValueError,
        "[saliency] expected a model with scores (N, classes); got a tuple.",
    ),
    (
        lambda: cnnx.viz.saliency(NET, X[0], classes=["cat"]),
        ValueError,
        "[saliency] expected 2 class names; got 1.",
    ),
    (
        lambda: cnnx.viz.receptive_field(NET, (3, 8, 8), ["0", "features"]),
        ValueError,
        '[receptive_field] no layer with a receptive field is called "features"; there are 0, 1, 2.',
    ),
    (
        lambda: cnnx.viz.receptive_field(NET, (3, 8, 8), at=(8, 0)),
        ValueError,
        "[receptive_field] at must be (row, column) of a pixel within 8 rows and 8 columns; got (8, 0).",
    ),
    (
        lambda: cnnx.viz.training_curves([]),
        ValueError,
        "[training_curves] expected at least one finished epoch; got none.",
    ),
    (
        lambda: cnnx.viz.training_curves([0.5]),
        TypeError,
        "[training_curves] expected the History of cnnx.fit; got list.",
    ),
    (
        lambda: cnnx.viz.confusion_matrix(np.zeros((2, 3))),
        ValueError,
        "[confusion_matrix] expected a square matrix of counts; got shape (2, 3).",
    ),
    (
        lambda: cnnx.viz.confusion_matrix(np.full((2, 2), 0.5)),
        ValueError,
        "[confusion_matrix] counts must be whole and not negative; got 0.5 to 0.5.",
    ),
    (
        lambda: cnnx.viz.confusion_matrix(np.eye(2), ["cat"]),
        ValueError,
        "[confusion_matrix] expected 2 class names; got 1.",
    ),
    (lambda: cnnx.viz.architecture(F.relu), TypeError, "[architecture] expected a Module; got"),
    (lambda: cnnx.viz.receptive_field(F.relu, (3, 8, 8)), TypeError, "[receptive_field] expected a Module; got"),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", seed=-1),
        ValueError,
        "[conv_demo] seed must be an integer of at least",
    ),
    (
        lambda: cnnx.viz.architecture(cnnx.ReLU(), (3, 8, 8)),
        ValueError,
        "[architecture] expected convolutions, pooling or linear layers; ReLU has none.",
    ),
    (
        lambda: cnnx.viz.architecture(NET, (3, 8, 8), per_line=1),
        ValueError,
        "[architecture] per_line must be at least 3 inches; got 1.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", padding="same"),
        ValueError,
        "[conv_demo] padding must be an integer of at least 0, or (height, width) of such; got 'same'.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", HUGE),
        ValueError,
        "[conv_demo] a page shows at most 2000 values of padded input and filters; got",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", 20, 1, 2, stride=1),
        ValueError,
        "[conv_demo] a page shows at most 600 output values; got 800. Take a larger stride.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", input=X),
        ValueError,
        "[conv_demo] expected input of shape (C, H, W); got (2, 3, 8, 8).",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", weight=np.full((1, 1, 3, 3), 1e308)),
        ValueError,
        "[conv_demo] sums must be finite; got infinity. Take smaller values.",
    ),
    (lambda: cnnx.viz.conv_demo("/nowhere/demo.html", input=np.zeros((0, 3, 3))), ValueError, "[conv2d] "),
    (lambda: cnnx.viz.conv_demo("/nowhere/demo.html", 2, padding=0), ValueError, "[conv2d] "),
    (lambda: cnnx.viz.conv_demo("/nowhere/demo.html"), FileNotFoundError, "demo.html"),
    (
        lambda: cnnx.viz.activation_maps(NET, X[0], [5]),
        TypeError,
        "[activation_maps] layers must be dotted names; got [5].",
    ),
    (
        lambda: cnnx.viz.activation_maps(NET, X[0], 5),
        TypeError,
        "[activation_maps] layers must be dotted names; got 5.",
    ),
    (lambda: cnnx.viz.filter_grid(NET, 5), TypeError, "[filter_grid] layer must be dotted names; got [5]."),
    (
        lambda: cnnx.viz.filter_grid(NET, columns=1.5),
        ValueError,
        "[filter_grid] columns must be an integer of at least 1",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", channels=0),
        ValueError,
        "[conv_demo] channels must be an integer of at least 1; got 0.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", (3, 4, 5)),
        ValueError,
        "or (height, width) of such; got (3, 4, 5).",
    ),
]
