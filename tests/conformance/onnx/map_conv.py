"""Convolutions and their transposes."""
from map_pool import windows
from mapping import maps


@maps("Conv")
def conv(node, x, weight, bias=None):
    found = windows(node, x.dims[2:], weight.dims[2:])
    return node.op("conv", x, weight, bias, stride=found["stride"], padding=found["padding"],
                   dilation=found["dilation"], groups=node.get("group", 1))


@maps("ConvTranspose")
def conv_transpose(node, x, weight, bias=None):
    n = len(x.dims) - 2
    stride = list(node.get("strides", [1] * n))
    dilation = list(node.get("dilations", [1] * n))
    extra = list(node.get("output_padding", [0] * n))
    padding = list(node.get("pads", [0] * 2 * n))
    how = node.get("auto_pad", "NOTSET")
    wanted = node.get("output_shape")
    if wanted is not None:
        wanted = list(wanted)[-n:]
    elif how.startswith("SAME"):
        wanted = [size * s for size, s in zip(x.dims[2:], stride)]
    if wanted is not None:
        total = [s * (size - 1) + e + (k - 1) * d + 1 - want for s, size, e, k, d, want
                 in zip(stride, x.dims[2:], extra, weight.dims[2:], dilation, wanted)]
        # What is missing is added behind.
        extra = [e + max(-t, 0) for e, t in zip(extra, total)]
        total = [max(t, 0) for t in total]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        padding = less + more if how == "SAME_UPPER" else more + less
    return node.op("conv_transpose", x, weight, bias, stride=stride, padding=padding, dilation=dilation,
                   groups=node.get("group", 1), output_padding=extra)
