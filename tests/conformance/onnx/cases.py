"""The cases of Debian's libonnx-testdata: a folder each, a model and sets of inputs and expected outputs."""
import os

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from millrace import BF16

FOLDER = "/usr/share/libonnx-testdata/data"


class Odd:
    """A value that is no tensor: a list of tensors, an optional one, or text."""

    def __init__(self, what):
        self.what = what


def value_of(path, type_proto):
    with open(path, "rb") as file:
        data = file.read()
    if not type_proto.HasField("tensor_type"):
        return Odd("a " + type_proto.WhichOneof("value").replace("_type", ""))
    tensor = TensorProto()
    tensor.ParseFromString(data)
    if tensor.data_type == TensorProto.STRING:
        return Odd("text")
    array = numpy_helper.to_array(tensor)
    # Some of these files say that the bits are integers.
    return bits_of_bf16(array) if type_proto.tensor_type.elem_type == TensorProto.BFLOAT16 else array


def bits_of_bf16(array):
    """ONNX's package gives the bits as 16-bit integers, or the numbers as float32."""
    if array.dtype == np.float32:
        array = (array.view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(array.astype(np.uint16)).view(BF16).reshape(array.shape)


def as_numbers(array):
    if array.dtype == BF16:
        return (array["bf16"].astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


class Case:
    def __init__(self, kind, name):
        self.kind, self.name = kind, name
        self.folder = os.path.join(FOLDER, kind, name)
        self.model = onnx.load(os.path.join(self.folder, "model.onnx"))
        self.graph = self.model.graph
        # The functions of ONNX's own set say by their names what they expand.
        self.expanded = name.endswith("_expanded") or "_expanded_" in name

    def sets(self):
        """(inputs, expected outputs), lists in the order of the graph."""
        for folder in sorted(os.listdir(self.folder)):
            if not folder.startswith("test_data_set_"):
                continue
            base = os.path.join(self.folder, folder)
            yield ([value_of(os.path.join(base, f"input_{k}.pb"), one.type) for k, one in enumerate(self.graph.input)
                    if os.path.exists(os.path.join(base, f"input_{k}.pb"))],
                   [value_of(os.path.join(base, f"output_{k}.pb"), one.type)
                    for k, one in enumerate(self.graph.output)])


def names(kind):
    folder = os.path.join(FOLDER, kind)
    return sorted(name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, "model.onnx")))


def difference(got, wanted, rtol, atol):
    """None where they agree, else what differs first."""
    wanted = np.asarray(wanted)
    if got.shape != wanted.shape:
        return f"shape {got.shape}, expected {wanted.shape}"
    if got.dtype != wanted.dtype:
        return f"dtype {got.dtype}, expected {wanted.dtype}"
    if got.dtype.kind in "fV":
        close = np.isclose(as_numbers(got), as_numbers(wanted), rtol=rtol, atol=atol, equal_nan=True)
    else:
        close = got == wanted
    if np.all(close):
        return None
    at = tuple(int(k) for k in np.argwhere(~np.atleast_1d(close))[0])
    flat_got, flat_wanted = np.atleast_1d(got), np.atleast_1d(wanted)
    return f"{int(np.sum(~close))} of {wanted.size} elements, first at {at}: {flat_got[at]}, expected {flat_wanted[at]}"
