"""Resizing of spatial axes."""
import math

from graph import NotMapped
from mapping import host, maps

MODES = {"nearest": 0, "linear": 1, "bilinear": 1, "cubic": 2}
TRANSFORMS = {"half_pixel": 0, "pytorch_half_pixel": 1, "align_corners": 2, "asymmetric": 3, "half_pixel_symmetric": 4,
              "tf_half_pixel_for_nn": 5}
ROUNDINGS = {"round_prefer_floor": 0, "round_prefer_ceil": 1, "floor": 2, "ceil": 3}


def resized(node, x, scales, sizes, **how):
    """x at `sizes`, or at its own times `scales`, of all its axes."""
    spatial = len(x.dims) - 2
    if sizes is None:
        sizes = [math.floor(size * scale) for size, scale in zip(x.dims, scales)]
    if list(sizes[:2]) != list(x.dims[:2]):
        raise NotMapped(f"{node.proto.op_type}: batch and channels stay as they are")
    given = {} if scales is None else {"scales": scales[2:]}
    return node.op("resize", x, sizes=[int(size) for size in sizes[2:2 + spatial]], **given, **how)


def listed(value):
    return None if value is None or not value.dims or value.dims[0] == 0 else [float(k) for k in host(value)]


@maps("Resize")
def resize(node, x, roi=None, scales=None, sizes=None):
    transform = node.get("coordinate_transformation_mode", "half_pixel")
    if transform not in TRANSFORMS:
        raise NotMapped(f"Resize: {transform} looks at a region of x, and beyond it")
    if node.get("antialias", 0) or node.get("axes") is not None or \
            node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotMapped("Resize: only what torch.nn.functional.interpolate and opset 13 have")
    return resized(node, x, listed(scales), listed(sizes), mode=MODES[node.get("mode", "nearest")],
                   transform=TRANSFORMS[transform],
                   rounding=ROUNDINGS[node.get("nearest_mode", "round_prefer_floor")],
                   cubic=node.get("cubic_coeff_a", -0.75), exclude_outside=bool(node.get("exclude_outside", 0)))


@maps("Upsample")
def upsample(node, x, scales=None):
    factors = listed(scales) or [float(k) for k in node.get("scales")]
    return resized(node, x, factors, None, mode=MODES[node.get("mode", "nearest")], transform=TRANSFORMS["asymmetric"],
                   rounding=ROUNDINGS["floor"])
