"""The C ABI as a runner of other people's tests needs it: ops by name, tensors from and to numpy arrays."""
import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p

import numpy as np

# From types.h.
NTS = 0xFFFFFFFFFFFFFFFF
E_DTYPE, E_UNSUPPORTED = -3, -60
STRUCT_OP_SCHEMA, STRUCT_ATTR_SCHEMA = 6, 7
INT, FLOAT, INTS, FLOATS, STRING, DTYPE = 1, 2, 3, 4, 5, 6
BF16 = np.dtype([("bf16", np.uint16)])  # numpy has none: the bits
DTYPES = {
    np.dtype(np.bool_): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3, np.dtype(np.uint16): 4,
    np.dtype(np.int16): 5, np.dtype(np.uint32): 6, np.dtype(np.int32): 7, np.dtype(np.uint64): 8,
    np.dtype(np.int64): 9, np.dtype(np.float16): 10, np.dtype(np.float32): 12, np.dtype(np.float64): 13, BF16: 11,
}
NUMPY = {number: dtype for dtype, number in DTYPES.items()}


class MillError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Attr(ctypes.Structure):
    _fields_ = [("id", c_int32), ("kind", c_int32), ("i", c_int64), ("f", c_double), ("p", c_void_p), ("n", c_uint64)]


class OpSchema(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("type", c_uint32), ("next", c_void_p), ("number", c_int32), ("version", c_int32),
                ("n_inputs", c_uint32), ("n_outputs", c_uint32), ("n_attrs", c_uint32), ("flags", c_uint32),
                ("name", c_char_p), ("family", c_char_p), ("doc", c_char_p)]


class AttrSchema(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("type", c_uint32), ("next", c_void_p), ("name", c_char_p), ("kind", c_int32),
                ("required", c_uint32), ("value", Attr), ("dtypes", c_uint32), ("inplace", c_uint32)]


class Tensor:
    """One reference to a tensor; numpy() reads it once."""

    def __init__(self, device, pointer):
        self.device, self.pointer, self.read = device, pointer, None

    def __del__(self):
        self.device.c.mill_tensor_release(self.pointer)

    @property
    def dims(self):
        c = self.device.c
        return tuple(c.mill_tensor_dim(self.pointer, k) for k in range(c.mill_tensor_rank(self.pointer)))

    @property
    def dtype(self):
        return NUMPY[self.device.c.mill_tensor_dtype(self.pointer)]

    def numpy(self):
        if self.read is None:
            out = np.empty(self.dims, self.dtype)
            self.device.call("tensor_read", self.device.execution, self.pointer, out.ctypes.data_as(c_void_p),
                             c_uint64(out.nbytes))
            self.read = out
        return self.read


class Device:
    """A context with one device and an exec on it. `device.op("add", a, b)` runs an op: tensors, numpy arrays or None
    in, a tensor out, or a tuple of them where the op has several."""

    def __init__(self, library, spec):
        self.c = c = ctypes.CDLL(library)
        c.mill_error_message.restype = c_char_p
        c.mill_error_message.argtypes = [c_void_p]
        c.mill_tensor_dim.restype = c_int64
        c.mill_tensor_dim.argtypes = [c_void_p, c_int32]
        for name in ("tensor_rank", "tensor_dtype"):
            getattr(c, "mill_" + name).argtypes = [c_void_p]
        c.mill_tensor_release.argtypes = [c_void_p]
        c.mill_tensor_release.restype = None
        self.error = c_void_p()
        c.mill_error_create(byref(self.error))
        self.context, self.execution = c_void_p(), c_void_p()
        self.call("context_create", None, byref(self.context))
        number = c_uint32(0)  # the CPU, which every context has
        if spec != "cpu":
            self.call("device_open", self.context, spec.encode(), c_uint64(NTS), byref(number))
        self.call("exec_create", self.context, number, None, byref(self.execution))
        self.schemas = {}
        self.used = set()

    def call(self, name, *arguments):
        status = getattr(self.c, "mill_" + name)(*arguments, self.error)
        if status < 0:
            raise MillError(status, self.c.mill_error_message(self.error).decode())
        return status

    def tensor(self, array):
        if array is None or isinstance(array, Tensor):
            return array
        array = np.asarray(array)
        if array.dtype not in DTYPES:
            raise MillError(E_DTYPE, f"no tensor holds {array.dtype}")
        array = array if array.flags.c_contiguous else array.copy(order="C")
        out = c_void_p()
        dims = (c_int64 * max(array.ndim, 1))(*array.shape)
        self.call("tensor_from_host", self.execution, DTYPES[array.dtype], dims, c_uint32(array.ndim),
                  array.ctypes.data_as(c_void_p), c_uint64(array.nbytes), byref(out))
        made = Tensor(self, out)
        made.read = array
        return made

    def has(self, name):
        return self.schema(name) is not None

    def schema(self, name):
        if name not in self.schemas:
            number = c_int32()
            if self.c.mill_op_find(self.context, name.encode(), byref(number), self.error) < 0:
                self.schemas[name] = None
                return None
            op = OpSchema(ctypes.sizeof(OpSchema), STRUCT_OP_SCHEMA)
            self.call("op_query", self.context, number, byref(op))
            attrs = {}
            for k in range(op.n_attrs):
                attr = AttrSchema(ctypes.sizeof(AttrSchema), STRUCT_ATTR_SCHEMA)
                self.call("op_query_attr", self.context, number, c_uint32(k), byref(attr))
                attrs[attr.name.decode()] = (k, attr.value.kind if attr.kind == 0 else attr.kind)
            self.schemas[name] = (number.value, op.n_inputs, op.n_outputs, attrs)
        return self.schemas[name]

    def op(self, name, *inputs, **attributes):
        found = self.schema(name)
        if found is None:
            raise LookupError(name)
        number, n_inputs, n_outputs, attrs = found
        self.used.add(name)
        tensors = [self.tensor(one) for one in inputs]
        tensors += [None] * (n_inputs - len(tensors))
        pointers = (c_void_p * max(len(tensors), 1))(*[t.pointer if t is not None else None for t in tensors])
        given, keep = (Attr * max(len(attributes), 1))(), []
        for one, (key, value) in zip(given, attributes.items()):
            one.id, one.kind = attrs[key]
            if one.kind == FLOAT:
                one.f = value
            elif one.kind in (INTS, FLOATS):
                block = ((c_int64 if one.kind == INTS else c_double) * max(len(value), 1))(*value)
                keep.append(block)
                one.p, one.n = ctypes.cast(block, c_void_p), len(value)
            elif one.kind == STRING:
                keep.append(value.encode())
                one.p, one.n = ctypes.cast(c_char_p(keep[-1]), c_void_p), len(keep[-1])
            elif one.kind == DTYPE:
                one.i = DTYPES[np.dtype(value)]
            else:
                one.i = int(value)
        outputs = (c_void_p * n_outputs)()
        self.call("op_invoke", self.execution, c_int32(number), pointers, c_uint32(len(tensors)), given,
                  c_uint32(len(attributes)), outputs, c_uint32(n_outputs))
        made = tuple(Tensor(self, c_void_p(p)) for p in outputs)
        return made[0] if n_outputs == 1 else made

    def einsum(self, equation, inputs):
        tensors = [self.tensor(one) for one in inputs]
        pointers = (c_void_p * len(tensors))(*[t.pointer for t in tensors])
        out = c_void_p()
        self.call("einsum", self.execution, equation.encode(), c_uint64(NTS), pointers, c_uint32(len(tensors)),
                  byref(out))
        return Tensor(self, out)
