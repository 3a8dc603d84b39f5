"""Pooling over windows and over everything."""
import numpy as np

from graph import NotMapped
from mapping import ints, maps, scalar


def windows(node, sizes, kernel=None):
    """Kernel, stride, padding and dilation of a node over spatial axes of these sizes."""
    n = len(sizes)
    kernel = list(node.get("kernel_shape", kernel))
    stride = list(node.get("strides", [1] * n))
    dilation = list(node.get("dilations", [1] * n))
    padding = list(node.get("pads", [0] * 2 * n))
    how = node.get("auto_pad", b"NOTSET")
    how = how.decode() if isinstance(how, bytes) else how
    if how.startswith("SAME"):
        total = [max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
                 for size, k, s, d in zip(sizes, kernel, stride, dilation)]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        padding = less + more if how == "SAME_UPPER" else more + less
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
            "ceil_mode": bool(node.get("ceil_mode", 0))}


@maps("AveragePool")
def average_pool(node, x):
    return node.op("avg_pool", x, **windows(node, x.dims[2:]), count_padding=bool(node.get("count_include_pad", 0)))


@maps("MaxPool")
def max_pool(node, x):
    whole = x.dtype.kind in "iu"
    values, places = node.op("max_pool", node.op("cast", x, dtype=np.float32) if whole else x,
                             **windows(node, x.dims[2:]))
    if whole:
        values = node.op("cast", values, dtype=x.dtype)
    if len(node.proto.output) < 2:
        return values
    # ONNX counts places over the whole tensor, and along columns if asked to.
    size = int(np.prod(x.dims[2:]))
    if node.get("storage_order", 0):
        if len(x.dims) != 4:
            raise NotMapped("MaxPool: places by columns over other than two axes")
        height, width = x.dims[2:]
        row = node.op("div", places, scalar(places, width))
        column = node.op("sub", places, node.op("mul", row, scalar(places, width)))
        places = node.op("add", node.op("mul", column, scalar(places, height)), row)
    planes = np.arange(int(np.prod(x.dims[:2])), dtype=np.int64) * size
    starts = planes.reshape(list(x.dims[:2]) + [1] * (len(x.dims) - 2))
    return values, node.op("add", places, starts)


@maps("MaxUnpool")
def max_unpool(node, x, places, shape=None):
    dims = ints(shape)
    if dims is None:
        kernel, n = list(node.get("kernel_shape")), len(x.dims) - 2
        stride, pads = list(node.get("strides", [1] * n)), list(node.get("pads", [0] * 2 * n))
        dims = list(x.dims[:2]) + [(size - 1) * s + k - pads[i] - pads[n + i]
                                   for i, (size, k, s) in enumerate(zip(x.dims[2:], kernel, stride))]
    # Places are those of the unpooled tensor without an output shape: it may be larger.
    kernel, n = list(node.get("kernel_shape")), len(x.dims) - 2
    stride, pads = list(node.get("strides", [1] * n)), list(node.get("pads", [0] * 2 * n))
    inner = list(x.dims[:2]) + [(size - 1) * s + k - pads[i] - pads[n + i]
                                for i, (size, k, s) in enumerate(zip(x.dims[2:], kernel, stride))]
    zeros = np.zeros(int(np.prod(inner)), x.dtype)
    flat = node.op("scatter_elements", zeros, node.op("reshape", places, dims=[-1]), node.op("reshape", x, dims=[-1]),
                   axis=0)
    out = node.op("reshape", flat, dims=inner)
    for axis, (have, want) in enumerate(zip(inner, dims)):
        if want != have:
            out = node.op("pad", out, axis=axis, low=0, high=want - have)
    return out


@maps("GlobalAveragePool")
def global_average_pool(node, x):
    return node.op("mean", x, axes=list(range(2, len(x.dims))), keepdim=True)


@maps("GlobalMaxPool")
def global_max_pool(node, x):
    return node.op("max", x, axes=list(range(2, len(x.dims))), keepdim=True)
