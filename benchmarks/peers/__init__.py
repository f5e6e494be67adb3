"""One module a peer, each run in a process of its own that loads no other peer.

version(), set_threads(count), inference(net, models, x) and, where the peer trains, training(net, models, x, labels). The
last two return a function that makes one call. `models` is the folder that export.py has filled.
"""

TRAINERS = ("cnnx", "torch", "torch_nhwc")
PEERS = (*TRAINERS, "onnxruntime", "openvino", "ncnn")
