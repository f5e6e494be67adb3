"""Pictures of nets: filters, activations, training, mistakes, receptive fields, saliency, architectures, convolution.

Matplotlib is imported at the first picture: ``pip install 'cnnx[viz]'``. Functions return a ``matplotlib.figure.Figure``
that no window belongs to, so they work without a screen: ``figure.savefig("picture.png")``. Those that draw one plot take
``ax=`` to draw into a figure of yours.
"""

from __future__ import annotations

from ._figure import check_available
from .activations import activation_maps, layer_outputs
from .architecture import architecture
from .confusion import confusion_matrix
from .curves import training_curves
from .demo import conv_demo
from .filters import filter_grid
from .receptive import receptive_field
from .saliency import saliency, saliency_map

__all__ = [
    "activation_maps",
    "architecture",
    "check_available",
    "confusion_matrix",
    "conv_demo",
    "filter_grid",
    "layer_outputs",
    "receptive_field",
    "saliency",
    "saliency_map",
    "training_curves",
]
