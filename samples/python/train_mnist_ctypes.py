#!/usr/bin/env python3
"""Learns to recognise MNIST's digits from Python with nothing but the standard library: ctypes opens libmillrace.so and
calls the C functions as the headers declare them.

    train_mnist_ctypes.py --data DIR [--library libmillrace.so] [--hidden 128] [--epochs 10]
"""
import argparse
import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p

# From types.h, op.h and optim.h.
F32, END = 12, 4
NTS = 0xFFFFFFFFFFFFFFFF
STRUCT_LOADER_OPTS, LOADER_SHUFFLE = 5, 1
INIT_KAIMING, SCHEDULE_COSINE, REDUCE_MEAN, COMPARE_NE = 3, 1, 0, 1


class MillError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class LoaderOpts(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("type", c_uint32), ("next", c_void_p), ("seed", c_uint64), ("batch", c_int64),
                ("flags", c_uint64), ("prefetch", c_uint32), ("reserved", c_uint32)]


class Library:
    """The functions used here. `lib.name(...)` calls mill_name with an error object and raises what it says."""

    # Parameters before the error object: h handle, o handle output, i int32, u uint32, l int64, L uint64, d double,
    # s bytes, I int64 array, p any other pointer.
    SIGNATURES = {
        "context_create": "po", "exec_create": "huho", "exec_set_generator": "hh", "exec_set_tape": "hh",
        "generator_create": "hLo", "idx_read": "hsLo", "tensor_item": "hhp",
        "group_create": "hio", "group_add": "hsIup", "group_build": "hh", "group_param": "huo",
        "group_init": "hhuid", "optimizer_create_adamw": "hhdddddo", "optimizer_set_schedule": "hilld",
        "optimizer_step": "hh", "tape_create": "ho", "tape_backward": "hhhhL",
        "loader_create": "hpupo", "loader_set_transform": "huidd", "loader_next": "hhpu", "loader_batches": "hp",
        "reshape": "hhIuo", "linear": "hhhho", "relu": "hho", "cross_entropy": "hhhldloo",
        "argmax": "hhluo", "compare": "hhhlo", "cast": "hhio", "sum": "hhIuuo", "trace_step": "h",
    }
    KINDS = {"h": c_void_p, "o": POINTER(c_void_p), "i": c_int32, "u": c_uint32, "l": c_int64, "L": c_uint64,
             "d": c_double, "s": c_char_p, "I": POINTER(c_int64), "p": c_void_p}

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.mill_error_message.restype = c_char_p
        self.c.mill_error_message.argtypes = [c_void_p]
        self.c.mill_tensor_dim.restype = c_int64
        self.c.mill_tensor_dim.argtypes = [c_void_p, c_int32]
        self.error = c_void_p()
        self.c.mill_error_create.argtypes = [POINTER(c_void_p)]
        self.c.mill_error_create(byref(self.error))
        for name, kinds in self.SIGNATURES.items():
            function = getattr(self.c, "mill_" + name)
            function.restype = c_int32
            function.argtypes = [self.KINDS[k] for k in kinds] + [c_void_p]
            setattr(self, name, self.checked(function))

    def checked(self, function):
        def call(*arguments):
            status = function(*[a.pointer if isinstance(a, Handle) else a for a in arguments], self.error)
            if status < 0:
                raise MillError(status, self.c.mill_error_message(self.error).decode())
            return status

        return call


class Handle:
    """One reference to an object of the library, released with the Python object."""

    KIND = None
    pointer = None

    def __init__(self, lib, pointer):
        self.lib, self.pointer = lib, pointer
        self.end = getattr(lib.c, f"mill_{self.KIND}_release")
        self.end.argtypes, self.end.restype = [c_void_p], None

    def __del__(self):
        if self.pointer:
            self.end(self.pointer)

    @classmethod
    def make(cls, lib, function, *arguments):
        out = c_void_p()
        getattr(lib, function)(*arguments, byref(out))
        return cls(lib, out)


class Context(Handle):
    KIND = "context"

    def __init__(self, lib):
        out = c_void_p()
        lib.context_create(None, byref(out))
        super().__init__(lib, out)


class Exec(Handle):
    KIND = "exec"


class Generator(Handle):
    KIND = "generator"


class Group(Handle):
    KIND = "group"


class Optimizer(Handle):
    KIND = "optimizer"


class Tape(Handle):
    KIND = "tape"


class Tensor(Handle):
    KIND = "tensor"

    def dim(self, axis):
        return self.lib.c.mill_tensor_dim(self.pointer, axis)

    def item(self, execution):
        value = c_double()
        self.lib.tensor_item(execution, self, byref(value))
        return value.value


