"""Runs an ONNX graph, node by node, with what `mapping` says of each operator."""
import onnx
from onnx import AttributeProto, numpy_helper


class NotMapped(Exception):
    """The operator, or its use with these dtypes or attributes, is not of this library."""


class Node:
    """An operator's call: its attributes as plain values, `opset` the version of its set."""

    def __init__(self, proto, model, device, outer):
        self.proto, self.model, self.device, self.outer = proto, model, device, outer
        self.opset = opset_of(model, proto.domain)
        self.attributes = {}
        for one in proto.attribute:
            if one.type == AttributeProto.TENSOR:
                value = numpy_helper.to_array(one.t)
            elif one.type == AttributeProto.STRING:
                value = one.s.decode()
            elif one.type == AttributeProto.STRINGS:
                value = [text.decode() for text in one.strings]
            elif one.type == AttributeProto.GRAPH:
                value = one.g
            else:
                value = onnx.helper.get_attribute_value(one)
            self.attributes[one.name] = value

    def get(self, name, default=None):
        return self.attributes.get(name, default)

    def op(self, name, *inputs, **attributes):
        if not self.device.has(name):
            raise NotMapped(f"needs the op {name}")
        return self.device.op(name, *inputs, **attributes)

    @property
    def wanted(self):
        """How many outputs are asked for, and which."""
        return [bool(name) for name in self.proto.output]


def opset_of(model, domain):
    return next((one.version for one in model.opset_import if (one.domain or "ai.onnx") == (domain or "ai.onnx")), 1)


def run(device, model, graph, inputs, handlers, outer=None):
    values = dict(outer or {})
    values.update(zip([one.name for one in graph.input], inputs))
    for one in graph.initializer:
        values.setdefault(one.name, device.tensor(numpy_helper.to_array(one)))
    for proto in graph.node:
        handler = handlers.get((proto.domain, proto.op_type))
        if handler is None:
            name = proto.op_type if not proto.domain else f"{proto.domain}.{proto.op_type}"
            raise NotMapped(f"{name}: no op of this library")
        node = Node(proto, model, device, values)
        made = handler(node, *[values[name] if name else None for name in proto.input])
        if not isinstance(made, (tuple, list)):
            made = (made,)
        for name, value in zip(proto.output, made):
            if name:
                values[name] = value
    return [values[one.name] for one in graph.output]
