"""The samples of the table as data for the conformance, gradient and support tests (tests/conformance/cases.h explains
them) and as calls of the flat functions (tests/api/calls.h)."""
from gen_engine import ATTR_KIND, boolean, dtype_constant, int_literal, mask, quoted
from gen_header import NOTICE, pack
from gen_table import MAX_RANK

# What the element type of an input is while the op is tested in some type T.
INPUT_TYPE = {"any": "tested", "numeric": "tested", "float": "tested", "stat": "stat", "bool": "boolean", "index": "index",
              "integer": "index", "i64": "i64", "key": "i64", "f32": "f32", "half": "tested"}
RESULT_TYPE = {"same": "same", "second": "second", "bool": "boolean", "i64": "i64", "key": "i64", "f32": "f32",
               "stat": "stat", "attr": "attr"}


def bound(op, sample, k):
    """Exclusive upper bound of index values of input k, and the input whose values decide it (-1: none)."""
    name, parameter = op.domains[k]
    if name == "lse":
        return 0, int(parameter)
    if name not in ("labels", "ids"):
        return 0, -1
    if name == "labels":
        return sample.dims[0 if parameter == "last" else int(parameter)][-1], -1
    if parameter[0].isdigit():
        source, _, axis = parameter.partition(".")
        return sample.dims[int(source)][int(axis or 0)], -1
    attr = next(a for a in op.attrs if a.name == parameter)
    return sample.attrs.get(parameter, attr.default), -1


def case_input(op, sample, k):
    row = min(k, len(op.inputs) - 1)
    one = op.inputs[row]
    dims = sample.dims[k]
    domain = op.domains[row][0]
    kind = INPUT_TYPE[op.inputs[one.lead].dtypes if one.same else one.dtypes]
    limit, source = bound(op, sample, row)
    shape = dims or []
    values = ", ".join(str(v) for v in shape + [0] * (MAX_RANK - len(shape)))
    return (f"{{{boolean(dims is not None)}, InputType::{kind}, Domain::{domain}, {source}, {int_literal(limit)}, "
            f"{len(shape)}, {{{values}}}}}")


def case_attr(op, sample, attr, k, prefix):
    """The initialiser of one attribute as this sample has it, default included, and the array it points to."""
    value = sample.attrs.get(attr.name, attr.default)
    i, f, p, n, array = "0", "0.0", "nullptr", "0", ""
    if attr.kind in ("int", "bool"):
        i = int_literal(value)
    elif attr.kind == "float":
        f = repr(value)
    elif attr.kind == "dtype":
        i = dtype_constant(value)
    elif attr.kind == "string":
        p, n = quoted(value), str(len(value))
    elif value:
        p, n = f"{prefix}_{attr.name}", str(len(value))
        kind = "int64_t" if attr.kind == "ints" else "double"
        items = ", ".join(int_literal(v) if attr.kind == "ints" else repr(v) for v in value)
        array = f"inline constexpr {kind} {p}[] = {{{items}}};\n"
    return f"{{{k}, MILL_ATTR_{ATTR_KIND[attr.kind]}, {i}, {f}, {p}, {n}}}", array


def case_arrays(op, sample, number):
    prefix = f"{op.name}_{number}"
    text, rows = "", []
    for k, attr in enumerate(op.attrs):
        row, array = case_attr(op, sample, attr, k, "values_" + prefix)
        text += array
        rows.append(row)
    if sample.dims:
        text += f"inline constexpr CaseInput in_{prefix}[] = {{\n"
        text += "".join(f"    {case_input(op, sample, k)},\n" for k in range(len(sample.dims))) + "};\n"
    if rows:
        text += f"inline constexpr mill_attr attr_{prefix}[] = {{\n" + "".join(f"    {r},\n" for r in rows) + "};\n"
    return text


def op_arrays(op):
    results = ", ".join(f"{{{quoted(o.name)}, ResultType::{RESULT_TYPE[o.type]}}}" for o in op.outputs)
    text = f"inline constexpr CaseOutput out_{op.name}[] = {{{results}}};\n"
    if op.inplace:
        pairs = ", ".join(f"{{{o}, {i}}}" for o, i in op.inplace)
        text += f"inline constexpr CaseInplace inplace_{op.name}[] = {{{pairs}}};\n"
    dtypes = mask(op.input_dtypes(op.inputs[0].lead)) if op.inputs else "0"
    inplace = f"inplace_{op.name}, {len(op.inplace)}" if op.inplace else "nullptr, 0"
    text += (f"inline constexpr CaseOp op_{op.name} = {{\n"
             f"    {op.enum}, {quoted(op.name)}, {quoted(op.family)}, OpKind::{op.kind}, Gradient::{op.gradient},\n"
             f"    {boolean(op.random)}, {boolean(op.smooth)}, {boolean(op.list_input)}, {op.tolerance!r}, {dtypes},\n"
             f"    Reference::{op.reference}_, out_{op.name}, {len(op.outputs)}, {inplace}}};\n")
    return text