class Loader(Handle):
    """Iterating over it gives one epoch of (pixels, labels), already on the exec's device."""

    KIND = "loader"

    def __init__(self, context, execution, columns, batch, flags, seed):
        lib = context.lib
        options = LoaderOpts(ctypes.sizeof(LoaderOpts), STRUCT_LOADER_OPTS, None, seed, batch, flags, 0, 0)
        pointers, out = (c_void_p * len(columns))(*[c.pointer for c in columns]), c_void_p()
        lib.loader_create(context, pointers, len(columns), byref(options), byref(out))
        super().__init__(lib, out)
        lib.loader_set_transform(self, 0, F32, 1 / 255, 0)
        self.execution, self.columns = execution, len(columns)
        count = c_int64()
        lib.loader_batches(self, byref(count))
        self.batches = count.value

    def __iter__(self):
        batch = (c_void_p * self.columns)()
        while self.lib.loader_next(self, self.execution, batch, self.columns) != END:
            yield [Tensor(self.lib, c_void_p(pointer)) for pointer in batch]


def ints(*values):
    return (c_int64 * len(values))(*values)


def read_set(lib, context, execution, folder, names):
    """u8 pixels [n, 784] and labels [n] of the first of the named sets that the folder has."""
    for name in names:
        for suffix in (".gz", ""):
            images, labels = (os.path.join(folder, f"{name}-{kind}-ubyte{suffix}") for kind in ("images-idx3", "labels-idx1"))
            if os.path.exists(images):
                squares = Tensor.make(lib, "idx_read", context, os.fsencode(images), NTS)
                pixels = Tensor.make(lib, "reshape", execution, squares, ints(squares.dim(0), -1), 2)
                return pixels, Tensor.make(lib, "idx_read", context, os.fsencode(labels), NTS)
    raise SystemExit(f"no images of MNIST in {folder}")


class Network:
    def __init__(self, lib, context, execution, widths):
        self.lib, self.execution = lib, execution
        self.group = Group.make(lib, "group_create", context, F32)
        shapes = [s for n, m in zip(widths[1:], widths) for s in ((n, m), (n,))]
        for k, shape in enumerate(shapes):
            name = f"layer{k // 2}." + ("bias" if k % 2 else "weight")
            lib.group_add(self.group, name.encode(), ints(*shape), len(shape), None)
        lib.group_build(self.group, execution)
        for k in range(0, len(shapes), 2):
            lib.group_init(self.group, execution, k, INIT_KAIMING, 1)
        self.parameters = [Tensor.make(lib, "group_param", self.group, k) for k in range(len(shapes))]

    def forward(self, x):
        for k in range(0, len(self.parameters), 2):
            if k > 0:
                x = Tensor.make(self.lib, "relu", self.execution, x)
            x = Tensor.make(self.lib, "linear", self.execution, x, self.parameters[k], self.parameters[k + 1])
        return x


def test_error(lib, execution, net, loader):
    wrong = seen = 0
    for pixels, labels in loader:
        guess = Tensor.make(lib, "argmax", execution, net.forward(pixels), -1, 0)
        differs = Tensor.make(lib, "compare", execution, guess, labels, COMPARE_NE)
        numbers = Tensor.make(lib, "cast", execution, differs, F32)
        wrong += Tensor.make(lib, "sum", execution, numbers, None, 0, 0).item(execution)
        seen += labels.dim(0)
    return 100 * wrong / seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True, help="folder with MNIST's IDX files, plain or .gz")
    parser.add_argument("--library", default=os.environ.get("MILL_LIBRARY", "libmillrace.so"))
    parser.add_argument("--hidden", default="128", help="widths of the hidden layers, with commas")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    lib = Library(options.library)
    context = Context(lib)
    execution = Exec.make(lib, "exec_create", context, 0, None)
    generator = Generator.make(lib, "generator_create", execution, options.seed)
    lib.exec_set_generator(execution, generator)
    train = read_set(lib, context, execution, options.data, ["train"])
    test = read_set(lib, context, execution, options.data, ["t10k", "t3k"])
    batches = Loader(context, execution, train, options.batch, LOADER_SHUFFLE, options.seed)
    test_batches = Loader(context, execution, test, 1000, 0, 0)

    net = Network(lib, context, execution, [train[0].dim(1), *map(int, options.hidden.split(",")), 10])
    adamw = Optimizer.make(lib, "optimizer_create_adamw", execution, net.group, options.rate, 0.9, 0.999, 1e-8, 0.01)
    lib.optimizer_set_schedule(adamw, SCHEDULE_COSINE, batches.batches // 5, options.epochs * batches.batches, 0)
    tape = Tape.make(lib, "tape_create", context)
    for epoch in range(1, options.epochs + 1):
        lib.exec_set_tape(execution, tape)
        for pixels, labels in batches:
            loss, lse = c_void_p(), c_void_p()
            lib.cross_entropy(execution, net.forward(pixels), labels, REDUCE_MEAN, 0, -100, byref(loss), byref(lse))
            loss, lse = Tensor(lib, loss), Tensor(lib, lse)
            lib.tape_backward(tape, execution, loss, None, 0)
            lib.optimizer_step(adamw, execution)
            lib.trace_step(execution)  # tells a profiler where a step ends
        lib.exec_set_tape(execution, None)
        error = test_error(lib, execution, net, test_batches)
        print(f"epoch {epoch:2d}  test error {error:.2f} %", flush=True)
    print(f"test error {error:.2f} %")


if __name__ == "__main__":
    try:
        main()
    except (MillError, OSError) as problem:
        sys.exit(f"train_mnist_ctypes.py: {problem}")
