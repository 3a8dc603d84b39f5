"""Views, joins, and tensors out of nothing."""
import numpy as np

from graph import NotMapped
from mapping import from_input_or_attribute, host, inside, ints, maps, scalar
from millrace import BF16

# TensorProto.DataType of the dtypes that numpy has.
FROM_ONNX = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
             10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64, 16: BF16}


def dtype_of(node, number):
    if number not in FROM_ONNX:
        raise NotMapped(f"{node.proto.op_type}: no tensor holds what ONNX numbers {number}")
    return np.dtype(FROM_ONNX[number])


@maps("Reshape")
def reshape(node, x, shape=None):
    wanted = from_input_or_attribute(node, shape, "shape")
    if not node.get("allowzero", 0):
        wanted = [x.dims[k] if n == 0 else n for k, n in enumerate(wanted)]
    if -1 in wanted:
        known = -int(np.prod(wanted))
        wanted[wanted.index(-1)] = int(np.prod(x.dims)) // known
    return node.op("reshape", x, dims=wanted)


@maps("Flatten")
def flatten(node, x):
    axis = inside(node.get("axis", 1), len(x.dims))
    return node.op("reshape", x, dims=[int(np.prod(x.dims[:axis])), int(np.prod(x.dims[axis:]))])


@maps("Squeeze")
def squeeze(node, x, axes=None):
    given = from_input_or_attribute(node, axes, "axes")
    drop = {inside(k, len(x.dims)) for k in given} if given else {k for k, n in enumerate(x.dims) if n == 1}
    return node.op("reshape", x, dims=[n for k, n in enumerate(x.dims) if k not in drop])


@maps("Unsqueeze")
def unsqueeze(node, x, axes=None):
    given = from_input_or_attribute(node, axes, "axes")
    rank = len(x.dims) + len(given)
    new, rest = {inside(k, rank) for k in given}, iter(x.dims)
    return node.op("reshape", x, dims=[1 if k in new else next(rest) for k in range(rank)])


@maps("Transpose")
def transpose(node, x):
    return node.op("permute", x, axes=node.get("perm", list(range(len(x.dims)))[::-1]))


@maps("Expand")
def expand(node, x, shape):
    return node.op("expand", x, dims=np.broadcast_shapes(x.dims, tuple(ints(shape))))


@maps("Tile")
def tile(node, x, repeats):
    times = ints(repeats)
    split = node.op("reshape", x, dims=[n for size in x.dims for n in (1, size)])
    wide = node.op("expand", split, dims=[n for count, size in zip(times, x.dims) for n in (count, size)])
    return node.op("reshape", wide, dims=[count * size for count, size in zip(times, x.dims)])


@maps("Concat")
def concat(node, *xs):
    return node.op("concat", *xs, axis=node.get("axis", 1))


