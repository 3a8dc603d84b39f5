"""The engine's side of the op table: the rows that dispatch reads, and C++ wrappers for gradient rules."""
from gen_header import NOTICE, pack
from gen_table import PARTS, STORED

INT64_MAX = (1 << 63) - 1
DTYPE_NUMBER = {name: number for number, name in enumerate(STORED, 1)}
assert DTYPE_NUMBER["bool"] == 1 and DTYPE_NUMBER["f32"] == 12 and DTYPE_NUMBER["c128"] == 17

ATTR_KIND = {"int": "INT", "bool": "INT", "float": "FLOAT", "ints": "INTS", "floats": "FLOATS", "string": "STRING",
             "dtype": "DTYPE"}
RESULT = {"same": "same", "second": "second", "bool": "boolean", "i64": "i64", "f32": "f32", "stat": "stat",
          "attr": "attr", "key": "key"}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def boolean(value):
    return "true" if value else "false"


def int_literal(value):
    if value == INT64_MAX:
        return "INT64_MAX"
    if value == -INT64_MAX - 1:
        return "INT64_MIN"
    return str(value)


def dtype_constant(name):
    return "MILL_" + name.upper()


def mask(names):
    return "0x%05xu" % sum(1 << DTYPE_NUMBER[n] for n in names)


def default_value(op, attr, k):
    """The default as a mill_attr initialiser; a list's elements stand in an array of their own."""
    i, f, p, n = "0", "0.0", "nullptr", "0"
    value = attr.default
    if attr.required:
        pass
    elif attr.kind in ("int", "bool"):
        i = int_literal(value)
    elif attr.kind == "float":
        f = repr(value)
    elif attr.kind == "dtype":
        i = dtype_constant(value)
    elif attr.kind == "string":
        p, n = quoted(value), str(len(value))
    elif value:
        p, n = f"k_{op.name}_{attr.name}", str(len(value))
    return f"{{{k}, MILL_ATTR_{ATTR_KIND[attr.kind]}, {i}, {f}, {p}, {n}}}"


def array(kind, name, rows):
    if not rows:
        return ""
    return f"inline constexpr {kind} {name}[] = {{\n" + "".join(f"    {{{row}}},\n" for row in rows) + "};\n"


def operand_arrays(op):
    text = array("InputRow", f"in_{op.name}",
                 [f"{quoted(i.name)}, {boolean(i.optional)}, {boolean(i.list)}, {boolean(i.same)}, "
                  f"{mask(op.input_dtypes(k))}" for k, i in enumerate(op.inputs)])
    text += array("OutputRow", f"out_{op.name}",
                  [f"{quoted(o.name)}, ResultType::{RESULT[o.type]}" for o in op.outputs])
    return text + array("InplaceRow", f"inplace_{op.name}", [f"{o}, {i}" for o, i in op.inplace])


def attribute_arrays(op):
    text = ""
    for attr in op.attrs:
        if attr.kind in ("ints", "floats") and attr.default:
            kind = "int64_t" if attr.kind == "ints" else "double"
            values = ", ".join(int_literal(v) if attr.kind == "ints" else repr(v) for v in attr.default)
            text += f"inline constexpr {kind} k_{op.name}_{attr.name}[] = {{{values}}};\n"
    return text + array("AttrRow", f"attr_{op.name}",
                  [f"{quoted(a.name)}, MILL_ATTR_{ATTR_KIND[a.kind]}, {boolean(a.required)}, {boolean(a.kind == 'bool')}, "
                   f"{default_value(op, a, k)}" for k, a in enumerate(op.attrs)])


def row_header(what, includes, parts):
    return (f"// {NOTICE}\n//\n// {what}\n#pragma once\n\n" + "".join(f'#include "{path}"\n' for path in includes)
            + "\n// clang-format off\nnamespace mill::op_rows {\n\n" + "\n".join(part for part in parts if part)
            + "\n}  // namespace mill::op_rows\n// clang-format on\n")


def umbrella(what, name):
    """A header that has nothing but those of the parts."""
    return (f"// {NOTICE}\n//\n// {what}\n#pragma once\n\n"
            + "".join(f'#include "ops/{name}_{part}.gen.h"\n' for part in PARTS))


