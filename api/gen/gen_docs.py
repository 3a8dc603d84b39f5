"""What people and SWIG read: docs/ops.md and the op list of the bindings."""
from gen_header import NOTICE, default_text, join_words, pack, parameters
from gen_table import INPUT_DTYPES, PARTS, out_name

KIND_TEXT = {
    "pointwise": "; pointwise: inputs broadcast and promote, any strides",
    "view": "; view: the output shares the input's storage where its strides allow",
    "strided": "; inputs may have any strides",
    "dense": "; inputs that are not row-major are copied first",
}
GRADIENT_TEXT = {
    "yes": "yes",
    "no": "none: backward through it fails with `MILL_E_NO_GRADIENT`",
    "zero": "zero: nothing flows",
}
RESULT_TEXT = {"bool": "bool", "i64": "i64", "key": "i64", "f32": "f32", "stat": "f32 (f64 beside f64)",
               "attr": "the dtype attribute"}

AUTOCAST_TEXT = {
    "low": "low: computed in the exec's 16-bit type",
    "high": "high: 16-bit inputs are cast to f32",
}

INTRODUCTION = """\
# Ops

{count} ops. Each is one row of `api/gen/ops.toml`; from the row follow the C function below (`millrace/ops.h`), its number
for `mill_op_invoke` (`millrace/op_numbers.h`), its schema, its tests and this page. `samples` in the row show shapes that work.

- A call is `mill_<op>(exec, inputs, attributes, outputs, err)`. `*out` NULL on entry: allocated, and the caller owns one
  reference. Otherwise the result is written into that tensor after checks.
- An input marked "optional" may be NULL. `mill_op_invoke` takes an attribute's default when the attribute is absent; the number
  before its name is its id in `mill_attr`.
- Dtypes: *float* is {float}; *index* is {index}; *numeric* is both;
  *any* is all that can be stored; *half* is f16 and bf16; *stat* is f32, or f64 beside f64. Inputs described as "same" promote as in PyTorch. Which
  of them a device computes in: `mill_op_supports`.
- *autocast* says what an exec with `mill_exec_set_autocast` does to the floating-point inputs; without that line they stay.
- *smooth* marks a gradient that can be differentiated again, and is tested so.

What is a sequence of these ops stands in `millrace/compose.h`: squeeze, split, stack and other views, einsum, var, norms,
logsumexp, losses, adaptive pooling, bags of embeddings, LSTM, GRU and RNN layers, a loss without all logits in memory.
"""


def dtype_words(op, k):
    one = op.inputs[k]
    if one.same:
        return f"same as `{op.inputs[one.lead].name}`"
    return {"key": "i64, two elements (seed, call)", "stat": "stat", "i64": "i64", "bool": "bool"}.get(one.dtypes, one.dtypes)


def result_words(op, kind):
    if kind == "same":
        return f"as `{op.inputs[0].name}`"
    if kind == "second":
        return f"as `{op.inputs[1].name}`"
    return RESULT_TEXT[kind]


def op_section(op):
    lines = [f"### {op.name}", "", op.doc if op.doc.endswith(".") else op.doc + ".", ""]
    lines += ["```c", pack(f"mill_status mill_{op.name}(", parameters(op), ");"), "```", ""]
    for k, one in enumerate(op.inputs):
        notes = (", a list" if one.list else "") + (", optional" if one.optional else "")
        lines.append(f"- input `{one.name}`: {dtype_words(op, k)}{notes}")
    for k, attr in enumerate(op.attrs):
        default = "required" if attr.required else f"default {default_text(attr)}"
        lines.append(f"- attribute {k} `{attr.name}`: {attr.kind}, {default}")
    for k, output in enumerate(op.outputs):
        shared = [f"`{op.inputs[i].name}`" for o, i in op.inplace if o == k]
        memory = f"; may share memory with {join_words(shared, 'or')}" if shared else ""
        lines.append(f"- output `{out_name(op.outputs, k)}`: {result_words(op, output.type)}{memory}")
    if op.autocast != "keep":
        lines.append(f"- autocast {AUTOCAST_TEXT[op.autocast]}")
    smooth = ", smooth" if op.smooth else ""
    lines.append(f"- gradient {GRADIENT_TEXT[op.gradient]}{smooth}")
    lines.append(f"- number {op.number} (`{op.enum}`), version {op.version}{KIND_TEXT[op.kind] if op.inputs else ''}"
                 + ("; draws a key from the exec's generator when none is given" if op.random else ""))
    return "\n".join(lines) + "\n"


def reference(ops):
    families = {}
    for op in ops:
        families.setdefault(op.family, []).append(op)
    text = f"<!-- {NOTICE} -->\n\n"
    text += INTRODUCTION.format(count=len(ops), float=", ".join(INPUT_DTYPES["float"]), index=", ".join(INPUT_DTYPES["index"]))
    text += "\n## Contents\n\n"
    for family, members in families.items():
        text += f"- **{family}**: " + ", ".join(f"[{op.name}](#{op.name})" for op in members) + "\n"
    for family, members in families.items():
        text += f"\n## Family {family}\n\n" + "\n".join(op_section(op) for op in members)
    return text


def swig(ops):
    text = f"// {NOTICE}\n//\n"
    text += "// The ops as SWIG sees them. MILL_FOR_EACH_OP(DO) expands DO(name, number of outputs) for each, so that a\n"
    text += "// language's interface can rename or wrap all of them in one line.\n"
    text += "%define MILL_FOR_EACH_OP(DO)\n" + "".join(f"DO({op.name}, {len(op.outputs)})\n" for op in ops) + "%enddef\n\n"
    headers = ["op_numbers", "ops"] + [f"ops_{part}" for part in PARTS]
    return text + "".join(f'%include "millrace/{header}.h"\n' for header in headers)
