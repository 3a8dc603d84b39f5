"""Sums and the like along axes, softmax, norms, products of matrices."""
import numpy as np

from graph import NotMapped
from mapping import from_input_or_attribute, inside, maps, scalar


def reduced(node, x, axes, compute):
    """compute(axes) with the axes that the node asks for; all of them, or none, where it names none."""
    given = from_input_or_attribute(node, axes, "axes")
    if given is None or (len(given) == 0 and axes is not None):
        if node.get("noop_with_empty_axes", 0):
            return node.op("copy", x)
        given = list(range(len(x.dims)))
    return compute({"axes": given, "keepdim": bool(node.get("keepdims", 1))})


def reduction(name):
    def register(build):
        maps(name)(lambda node, x, axes=None: reduced(node, x, axes, lambda over: build(node, x, over)))
        return build

    return register


reduction("ReduceSum")(lambda node, x, over: node.op("sum", x, **over))
reduction("ReduceMean")(lambda node, x, over: node.op("mean", x, **over))
reduction("ReduceMax")(lambda node, x, over: node.op("max", x, **over))
reduction("ReduceL1")(lambda node, x, over: node.op("sum", node.op("abs", x), **over))
reduction("ReduceSumSquare")(lambda node, x, over: node.op("sum", node.op("mul", x, x), **over))
reduction("ReduceL2")(lambda node, x, over: node.op("sqrt", node.op("sum", node.op("mul", x, x), **over)))
reduction("ReduceLogSum")(lambda node, x, over: node.op("log", node.op("sum", x, **over)))


@reduction("ReduceMin")
def reduce_min(node, x, over):
    return node.op("min", x, **over)


@reduction("ReduceProd")
def reduce_prod(node, x, over):
    return node.op("prod", x, **over)


@reduction("ReduceLogSumExp")
def reduce_log_sum_exp(node, x, over):
    most = node.op("max", x, axes=over["axes"], keepdim=True)
    total = node.op("log", node.op("sum", node.op("exp", node.op("sub", x, most)), **over))
    return node.op("add", total, node.op("reshape", most, dims=total.dims))


def extreme(node, x, negate):
    axis = inside(node.get("axis", 0), len(x.dims))
    if negate:
        x = node.op("neg", x)
    if not node.get("select_last_index", 0):
        return node.op("argmax", x, axis=axis, keepdim=bool(node.get("keepdims", 1)))
    # The last of equals: where the number of the place, among the largest, is largest.
    count = x.dims[axis]
    places = node.op("reshape", node.op("arange", count=count, dtype=np.int64),
                     dims=[count if k == axis else 1 for k in range(len(x.dims))])
    best = node.op("compare", x, node.op("max", x, axes=[axis], keepdim=True), relation=0)
    return node.op("max", node.op("where", best, places, np.asarray(-1)), axes=[axis],
                   keepdim=bool(node.get("keepdims", 1)))


maps("ArgMax")(lambda node, x: extreme(node, x, False))
maps("ArgMin")(lambda node, x: extreme(node, x, True))


def along(node, x, compute):
    """Before version 13 of the set a softmax was over all axes from the given one on."""
    if node.opset >= 13:
        return compute(x, node.get("axis", -1))
    axis = inside(node.get("axis", 1), len(x.dims))
    flat = node.op("reshape", x, dims=[int(np.prod(x.dims[:axis])), int(np.prod(x.dims[axis:]))])
    return node.op("reshape", compute(flat, -1), dims=x.dims)


@maps("Softmax")
def softmax(node, x):
    return along(node, x, lambda v, axis: node.op("softmax", v, axis=axis))


@maps("LogSoftmax")
def log_softmax(node, x):
    return along(node, x, lambda v, axis: node.op("log_softmax", v, axis=axis))


@maps("Hardmax")
def hardmax(node, x):
    def compute(v, axis):
        axis = inside(axis, len(v.dims))
        count = v.dims[axis]
        places = node.op("reshape", node.op("arange", count=count, dtype=np.int64),
                         dims=[count if k == axis else 1 for k in range(len(v.dims))])
        return node.op("cast", node.op("compare", node.op("argmax", v, axis=axis, keepdim=True), places, relation=0),
                       dtype=v.dtype)

    return along(node, x, compute)


@maps("LayerNormalization")
def layer_norm(node, x, scale, bias=None):
    axis = inside(node.get("axis", -1), len(x.dims))
    # Weights may broadcast to the axes that are normalised; those of layer_norm have their sizes.
    dims = x.dims[axis:]
    weights = [None if one is None else node.op("expand", one, dims=dims) for one in (scale, bias)]
    out, mean, rstd = node.op("layer_norm", x, *weights, axes=len(x.dims) - axis, eps=node.get("epsilon", 1e-5))
    kept = [*x.dims[:axis]] + [1] * (len(x.dims) - axis)
    return out, node.op("reshape", mean, dims=kept), node.op("reshape", rstd, dims=kept)


@maps("MeanVarianceNormalization")
def mean_variance(node, x):
    axes = node.get("axes", [0, 2, 3])
    centred = node.op("sub", x, node.op("mean", x, axes=axes, keepdim=True))
    deviation = node.op("sqrt", node.op("mean", node.op("mul", centred, centred), axes=axes, keepdim=True))
    return node.op("div", centred, node.op("add", deviation, scalar(x, 1e-9)))


@maps("MatMul")
def matmul(node, a, b):
    return node.op("matmul", a, b)


@maps("Gemm")
def gemm(node, a, b, c=None):
    a, b = (node.op("permute", m, axes=[1, 0]) if node.get(flag, 0) else m for m, flag in ((a, "transA"),
                                                                                       (b, "transB")))
    out = node.op("matmul", a, b)
    if node.get("alpha", 1.0) != 1:
        out = node.op("affine", out, scale=node.get("alpha"))
    if c is None:
        return out
    return node.op("add", out, c if node.get("beta", 1.0) == 1 else node.op("affine", c, scale=node.get("beta")))
