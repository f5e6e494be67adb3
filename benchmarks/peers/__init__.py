"""One module a peer, each run in a process of its own that loads no other peer.

version(), inference(net, models, x) and, where the peer trains, training(net, models, x, labels). The last two return a
function that makes one call. `models` is the folder that export.py has filled. __main__.py sets OMP_NUM_THREADS and
CNNX_NUM_THREADS.
"""

TRAINERS = ("cnnx", "torch", "torch_nhwc")
PEERS = (*TRAINERS, "onnxruntime", "openvino", "ncnn")