def operands(ops):
    return umbrella("What each op of the table takes and gives.", "op_operands")


def part_operands(ops):
    return row_header("What each op of this part of the table takes and gives.", ["dispatch/op_table.h"],
                      [operand_arrays(op) for op in ops])


def attributes(ops):
    return row_header("The attributes of each op of the table that has any.", ["dispatch/op_table.h"],
                      [attribute_arrays(op) for op in ops])


def op_table(ops):
    text = f"// {NOTICE}\n" + '#include "dispatch/op_table.h"\n\n#include "dispatch/op_rules.h"\n'
    text += '#include "millrace/op_numbers.h"\n#include "ops/op_attributes.gen.h"\n'
    text += '#include "ops/op_operands.gen.h"\n\n// clang-format off\nnamespace mill {\nnamespace ops {\n\n'
    text += "".join(f"extern const OpRules rules_{op.name};\n" for op in ops)
    text += "\n}  // namespace ops\n\nnamespace {\n\nusing namespace op_rows;  // NOLINT\n"
    text += "\n// Not constexpr: the rules live in other translation units. Their addresses are still link-time constants.\n"
    text += "const OpRow rows[] = {\n"
    for op in ops:
        def counted(prefix, items):
            return f"{prefix}_{op.name}, {len(items)}" if items else "nullptr, 0"

        text += (f"    {{{op.enum}, {op.version}, {quoted(op.name)}, {quoted(op.family)}, OpKind::{op.kind}, "
                 f"GradientKind::{op.gradient}, Autocast::{op.autocast}, {boolean(op.random)},\n"
                 f"     {counted('in', op.inputs)}, {counted('out', op.outputs)}, {counted('attr', op.attrs)}, "
                 f"{counted('inplace', op.inplace)},\n"
                 f"     {quoted(op.doc)},\n"
                 f"     &ops::rules_{op.name}}},\n")
    text += "};\n\n}  // namespace\n\n"
    text += "const OpRow* op_table() { return rows; }\n"
    text += f"uint32_t op_table_size() {{ return {len(ops)}; }}\n"
    text += f"static_assert(sizeof(rows) / sizeof(rows[0]) == {len(ops)});\n"
    return text + "\n}  // namespace mill\n// clang-format on\n"


# ---- wrappers -------------------------------------------------------------------------------------------------------

def wrapper_attr(attr, trailing):
    """Parameters of one attribute, with the row's default where every later attribute has one too."""
    name, value = attr.name, attr.default
    kinds = {"int": "int64_t", "bool": "bool", "float": "double", "dtype": "mill_dtype", "string": "const char*"}
    if attr.kind in kinds:
        default = {"int": int_literal, "bool": boolean, "float": repr, "dtype": dtype_constant, "string": quoted}
        return [f"{kinds[attr.kind]} {name}" + (f" = {default[attr.kind](value)}" if trailing else "")]
    element = "int64_t" if attr.kind == "ints" else "double"
    end = (" = nullptr", " = 0") if trailing else ("", "")
    return [f"const {element}* {name}{end[0]}", f"uint32_t n_{name}{end[1]}"]


def has_plain_default(attr):
    return not attr.required and not (attr.kind in ("ints", "floats") and attr.default)


def wrapper_parameters(op):
    items = ["Exec& exec"]
    for one in op.inputs:
        items += [f"mill_tensor* const* {one.name}", f"uint32_t n_{one.name}"] if one.list else [f"mill_tensor* {one.name}"]
    first_default = len(op.attrs)
    # A parameter after defaulted ones needs a default; the array of several outputs has none.
    while len(op.outputs) == 1 and first_default > 0 and has_plain_default(op.attrs[first_default - 1]):
        first_default -= 1
    for k, attr in enumerate(op.attrs):
        items += wrapper_attr(attr, k >= first_default)
    if len(op.outputs) > 1:
        return items + [f"TensorRef (&out)[{len(op.outputs)}]"]
    return items + ["mill_tensor* out = nullptr"]