@maps("Split")
def split(node, x, sizes=None):
    axis = inside(node.get("axis", 0), len(x.dims))
    parts = from_input_or_attribute(node, sizes, "split")
    if parts is None:
        count, size = len(node.wanted), x.dims[axis]
        each = -(-size // count)
        parts = [min(each, size - k * each) for k in range(count)]
    ends = np.cumsum(parts)
    return [node.op("slice", x, axis=axis, start=int(end - n), stop=int(end)) for n, end in zip(parts, ends)]


@maps("Slice")
def take_slice(node, x, starts=None, ends=None, axes=None, steps=None):
    first, last = (from_input_or_attribute(node, v, n) for v, n in ((starts, "starts"), (ends, "ends")))
    along = from_input_or_attribute(node, axes, "axes") or list(range(len(first)))
    by = ints(steps) or [1] * len(first)
    for axis, start, stop, step in zip(along, first, last, by):
        size = x.dims[inside(axis, len(x.dims))]
        start, stop, step = slice(start, stop, step).indices(size)
        if step < 0:
            # slice goes forwards only.
            count = len(range(start, stop, step))
            back = node.op("arange", count=count, start=start, step=step, dtype=np.int64)
            x = node.op("gather", x, back, axis=axis)
            continue
        x = node.op("slice", x, axis=axis, start=start, stop=max(start, stop), step=step)
    return x


@maps("DepthToSpace")
def depth_to_space(node, x):
    n, c, h, w = x.dims
    b = node.get("blocksize")
    if node.get("mode", "DCR") == "DCR":
        parts, order = [n, b, b, c // (b * b), h, w], [0, 3, 4, 1, 5, 2]
    else:
        parts, order = [n, c // (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3]
    moved = node.op("permute", node.op("reshape", x, dims=parts), axes=order)
    return node.op("reshape", moved, dims=[n, c // (b * b), h * b, w * b])


@maps("SpaceToDepth")
def space_to_depth(node, x):
    n, c, h, w = x.dims
    b = node.get("blocksize")
    parts = node.op("reshape", x, dims=[n, c, h // b, b, w // b, b])
    return node.op("reshape", node.op("permute", parts, axes=[0, 3, 5, 1, 2, 4]), dims=[n, c * b * b, h // b, w // b])


@maps("Shape")
def shape(node, x):
    return node.device.tensor(np.asarray(x.dims[slice(node.get("start", 0), node.get("end"))], np.int64))


@maps("Size")
def size(node, x):
    return node.device.tensor(np.asarray(np.prod(x.dims), np.int64))


@maps("Constant")
def constant(node):
    given = node.get("value", node.get("value_float", node.get("value_floats", node.get("value_int",
                                                                                      node.get("value_ints")))))
    if given is None:
        raise NotMapped("Constant: no tensor holds text")
    array = np.asarray(given)
    if array.dtype == np.float64 and "value" not in node.attributes:
        array = array.astype(np.float32)
    return node.device.tensor(array)


@maps("ConstantOfShape")
def constant_of_shape(node, dims):
    value = np.atleast_1d(node.get("value", np.zeros(1, np.float32)))
    return node.op("fill", dims=ints(dims), dtype=value.dtype, value=float(value[0]))


@maps("Range")
def arange(node, start, limit, delta):
    a, b, step = host(start), host(limit), host(delta)
    count = max(0, int(np.ceil((b - a) / step)))
    return node.op("arange", count=count, start=float(a), step=float(step), dtype=start.dtype)


@maps("Cast")
def cast(node, x):
    return node.op("cast", x, dtype=dtype_of(node, node.get("to")))


@maps("CastLike")
def cast_like(node, x, like):
    return node.op("cast", x, dtype=like.dtype)


def axis_numbers(node, count, shape_):
    return node.op("reshape", node.op("arange", count=count, dtype=np.int64), dims=shape_)


@maps("EyeLike")
def eye_like(node, x):
    rows, columns = x.dims
    shifted = node.op("add", axis_numbers(node, rows, [rows, 1]), np.asarray(node.get("k", 0), np.int64))
    ones = node.op("compare", shifted, axis_numbers(node, columns, [1, columns]), relation=0)
    wanted = node.get("dtype")
    return node.op("cast", ones, dtype=dtype_of(node, wanted) if wanted else x.dtype)


@maps("Trilu")
def triangle(node, x, k=None):
    return node.op("triu" if node.get("upper", 1) else "tril", x, diagonal=0 if k is None else ints(k)[0])


@maps("OneHot")
def one_hot(node, indices, depth, values):
    count = int(host(depth).reshape(-1)[0])
    axis = inside(node.get("axis", -1), len(indices.dims) + 1)
    off, on = host(values)
    ids = node.op("cast", indices, dtype=np.int64)
    ids = node.op("where", node.op("compare", ids, np.asarray(0), relation=2), node.op("add", ids, np.asarray(count)),
                  ids)
    return node.op("one_hot", ids, depth=count, axis=axis, dtype=values.dtype, on=float(on), off=float(off))
