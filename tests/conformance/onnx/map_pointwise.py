"""Element by element."""
import functools

import numpy as np

from graph import NotMapped
from mapping import host, maps, scalar

EQ, NE, LT, LE, GT, GE = range(6)

for onnx_name, op_name in {"Abs": "abs", "Neg": "neg", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Tanh": "tanh",
                           "Sigmoid": "sigmoid", "Relu": "relu", "Sign": "sign", "Softplus": "softplus",
                           "Identity": "copy", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin",
                           "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh",
                           "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Floor": "floor", "Ceil": "ceil",
                           "Round": "round", "Reciprocal": "reciprocal"}.items():
    maps(onnx_name)(lambda node, x, op_name=op_name: node.op(op_name, x))

for onnx_name, op_name in {"Add": "add", "Sub": "sub", "Mul": "mul"}.items():
    maps(onnx_name)(lambda node, a, b, op_name=op_name: node.op(op_name, a, b))

for onnx_name, relation in {"Equal": EQ, "Less": LT, "LessOrEqual": LE, "Greater": GT, "GreaterOrEqual": GE,
                            "Xor": NE}.items():
    maps(onnx_name)(lambda node, a, b, relation=relation: node.op("compare", a, b, relation=relation))

for onnx_name, op_name in {"Max": "maximum", "Min": "minimum", "Sum": "add"}.items():
    maps(onnx_name)(lambda node, *xs, op_name=op_name: functools.reduce(lambda a, b: node.op(op_name, a, b), xs))


@maps("Mean")
def mean(node, *xs):
    total = functools.reduce(lambda a, b: node.op("add", a, b), xs)
    return node.op("affine", total, scale=1 / len(xs))


@maps("Div")
def divide(node, a, b):
    return node.op("div", a, b)


@maps("Mod")
def mod(node, a, b):
    return node.op("fmod" if node.get("fmod", 0) else "remainder", a, b)


@maps("Pow")
def power(node, a, b):
    # ONNX has a result of the first one's dtype, whatever the exponent's.
    if a.dtype.kind == "i" and b.dtype.kind == "f":
        return node.op("cast", node.op("pow", node.op("cast", a, dtype=np.float64), b), dtype=a.dtype)
    return node.op("pow", a, b if b.dtype == a.dtype else node.op("cast", b, dtype=a.dtype))


@maps("Softsign")
def softsign(node, x):
    return node.op("div", x, node.op("add", node.op("abs", x), scalar(x, 1)))


@maps("Not")
def negation(node, x):
    return node.op("compare", x, np.asarray(False), relation=EQ)


@maps("And")
def conjunction(node, a, b):
    return node.op("where", a, b, np.asarray(False))


@maps("Or")
def disjunction(node, a, b):
    return node.op("where", a, np.asarray(True), b)


@maps("Where")
def where(node, condition, a, b):
    return node.op("where", condition, a, b)


@maps("Clip")
def clip(node, x, low=None, high=None):
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    for bound, op_name in ((low, "maximum"), (high, "minimum")):
        if bound is not None:
            x = node.op(op_name, x, scalar(x, bound) if isinstance(bound, float) else bound)
    return node.op("copy", x)


@maps("LeakyRelu")
def leaky_relu(node, x):
    return node.op("leaky_relu", x, slope=node.get("alpha", 0.01))


@maps("Elu")
def elu(node, x):
    return node.op("elu", x, alpha=node.get("alpha", 1.0))


@maps("Selu")
def selu(node, x):
    below = node.op("elu", x, alpha=node.get("alpha", 1.67326319217681884765625))
    return node.op("affine", below, scale=node.get("gamma", 1.05070102214813232421875))


@maps("Celu")
def celu(node, x):
    alpha = node.get("alpha", 1.0)
    return node.op("affine", node.op("elu", node.op("affine", x, scale=1 / alpha)), scale=alpha)


@maps("PRelu")
def prelu(node, x, slope):
    return node.op("where", node.op("compare", x, scalar(x, 0), relation=LT), node.op("mul", x, slope), x)


@maps("ThresholdedRelu")
def thresholded_relu(node, x):
    above = node.op("compare", x, scalar(x, node.get("alpha", 1.0)), relation=GT)
    return node.op("where", above, x, scalar(x, 0))


@maps("Shrink")
def shrink(node, x):
    edge, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    above = node.op("compare", x, scalar(x, edge), relation=GT)
    below = node.op("compare", x, scalar(x, -edge), relation=LT)
    inner = node.op("where", below, node.op("add", x, scalar(x, bias)), scalar(x, 0))
    return node.op("where", above, node.op("sub", x, scalar(x, bias)), inner)


@maps("IsNaN")
def is_nan(node, x):
    return node.op("compare", x, x, relation=NE)


@maps("IsInf")
def is_inf(node, x):
    both = (node.get("detect_negative", 1), node.get("detect_positive", 1))
    if not any(both):
        return node.op("fill", dims=x.dims, dtype=np.bool_)
    seen = x if both[1] else node.op("neg", x)
    return node.op("compare", node.op("abs", x) if all(both) else seen, scalar(x, np.inf), relation=EQ)


@maps("HardSigmoid")
def hard_sigmoid(node, x):
    line = node.op("affine", x, scale=node.get("alpha", 0.2), shift=node.get("beta", 0.5))
    return node.op("minimum", node.op("maximum", line, scalar(x, 0)), scalar(x, 1))


@maps("HardSwish")
def hard_swish(node, x):
    line = node.op("affine", x, scale=1 / 6, shift=0.5)
    return node.op("mul", x, node.op("minimum", node.op("maximum", line, scalar(x, 0)), scalar(x, 1)))


@maps("Dropout")
def dropout(node, x, ratio=None, training=None):
    if training is not None and bool(host(training)) and (ratio is None or float(host(ratio)) > 0):
        raise NotMapped("Dropout: which elements are left out depends on the generator")
    return node.op("copy", x), node.op("fill", dims=x.dims, dtype=np.bool_, value=1)


@maps("Bernoulli")
def bernoulli(node, x):
    raise NotMapped("Bernoulli: what is drawn depends on the generator")