def wrapper_attr_value(attr, k):
    name = attr.name
    return {
        "int": f"int_attr({k}, {name})",
        "bool": f"int_attr({k}, {name})",
        "float": f"float_attr({k}, {name})",
        "ints": f"ints_attr({k}, {name}, n_{name})",
        "floats": f"mill_attr{{{k}, MILL_ATTR_FLOATS, 0, 0.0, {name}, n_{name}}}",
        "string": f"string_attr({k}, {name})",
        "dtype": f"dtype_attr({k}, {name})",
    }[attr.kind]


def wrapper(op):
    several = len(op.outputs) > 1
    n_out = len(op.outputs)
    text = pack(f"inline {'void' if several else 'TensorRef'} {op.name}(", wrapper_parameters(op), ") {") + "\n"
    if op.list_input:
        inputs, count = op.inputs[0].name, "n_" + op.inputs[0].name
    elif op.inputs:
        text += "  mill_tensor* const in[] = {" + ", ".join(i.name for i in op.inputs) + "};\n"
        inputs, count = "in", str(len(op.inputs))
    else:
        inputs, count = "nullptr", "0"
    if op.attrs:
        text += pack("  const mill_attr attrs[] = {", [wrapper_attr_value(a, k) for k, a in enumerate(op.attrs)], "};") + "\n"
    if several:
        text += "  mill_tensor* raw[] = {" + ", ".join(f"out[{k}].get()" for k in range(n_out)) + "};\n"
    else:
        text += "  mill_tensor* result = out;\n"
    text += pack("  invoke(", ["exec", op.enum, inputs, count, "attrs" if op.attrs else "nullptr", str(len(op.attrs)),
                               "raw" if several else "&result", str(n_out)], ");") + "\n"
    if several:
        text += f"  for (uint32_t out_k = 0; out_k < {n_out}; ++out_k) {{\n    if (!out[out_k]) out[out_k] = TensorRef::adopt(raw[out_k]);\n  }}\n"
    else:
        text += "  return out ? TensorRef::share(out) : TensorRef::adopt(result);\n"
    return text + "}\n"


def calls(ops):
    return umbrella("Ops as C++ calls for gradient rules and optimizers. `out`, where given, is written into; entries\n"
                    "// of an output array that hold a tensor are written into, the others are filled.", "calls")


def part_calls(ops):
    text = (f"// {NOTICE}\n//\n// Part of calls.gen.h.\n"
            '#pragma once\n\n#include <cstdint>\n\n#include "dispatch/invoke.h"\n#include "millrace/op_numbers.h"\n\n'
            "// clang-format off\nnamespace mill::op {\n\n")
    return text + "\n".join(wrapper(op) for op in ops) + "\n}  // namespace mill::op\n// clang-format on\n"


def x_macro(name, entries):
    rows = [f"#define {name}(X)"] + [f"  X({entry})" for entry in entries]
    longest = max(len(row) for row in rows)
    return "".join(row.ljust(longest) + " \\\n" for row in rows[:-1]) + rows[-1] + "\n"


def families(ops):
    """The families that have kernels, for the CPU device's list of kernel lists, and the ops, for its messages."""
    kernels = [op for op in ops if op.kind != "view"]
    return ("// " + NOTICE + "\n#pragma once\n\n// The families with kernels: each is a file of this folder.\n"
            + x_macro("MILL_CPU_FAMILIES", sorted({op.family for op in kernels}))
            + "\n// The ops with kernels.\n" + x_macro("MILL_CPU_OPS", [op.name.upper() for op in kernels]))


def gpu_families(ops):
    """The families that have kernels, for the GPU device's list of kernel lists, and the ops' names for its messages."""
    kernels = [op for op in ops if op.kind != "view"]
    return ("// " + NOTICE + "\n#pragma once\n\n// The families with kernels: each is a file of gpu/families.\n"
            + x_macro("MILL_GPU_FAMILIES", sorted({op.family for op in kernels}))
            + "\n// The ops with kernels: number and name.\n"
            + x_macro("MILL_GPU_OPS", [f"{op.number}, {op.name}" for op in kernels]))
