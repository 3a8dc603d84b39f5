"""Elements in order, sums in Einstein's notation, and what has as many results as its values say."""
from graph import NotMapped
from mapping import inside, ints, maps


@maps("TopK")
def topk(node, x, k=None):
    axis = inside(node.get("axis", -1), len(x.dims))
    most = ints(k)[0] if k is not None else node.get("k")
    return node.op("topk", x, k=most, axis=axis, largest=bool(node.get("largest", 1)))


@maps("Einsum")
def einsum(node, *xs):
    return node.device.einsum(node.get("equation"), xs)


@maps("Compress", "NonZero", "Unique")
def counted(node, *xs):
    raise NotMapped(f"{node.proto.op_type}: how large the result is depends on the values")
