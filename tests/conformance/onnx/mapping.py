"""What each ONNX operator is in ops of this library. A handler gets the node and its input values and returns its
outputs; all that is computed is computed by ops, on the device under test. numpy serves for shapes and the like, which
ONNX passes as tensors and this library as attributes."""
import numpy as np

from cases import Odd
from graph import NotMapped

HANDLERS = {}


def maps(*names, domain=""):
    def register(handler):
        def checked(node, *values):
            for value in values:
                if isinstance(value, Odd):
                    raise NotMapped(f"{node.proto.op_type}: no tensor holds {value.what}")
            return handler(node, *values)

        for name in names:
            HANDLERS[domain, name] = checked
        return handler

    return register


def host(value):
    """The numbers of a tensor that says how to compute, not what."""
    return None if value is None else np.asarray(value.numpy())


def ints(value):
    return None if value is None else [int(k) for k in np.atleast_1d(host(value))]


def from_input_or_attribute(node, value, name):
    """Later versions of a set take as an input what earlier ones have as an attribute."""
    if value is not None:
        return ints(value)
    given = node.get(name)
    return None if given is None else [int(k) for k in np.atleast_1d(given)]


def scalar(like, number):
    return np.asarray(number, like.dtype)


def inside(axis, rank):
    return axis + rank if axis < 0 else axis
