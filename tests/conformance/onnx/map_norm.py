"""Normalisation over channels."""
import numpy as np

from graph import NotMapped
from mapping import maps


@maps("BatchNormalization")
def batch_norm(node, x, scale, bias, mean, variance):
    if node.get("spatial", 1) != 1:
        raise NotMapped("BatchNormalization: statistics of each position, of version 8 and before")
    if len(x.dims) < 2:
        raise NotMapped("BatchNormalization: an input without channels")
    eps = node.get("epsilon", 1e-5)
    if not node.get("training_mode", 0):
        return node.op("batch_norm_apply", x, mean, variance, scale, bias, eps=eps)
    out, batch_mean, batch_variance = node.op("batch_norm", x, scale, bias, eps=eps)
    # What ONNX calls momentum is the share that is kept, and its variance is of the batch as it is.
    kept = node.get("momentum", 0.9)
    running = node.op("running_update", mean, variance, batch_mean, batch_variance, momentum=1 - kept, count=0)
    return (out, *running)


@maps("InstanceNormalization")
def instance_norm(node, x, scale, bias):
    return node.op("group_norm", x, scale, bias, groups=x.dims[1], eps=node.get("epsilon", 1e-5))[0]


@maps("LRN")
def local_response_norm(node, x):
    """x / (bias + alpha / size * the sum of x^2 over the channels nearby) ^ beta."""
    size = node.get("size")
    batch, channels = x.dims[:2]
    square = node.op("reshape", node.op("mul", x, x), dims=[batch, 1, channels, -1])
    low = (size - 1) // 2
    # Averages over windows that count what is outside as zeros: the sum over size.
    near = node.op("avg_pool", square, kernel=[size, 1], stride=[1, 1], padding=[low, 0, size - 1 - low, 0],
                   dilation=[1, 1], ceil_mode=False, count_padding=True)
    near = node.op("reshape", near, dims=list(x.dims))
    base = node.op("affine", near, scale=node.get("alpha", 1e-4), shift=node.get("bias", 1.0))
    return node.op("div", x, node.op("pow", base, np.full([1] * len(x.dims), node.get("beta", 0.75), x.dtype)))
