"""Gathers, scatters, padding and running sums."""
import functools

import numpy as np

from graph import NotMapped
from mapping import from_input_or_attribute, host, inside, ints, maps, scalar

REDUCE = {"none": 0, "add": 1, "mul": 2, "max": 3, "min": 4}
PAD = {"constant": 0, "reflect": 1, "edge": 2, "wrap": 3}
LT = 2


def counted_from_the_start(node, indices, size):
    """ONNX lets negative indices count from the end."""
    below = node.op("compare", indices, scalar(indices, 0), relation=LT)
    return node.op("where", below, node.op("add", indices, scalar(indices, size)), indices)


@maps("Gather")
def gather(node, x, indices):
    axis = inside(node.get("axis", 0), len(x.dims))
    return node.op("gather", x, counted_from_the_start(node, indices, x.dims[axis]), axis=axis)


@maps("GatherElements")
def gather_elements(node, x, indices):
    axis = inside(node.get("axis", 0), len(x.dims))
    return node.op("gather_elements", x, counted_from_the_start(node, indices, x.dims[axis]), axis=axis)


@maps("ScatterElements", "Scatter")
def scatter_elements(node, x, indices, updates):
    axis = inside(node.get("axis", 0), len(x.dims))
    how = node.get("reduction", b"none").decode() if isinstance(node.get("reduction", b"none"), bytes) else node.get(
        "reduction", "none")
    return node.op("scatter_elements", x, counted_from_the_start(node, indices, x.dims[axis]), updates, axis=axis,
                   reduce=REDUCE[how])


def rows_of(node, indices, dims):
    """Tuples of indices along the last axis as places in the rows of a tensor with these dims."""
    depth = indices.dims[-1]
    total = None
    for k in range(depth):
        part = node.op("slice", indices, axis=-1, start=k, stop=k + 1)
        part = counted_from_the_start(node, node.op("reshape", part, dims=list(indices.dims[:-1])), dims[k])
        step = int(np.prod(dims[k + 1:depth]))
        part = node.op("mul", part, scalar(part, step))
        total = part if total is None else node.op("add", total, part)
    return total


@maps("GatherND")
def gather_nd(node, x, indices):
    batch = node.get("batch_dims", 0)
    depth = indices.dims[-1]
    inner = list(x.dims[batch:batch + depth])
    rest = list(x.dims[batch + depth:])
    many = int(np.prod(x.dims[:batch]))
    table = node.op("reshape", x, dims=[many * int(np.prod(inner)), *rest])
    rows = rows_of(node, indices, inner)
    if batch:
        # Each element of the batch has rows of its own.
        first = node.op("arange", count=many, start=0, step=int(np.prod(inner)), dtype=rows.dtype)
        shape = list(indices.dims[:batch]) + [1] * (len(indices.dims) - 1 - batch)
        rows = node.op("add", rows, node.op("reshape", first, dims=shape))
    return node.op("gather", table, rows, axis=0)


@maps("ScatterND")
def scatter_nd(node, x, indices, updates):
    depth = indices.dims[-1]
    rest = int(np.prod(x.dims[depth:]))
    how = node.get("reduction", "none")
    rows = rows_of(node, indices, list(x.dims[:depth]))
    count = int(np.prod(rows.dims))
    rows = node.op("contiguous", node.op("expand", node.op("reshape", rows, dims=[count, 1]), dims=[count, rest]))
    table = node.op("reshape", x, dims=[int(np.prod(x.dims[:depth])), rest])
    flat = node.op("reshape", updates, dims=[count, rest])
    out = node.op("scatter_elements", table, rows, flat, axis=0,
                  reduce=REDUCE[how.decode() if isinstance(how, bytes) else how])
    return node.op("reshape", out, dims=list(x.dims))


@maps("Pad")
def pad(node, x, pads=None, value=None):
    mode = node.get("mode", "constant")
    mode = PAD[mode.decode() if isinstance(mode, bytes) else mode]
    amounts = from_input_or_attribute(node, pads, "pads")
    number = float(host(value)) if value is not None else node.get("value", 0.0)
    rank = len(x.dims)
    steps = [(k, amounts[k], amounts[rank + k]) for k in range(rank) if amounts[k] or amounts[rank + k]]
    return functools.reduce(
        lambda y, step: node.op("pad", y, axis=step[0], low=step[1], high=step[2], mode=mode, value=number), steps,
        node.op("copy", x))


@maps("CumSum")
def cumsum(node, x, axis):
    return node.op("cumsum", x, axis=ints(axis)[0], exclusive=bool(node.get("exclusive", 0)),
                   reverse=bool(node.get("reverse", 0)))


@maps("ReverseSequence")
def reverse_sequence(node, x, lengths):
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    steps = x.dims[time]
    if {time, batch} != {0, 1}:
        raise NotMapped("ReverseSequence: the axes are the first two")
    at = node.op("arange", count=steps, start=0, step=1, dtype=np.int64)
    shape = [1, 1]
    shape[time] = steps
    at = node.op("reshape", at, dims=shape)
    shape = [1, 1]
    shape[batch] = x.dims[batch]
    ends = node.op("reshape", lengths, dims=shape)
    back = node.op("sub", node.op("sub", ends, scalar(at, 1)), at)
    index = node.op("where", node.op("compare", at, ends, relation=LT), back, at)
    rest = list(x.dims[2:])
    index = node.op("expand", node.op("reshape", index, dims=[*index.dims, *[1] * len(rest)]), dims=list(x.dims))
    return node.op("gather_elements", x, node.op("contiguous", index), axis=time)
