"""One module a peer, each run in a process of its own that loads no other peer.

version() and, for what the peer does here, inference(net, models, x) and training(net, models, x, labels), which return a
function that makes one call. `models` is the folder that export.py has filled. __main__.py sets OMP_NUM_THREADS and
CNNX_NUM_THREADS.
"""

TRAINERS = ("cnnx", "torch", "torch_nhwc", "torch_compile")
SCORERS = ("cnnx", "torch", "torch_nhwc", "onnxruntime", "openvino", "ncnn")
PEERS = tuple(dict.fromkeys(TRAINERS + SCORERS))
#: What --quick leaves out: compiling takes half a minute a network.
SLOW = ("torch_compile",)