def case_row(op, sample, number):
    prefix = f"{op.name}_{number}"
    given = sum(1 << k for k, a in enumerate(op.attrs) if a.name in sample.attrs)
    inputs = f"in_{prefix}, {len(sample.dims)}" if sample.dims else "nullptr, 0"
    attrs = f"attr_{prefix}, {len(op.attrs)}" if op.attrs else "nullptr, 0"
    return f"MILL_CASE({op.name}, {number}, {quoted(sample.text)}, {inputs}, {attrs}, {hex(given)}u)\n"


def cases(ops):
    references = sorted({op.reference for op in ops})
    text = f"// {NOTICE}\n//\n// Included with one of three macros defined; cases.h does so and says what the entries mean.\n"
    text += "#ifdef MILL_REFERENCE\n" + "".join(f"MILL_REFERENCE({name})\n" for name in references)
    text += "#endif\n\n#ifdef MILL_CASE_ARRAYS\n"
    for op in ops:
        text += op_arrays(op)
        text += "".join(case_arrays(op, sample, k) for k, sample in enumerate(op.samples)) + "\n"
    text += "#endif\n\n#ifdef MILL_CASE\n"
    text += "".join(case_row(op, sample, k) for op in ops for k, sample in enumerate(op.samples))
    return text + "#endif\n"


# ---- one call of each flat function ---------------------------------------------------------------------------------

def call_sample(op):
    """The first sample that gives every input and every list, all with elements: in such a call each pointer matters."""
    def whole(sample):
        lists = [sample.attrs.get(a.name, a.default) for a in op.attrs if a.kind in ("ints", "floats")]
        return all(dims is not None and 0 not in dims for dims in sample.dims) and all(lists)

    return next((sample for sample in op.samples if whole(sample)), op.samples[0])


def call_input(op, sample, k):
    row = min(k, len(op.inputs) - 1)
    one = op.inputs[row]
    if sample.dims[k] is None:
        return "nullptr"
    dtypes = op.inputs[one.lead].dtypes if one.same else one.dtypes
    kind = INPUT_TYPE[dtypes]
    dims = "{" + ", ".join(map(str, sample.dims[k])) + "}"
    if one.dtypes == "key":
        return f"f.tensor({dims}, MILL_I64, 7)"
    if kind in ("index", "i64"):
        limit = bound(op, sample, row)[0]
        return f"f.ids({dims})" if limit != 1 else f"f.ids({dims}, 0)"
    if kind == "boolean":
        return f"f.tensor({dims}, MILL_BOOL, 1)"
    if dtypes == "half":
        return f"f.tensor({dims}, MILL_BF16)"
    if records(op):
        return f"f.watched(f.tensor({dims}))"
    promoted = op.kind == "pointwise" and one.same
    return f"f.tensor({dims}, MILL_F64)" if promoted else f"f.tensor({dims})"


def records(op):
    """Half of the ops that can be recorded are, so that both ways through dispatch meet every family."""
    return op.gradient == "yes" and op.number % 2 == 1


def call_attr(sample, attr):
    value = sample.attrs.get(attr.name, attr.default)
    if attr.kind in ("ints", "floats"):
        if not value:
            return ["nullptr", "0"]
        kind, text = ("int64_t", int_literal) if attr.kind == "ints" else ("double", repr)
        return [f"f.array<{kind}>({{{', '.join(map(text, value))}}})", str(len(value))]
    return [{"int": int_literal, "bool": str, "float": repr, "dtype": dtype_constant, "string": quoted}[attr.kind](value)]


def call_entry(op):
    sample = call_sample(op)
    drawn = op.random  # by the exec's generator, in place of the key
    arguments = ["f.random_exec()" if drawn else "f.recording_exec()" if records(op) else "f.exec()"]
    if op.list_input:
        tensors = ", ".join(call_input(op, sample, k) for k in range(len(sample.dims)))
        arguments += [f"f.array<mill_tensor*>({{{tensors}}})", str(len(sample.dims))]
        null = []
    else:
        arguments += ["nullptr" if drawn and one.dtypes == "key" else call_input(op, sample, k)
                      for k, one in enumerate(op.inputs)]
        null = [1 + k for k, one in enumerate(op.inputs) if one.optional]
    for attr in op.attrs:
        values = call_attr(sample, attr)
        if values == ["nullptr", "0"]:
            null.append(len(arguments))
        arguments += values
    arguments += ["f.slot<mill_tensor>()"] * len(op.outputs) + ["f.err()"]
    end = ").null({" + ", ".join(map(str, null)) + "});" if null else ");"
    return pack("  MILL_ENTRY(", [f"mill_{op.name}"] + arguments, end) + "\n"


def calls(ops):
    text = (f"// {NOTICE}\n//\n// One call of the flat function of each op, of a sample of its row.\n"
            '#include "api/calls.h"\n\n// clang-format off\nnamespace mill_test {\n\n'
            "void add_op_entries(Entries& to) {\n  const size_t first = to.size();\n")
    text += "".join(call_entry(op) for op in ops)
    return (text + "  for (size_t k = first; k < to.size(); ++k) to[k].op = true;\n}\n\n"
            "}  // namespace mill_test\n// clang-format on\n")
