"""Recurrent networks: the gates of ONNX in the order of this library, a direction at a time."""
from graph import NotMapped
from mapping import maps


def part(node, x, k):
    """Direction k of a tensor whose first axis they are; absent ones stay so."""
    if x is None:
        return None
    return node.op("reshape", node.op("slice", x, axis=0, start=k, stop=k + 1), dims=list(x.dims[1:]))


def reordered(node, x, order, units):
    """Blocks of `units` rows in another order."""
    if x is None or len(order) == 1:
        return x
    return node.op("concat", *[node.op("slice", x, axis=0, start=k * units, stop=(k + 1) * units) for k in order], axis=0)


class Layer:
    """What LSTM, GRU and RNN have in common."""

    def __init__(self, node, gates, order, x, w, r, b, lengths, *states):
        self.node, self.order, self.lengths = node, order, lengths
        name = node.proto.op_type
        if node.get("clip") is not None:
            raise NotMapped(f"{name}: clipped sums")
        if node.get("activation_alpha") or node.get("activation_beta"):
            raise NotMapped(f"{name}: scaled functions")
        self.batch_first = bool(node.get("layout", 0))
        self.x = node.op("permute", x, axes=[1, 0, 2]) if self.batch_first else x
        self.w, self.r, self.b = w, r, b
        self.states = [node.op("permute", s, axes=[1, 0, 2]) if s is not None and self.batch_first else s
                       for s in states]
        self.units = r.dims[2]
        way = node.get("direction", b"forward")
        way = way.decode() if isinstance(way, bytes) else way
        self.ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[way]
        self.gates = gates

    def activations(self, *usual):
        given = [a.decode() if isinstance(a, bytes) else a for a in self.node.get("activations", [])]
        if given and given != list(usual) * len(self.ways):
            raise NotMapped(f"{self.node.proto.op_type}: functions {' '.join(given)}")

    def direction(self, k):
        """The inputs times their weights, the recurrent weights, the recurrent bias and the states."""
        node = self.node
        weights = reordered(node, part(node, self.w, k), self.order, self.units)
        recurrent = reordered(node, part(node, self.r, k), self.order, self.units)
        biases = [None, None]
        if self.b is not None:
            both = part(node, self.b, k)
            rows = self.gates * self.units
            biases = [reordered(node, node.op("slice", both, axis=0, start=j * rows, stop=(j + 1) * rows), self.order,
                                self.units) for j in range(2)]
        gates = node.op("linear", self.x, weights, biases[0])
        return gates, recurrent, biases[1], [part(node, s, k) for s in self.states]

    def whole(self, ys, *lasts):
        """Of each direction y [T, batch, H] and states [batch, H], as ONNX lays them out."""
        node = self.node
        steps, batch = self.x.dims[:2]
        y = node.op("concat", *[node.op("reshape", one, dims=[steps, 1, batch, self.units]) for one in ys], axis=1)
        states = [node.op("concat", *[node.op("reshape", one, dims=[1, batch, self.units]) for one in last], axis=0)
                  for last in lasts]
        if self.batch_first:
            y = node.op("permute", y, axes=[2, 0, 1, 3])
            states = [node.op("permute", s, axes=[1, 0, 2]) for s in states]
        return (y, *states)


@maps("RNN")
def rnn(node, x, w, r, b=None, lengths=None, h0=None):
    layer = Layer(node, 1, [0], x, w, r, b, lengths, h0)
    given = [a.decode() if isinstance(a, bytes) else a for a in node.get("activations", [])]
    relu = given == ["Relu"] * len(layer.ways)
    if not relu:
        layer.activations("Tanh")
    ys, lasts = [], []
    for k, reverse in enumerate(layer.ways):
        gates, weights, bias, (start,) = layer.direction(k)
        y, last = node.op("rnn_sequence", gates, weights, bias, start, lengths, reverse=reverse, relu=relu)
        ys.append(y)
        lasts.append(last)
    return layer.whole(ys, lasts)


@maps("GRU")
def gru(node, x, w, r, b=None, lengths=None, h0=None):
    layer = Layer(node, 3, [1, 0, 2], x, w, r, b, lengths, h0)  # z r h there, r z n here
    layer.activations("Sigmoid", "Tanh")
    ys, lasts = [], []
    for k, reverse in enumerate(layer.ways):
        gates, weights, bias, (start,) = layer.direction(k)
        y, last, _ = node.op("gru_sequence", gates, weights, bias, start, lengths, reverse=reverse,
                             linear_before_reset=bool(node.get("linear_before_reset", 0)))
        ys.append(y)
        lasts.append(last)
    return layer.whole(ys, lasts)


@maps("LSTM")
def lstm(node, x, w, r, b=None, lengths=None, h0=None, c0=None, peepholes=None):
    layer = Layer(node, 4, [0, 2, 3, 1], x, w, r, b, lengths, h0, c0)  # i o f c there, i f g o here
    layer.activations("Sigmoid", "Tanh", "Tanh")
    if node.get("input_forget", 0):
        raise NotMapped("LSTM: one gate for input and forget")
    ys, hs, cs = [], [], []
    for k, reverse in enumerate(layer.ways):
        gates, weights, bias, (h, c) = layer.direction(k)
        if peepholes is None:
            y, h, c, _, _ = node.op("lstm_sequence", gates, weights, bias, h, c, lengths, reverse=reverse)
        else:
            y, h, c = with_peepholes(layer, gates, weights, bias, h, c, part(node, peepholes, k), reverse)
        ys.append(y)
        hs.append(h)
        cs.append(c)
    return layer.whole(ys, hs, cs)


def with_peepholes(layer, gates, weights, bias, h, c, peepholes, reverse):
    """Step by step, for the gates look at the cell: i and f at the one before, o at the new one."""
    node, units = layer.node, layer.units
    steps, batch = gates.dims[:2]
    if layer.lengths is not None and any(int(n) != steps for n in layer.lengths.numpy()):
        raise NotMapped("LSTM: peepholes with sequences of several lengths")
    look = {gate: node.op("slice", peepholes, axis=0, start=k * units, stop=(k + 1) * units)
            for k, gate in enumerate("iof")}
    zero = node.op("fill", dims=[batch, units], dtype=gates.dtype, value=0)
    h, c = (zero if one is None else one for one in (h, c))
    ys = [None] * steps
    for t in (reversed(range(steps)) if reverse else range(steps)):
        now = node.op("reshape", node.op("slice", gates, axis=0, start=t, stop=t + 1), dims=[batch, 4 * units])
        sums = node.op("add", now, node.op("linear", h, weights, bias))
        i, f, g, o = (node.op("slice", sums, axis=1, start=k * units, stop=(k + 1) * units) for k in range(4))
        i = node.op("sigmoid", node.op("add", i, node.op("mul", look["i"], c)))
        f = node.op("sigmoid", node.op("add", f, node.op("mul", look["f"], c)))
        c = node.op("add", node.op("mul", f, c), node.op("mul", i, node.op("tanh", g)))
        o = node.op("sigmoid", node.op("add", o, node.op("mul", look["o"], c)))
        h = node.op("mul", o, node.op("tanh", c))
        ys[t] = node.op("reshape", h, dims=[1, batch, units])
    return node.op("concat", *ys, axis=0), h, c
