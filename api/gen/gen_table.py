"""Reads ops.toml into checked rows. Every complaint is one sentence that names the op and the key."""
import math
import re
import tomllib
from dataclasses import dataclass, field

STORED = ["bool", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "bf16", "f32", "f64", "f8e4m3", "f8e5m2",
          "c64", "c128"]
INTEGERS = ["u8", "i8", "i16", "i32", "i64"]
FLOATS = ["f16", "bf16", "f32", "f64"]
# What an input of each kind takes. "same" is resolved to the set of the lead input.
INPUT_DTYPES = {
    "any": STORED,
    "numeric": INTEGERS + FLOATS,
    "float": FLOATS,
    "integer": INTEGERS,
    "index": INTEGERS,
    "bool": ["bool"],
    "i64": ["i64"],
    "f32": ["f32"],
    "half": ["f16", "bf16"],
    "stat": ["f32", "f64"],
    "key": ["i64"],
}
FLOATING = set(FLOATS)
RESULTS = ["same", "second", "bool", "i64", "f32", "key", "stat", "attr"]
KINDS = ["pointwise", "view", "strided", "dense"]
# A family is a file name in ops/, cpu/ and tests/conformance/reference/; the layering check looks for the files.
FAMILY = re.compile(r"[a-z][a-z0-9_]*")
ATTR_KINDS = ["int", "bool", "float", "ints", "floats", "string", "dtype"]
GRADIENTS = ["yes", "no", "zero"]
# What an autocast exec does to an op's floating inputs; a row without the key keeps them.
AUTOCASTS = ["low", "high"]
# Domains of random inputs: those without a parameter, those with one, and the dtypes that cannot do without.
PLAIN_DOMAINS = ["real", "positive", "nonzero", "distinct", "unit", "inner", "above_one", "cond", "key", "step"]
BOUND_DOMAINS = ["labels", "ids", "lse"]
NEEDS_DOMAIN = {"bool": ["cond"], "key": ["key"], "i64": ["step", "ids"], "index": ["labels", "ids"], "integer": ["step"]}

# What a family is for: each part has its files among the generated ones.
PARTS = {
    "array": ["create", "random", "view", "join", "reduce", "unary", "softplus", "binary", "elementary", "mod", "index",
              "scan", "order", "triangle"],
    "network": ["matmul", "softmax", "loss", "norm", "channel_norm", "embedding", "activation", "conv", "attention", "pool",
                "recurrent", "resize", "rotary"],
    "update": ["optim", "update"],
}
PART_OF = {family: part for part, families in PARTS.items() for family in families}

REQUIRED = ["name", "number", "version", "family", "kind", "inputs", "dtypes", "outputs", "result", "gradient",
            "reference", "samples", "tolerance", "doc"]
OPTIONAL = ["attrs", "inplace", "random", "domain", "smooth", "autocast", "least"]
MAX_RANK, MAX_INPUTS, MAX_OUTPUTS, MAX_ATTRS = 8, 64, 8, 16
FIRST_CUSTOM = 1 << 20
NUMBER_SPAN = 512  # kBuiltinOps of impl/trace/op_stats.h

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*\Z")
# Names that a generated parameter may not have: words of C and C++, and what the generated bodies call their own.
RESERVED = set("""alignas alignof and asm auto bitand bitor bool break case catch char class compl concept const constexpr
continue decltype default delete do double else enum explicit export extern false float for friend goto if inline int long
mutable namespace new noexcept not nullptr operator or private protected public register requires restrict return short
signed sizeof static struct switch template this throw true try typedef typeid typename union unsigned using virtual void
volatile while xor exec err out in attrs raw result mill""".split())


class TableError(Exception):
    """One sentence about one key of one row."""


@dataclass
class Input:
    name: str
    optional: bool
    list: bool
    dtypes: str          # as the row says it
    lead: int            # for "same": the input it follows

    @property
    def same(self):
        return self.dtypes == "same"


@dataclass
class Attr:
    name: str
    kind: str
    required: bool
    default: object      # int, float, list, str (string, dtype name) or None


@dataclass
class Output:
    name: str
    type: str


@dataclass
class Sample:
    dims: list           # one list of ints for each input; None = absent
    attrs: dict          # name -> value
    text: str


@dataclass
class Op:
    name: str
    number: int
    version: int
    family: str
    kind: str
    inputs: list
    attrs: list
    outputs: list
    inplace: list
    gradient: str
    random: bool
    reference: str
    samples: list
    domains: list        # (name, parameter or None) for each input
    tolerance: float
    smooth: bool
    autocast: str        # "keep", "low" or "high"
    doc: str
    enum: str = field(init=False)

    def __post_init__(self):
        self.enum = "MILL_OP_" + self.name.upper()

    def input_dtypes(self, k):
        one = self.inputs[k]
        return INPUT_DTYPES[self.inputs[one.lead].dtypes if one.same else one.dtypes]

    @property
    def list_input(self):
        return bool(self.inputs) and self.inputs[0].list


class _Row:
    def __init__(self, raw, position):
        self.raw = raw
        name = raw.get("name") if isinstance(raw, dict) else None
        self.label = f"op '{name}'" if isinstance(name, str) and name else f"row {position}"

    def fail(self, key, text):
        raise TableError(f"{self.label}, key '{key}': {text}.")

    def take(self, key, kind, what):
        value = self.raw[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(key, f"must be {what}, not {value!r}")
        return value

    def texts(self, key):
        values = self.take(key, list, "a list of strings")
        for value in values:
            if not isinstance(value, str):
                self.fail(key, f"must be a list of strings, but holds {value!r}")
        return values

    def choice(self, key, value, allowed):
        if value not in allowed:
            self.fail(key, f"'{value}' is not one of {', '.join(allowed)}")
        return value

    def identifier(self, key, value):
        if not IDENTIFIER.match(value) or value in RESERVED:
            self.fail(key, f"'{value}' cannot be the name of a parameter")
        return value


def _number(row, key, text):
    try:
        value = float(text)
    except ValueError:
        row.fail(key, f"'{text}' is not a number")
    if not math.isfinite(value):
        row.fail(key, f"'{text}' is not finite")
    return value


def _integer(row, key, text):
    if not re.fullmatch(r"[+-]?\d+", text):
        row.fail(key, f"'{text}' is not an integer")
    value = int(text)
    if not -(1 << 63) <= value < 1 << 63:
        row.fail(key, f"'{text}' does not fit 64 bits")
    return value


def _items(row, key, text):
    if not (text.startswith("[") and text.endswith("]")):
        row.fail(key, f"'{text}' is not a list like [1,2]")
    inside = text[1:-1]
    return inside.split(",") if inside else []


def attr_value(row, key, kind, text):
    if kind == "int":
        return _integer(row, key, text)
    if kind == "bool":
        if text not in ("0", "1", "true", "false"):
            row.fail(key, f"'{text}' is not 0, 1, true or false")
        return int(text in ("1", "true"))
    if kind == "float":
        return _number(row, key, text)
    if kind == "ints":
        return [_integer(row, key, item) for item in _items(row, key, text)]
    if kind == "floats":
        return [_number(row, key, item) for item in _items(row, key, text)]
    if kind == "dtype":
        if text not in STORED:
            row.fail(key, f"'{text}' is not a dtype")
        return text
    if not re.fullmatch(r"[\w.+-]*", text):
        row.fail(key, f"'{text}' is not a plain string")
    return text


def _inputs(row):
    names, dtypes = row.texts("inputs"), row.texts("dtypes")
    if len(dtypes) != len(names):
        row.fail("dtypes", f"has {len(dtypes)} entries for {len(names)} inputs")
    if len(names) > MAX_INPUTS:
        row.fail("inputs", f"has {len(names)} entries, more than {MAX_INPUTS}")
    lead = next((k for k, d in enumerate(dtypes) if d != "bool"), 0)
    inputs = []
    for k, (text, dtype) in enumerate(zip(names, dtypes)):
        name = row.identifier("inputs", text.rstrip("?*"))
        suffix = text[len(name):]
        if suffix not in ("", "?", "*"):
            row.fail("inputs", f"'{text}' must end in nothing, one '?' or one '*'")
        if suffix == "*" and len(names) > 1:
            row.fail("inputs", f"the list '{text}' must be the only input")
        row.choice("dtypes", dtype, list(INPUT_DTYPES) + ["same"])
        if dtype == "same" and k <= lead:
            row.fail("dtypes", f"'{name}' is the same as no input before it")
        inputs.append(Input(name, suffix == "?", suffix == "*", dtype, lead))
    return inputs


def _attrs(row):
    attrs = []
    for text in row.texts("attrs") if "attrs" in row.raw else []:
        match = re.fullmatch(r"([^:=]+):([a-z]+)(=(.*))?", text)
        if not match:
            row.fail("attrs", f"'{text}' is not name:kind or name:kind=default")
        name = row.identifier("attrs", match[1])
        kind = row.choice("attrs", match[2], ATTR_KINDS)
        default = attr_value(row, "attrs", kind, match[4]) if match[3] else None
        attrs.append(Attr(name, kind, default is None, default))
    if len(attrs) > MAX_ATTRS:
        row.fail("attrs", f"has {len(attrs)} entries, more than {MAX_ATTRS}")
    return attrs


def _outputs(row, inputs, attrs):
    names, types = row.texts("outputs"), row.texts("result")
    if not names:
        row.fail("outputs", "is empty")
    if len(names) > MAX_OUTPUTS:
        row.fail("outputs", f"has {len(names)} entries, more than {MAX_OUTPUTS}")
    if len(types) != len(names):
        row.fail("result", f"has {len(types)} entries for {len(names)} outputs")
    for name, kind in zip(names, types):
        if name != "out":
            row.identifier("outputs", name)
        row.choice("result", kind, RESULTS)
        if kind in ("same", "stat") and not inputs or kind == "second" and len(inputs) < 2:
            row.fail("result", f"'{kind}' of '{name}' needs an input that the op does not have")
        if kind == "attr" and sum(a.kind == "dtype" for a in attrs) != 1:
            row.fail("result", f"'attr' of '{name}' needs exactly one attribute of kind dtype")
    return [Output(*pair) for pair in zip(names, types)]


def _parameters_differ(row, inputs, attrs, outputs):
    seen = {}
    parameters = [("inputs", i.name) for i in inputs] + [("attrs", a.name) for a in attrs]
    parameters += [("inputs", "n_" + i.name) for i in inputs if i.list]
    parameters += [("attrs", "n_" + a.name) for a in attrs if a.kind in ("ints", "floats")]
    parameters += [("outputs", out_name(outputs, k)) for k in range(len(outputs))]
    for key, name in parameters:
        if name in seen:
            row.fail(key, f"'{name}' is already the name of one of the {seen[name]}")
        seen[name] = key


def out_name(outputs, k):
    """The parameter of the flat function for output k."""
    name = outputs[k].name
    return "out" if len(outputs) == 1 or name == "out" else "out_" + name


def _inplace(row, inputs, outputs):
    pairs = row.take("inplace", list, "a list of [output, input]") if "inplace" in row.raw else []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(v) is int for v in pair):
            row.fail("inplace", f"{pair!r} is not a pair [output, input]")
        if not 0 <= pair[0] < len(outputs):
            row.fail("inplace", f"{pair!r} names output {pair[0]} of {len(outputs)}")
        if not 0 <= pair[1] < len(inputs):
            row.fail("inplace", f"{pair!r} names input {pair[1]} of {len(inputs)}")
        if pairs.count(pair) > 1:
            row.fail("inplace", f"{pair!r} appears twice")
    return pairs


def _domains(row, inputs, attrs):
    texts = row.texts("domain") if "domain" in row.raw else ["real"] * len(inputs)
    if len(texts) != len(inputs):
        row.fail("domain", f"has {len(texts)} entries for {len(inputs)} inputs")
    domains = []
    for one, text in zip(inputs, texts):
        name, colon, parameter = text.partition(":")
        row.choice("domain", name, PLAIN_DOMAINS + BOUND_DOMAINS)
        if bool(colon) != (name in BOUND_DOMAINS):
            row.fail("domain", f"'{text}' of '{one.name}' must {'not ' if colon else ''}have a parameter")
        source = re.fullmatch(r"(\d+)(\.\d)?", parameter)
        if colon and source:
            if int(source[1]) >= len(inputs):
                row.fail("domain", f"'{text}' names input {source[1]} of {len(inputs)}")
        elif colon and not (name == "labels" and parameter == "last") and \
                not (name == "ids" and any(a.name == parameter and a.kind == "int" for a in attrs)):
            row.fail("domain", f"'{text}' of '{one.name}' names neither an input nor an attribute")
        fits = NEEDS_DOMAIN.get(one.dtypes)
        if fits and name not in fits:
            row.fail("domain", f"'{text}' does not suit the {one.dtypes} input '{one.name}', which takes {' or '.join(fits)}")
        domains.append((name, parameter or None))
    return domains


def _sample(row, text, inputs, attrs):
    shapes, _, settings = text.partition("|")
    dims = []
    for word in shapes.split():
        if word == "-":
            dims.append(None)
            continue
        if not re.fullmatch(r"\[(\d+(,\d+)*)?\]", word):
            row.fail("samples", f"'{word}' in \"{text}\" is neither dims like [2,3] nor '-'")
        values = [int(v) for v in word[1:-1].split(",") if v]
        if len(values) > MAX_RANK:
            row.fail("samples", f"'{word}' in \"{text}\" has more than {MAX_RANK} dims")
        dims.append(values)
    if inputs and inputs[0].list:
        if not 1 <= len(dims) <= MAX_INPUTS:
            row.fail("samples", f"\"{text}\" has dims for {len(dims)} inputs of a list of 1 to {MAX_INPUTS}")
    elif len(dims) != len(inputs):
        row.fail("samples", f"\"{text}\" has dims for {len(dims)} inputs, the op has {len(inputs)}")
    for k, value in enumerate(dims):
        if value is None and not inputs[min(k, len(inputs) - 1)].optional:
            row.fail("samples", f"\"{text}\" leaves out input {k}, which is required")
    known = {a.name: a for a in attrs}
    values = {}
    for word in settings.split():
        name, equals, value = word.partition("=")
        if not equals:
            row.fail("samples", f"'{word}' in \"{text}\" is not attribute=value")
        if name not in known:
            row.fail("samples", f"\"{text}\" sets '{name}', which is no attribute of the op")
        if name in values:
            row.fail("samples", f"\"{text}\" sets '{name}' twice")
        values[name] = attr_value(row, "samples", known[name].kind, value)
    for attr in attrs:
        if attr.required and attr.name not in values:
            row.fail("samples", f"\"{text}\" does not set the required attribute '{attr.name}'")
    return Sample(dims, values, text)


def _bounds_resolve(row, domains, samples, inputs):
    """A domain that is bounded by another input needs that input, with enough axes, in every sample."""
    for sample in samples:
        for k, (name, parameter) in enumerate(domains):
            if name not in BOUND_DOMAINS or sample.dims[k] is None:
                continue
            if parameter.isdigit() or parameter == "last":
                source = sample.dims[0 if parameter == "last" else int(parameter)]
                if not source:
                    row.fail("samples", f"\"{sample.text}\" has no axis that bounds the values of '{inputs[k].name}'")


def _gradient_edges(row, samples, inputs):
    """The edges of a gradient: no element to differentiate by, and one alone."""
    def counts(sample):
        by = [inputs[min(k, len(inputs) - 1)] for k in range(len(sample.dims))]
        kinds = [inputs[one.lead].dtypes if one.same else one.dtypes for one in by]
        return [math.prod(dims) for kind, dims in zip(kinds, sample.dims) if dims is not None and "f64" in INPUT_DTYPES[kind]]

    if not any(0 in counts(sample) for sample in samples):
        row.fail("samples", "with gradient \"yes\", one must have a floating-point input without elements, like [0,3]")
    # Some shapes are multiples of others, so that no sample has one element everywhere.
    least = row.take("least", int, "an integer") if "least" in row.raw else 1
    if not any(counts(sample) and 1 <= min(counts(sample)) and max(counts(sample)) <= least for sample in samples):
        row.fail("samples", "with gradient \"yes\", one must have " + ("one element" if least == 1 else f"1 to {least} elements") +
                 " in every floating-point input, like [1]")


def _op(raw, position):
    row = _Row(raw, position)
    for key in raw:
        if key not in REQUIRED and key not in OPTIONAL:
            row.fail(key, "is not a key of a row")
    for key in REQUIRED:
        if key not in raw:
            row.fail(key, "is missing")
    name = row.take("name", str, "a string")
    if not IDENTIFIER.match(name) or name == "custom":
        row.fail("name", f"'{name}' cannot be the name of an op")
    number = row.take("number", int, "an integer")
    if not 1 <= number < NUMBER_SPAN:
        row.fail("number", f"{number} is not between 1 and {NUMBER_SPAN - 1}")
    version = row.take("version", int, "an integer")
    if version < 1:
        row.fail("version", f"{version} is not positive")
    family = raw["family"]
    if not isinstance(family, str) or not FAMILY.fullmatch(family):
        row.fail("family", f"is {family!r}, it must be a file name of lower-case letters, digits and _")
    if family not in PART_OF:
        row.fail("family", f"is {family!r}, which PARTS of gen_table.py gives to none of {', '.join(PARTS)}")
    kind = row.choice("kind", raw["kind"], KINDS)
    gradient = row.choice("gradient", raw["gradient"], GRADIENTS)
    inputs = _inputs(row)
    attrs = _attrs(row)
    outputs = _outputs(row, inputs, attrs)
    _parameters_differ(row, inputs, attrs, outputs)
    inplace = _inplace(row, inputs, outputs)
    if kind in ("pointwise", "view") and (not inputs or len(outputs) != 1):
        row.fail("kind", f"a {kind} op has inputs and one output")
    for key in ("random", "smooth"):
        if key in raw:
            row.take(key, bool, "true or false")
    random = raw.get("random", False)
    if random and not any(i.dtypes == "key" and i.optional for i in inputs):
        row.fail("random", "a random op has an optional input of dtype key")
    doc = row.take("doc", str, "a string")
    if not doc.strip() or "\n" in doc:
        row.fail("doc", "must be one line of text")
    if "*/" in doc or "??" in doc or not doc.isascii():
        row.fail("doc", "must be ASCII that can stand in a C comment")
    reference = row.take("reference", str, "a string")
    if not IDENTIFIER.match(reference):
        row.fail("reference", f"'{reference}' cannot be the name of a function")
    tolerance = raw["tolerance"]
    if type(tolerance) not in (int, float) or not 0 < tolerance < 1000:
        row.fail("tolerance", f"must be a positive factor, not {tolerance!r}")
    domains = _domains(row, inputs, attrs)
    samples = [_sample(row, text, inputs, attrs) for text in row.texts("samples")]
    if not samples:
        row.fail("samples", "is empty")
    _bounds_resolve(row, domains, samples, inputs)
    if gradient == "yes":
        _gradient_edges(row, samples, inputs)
    smooth = raw.get("smooth", False)
    if smooth and gradient != "yes":
        row.fail("smooth", f"needs gradient \"yes\", not \"{gradient}\"")
    autocast = row.choice("autocast", row.take("autocast", str, "a string"), AUTOCASTS) if "autocast" in raw else "keep"
    if autocast != "keep" and not any(FLOATING & set(INPUT_DTYPES[i.dtypes]) for i in inputs if not i.same):
        row.fail("autocast", "the op has no floating-point input")
    return Op(name, number, version, family, kind, inputs, attrs, outputs, inplace, gradient, random, reference, samples,
              domains, float(tolerance), smooth, autocast, doc.strip())


def load(path):
    """The rows of the table at `path`, sorted by number."""
    try:
        with open(path, "rb") as stream:
            document = tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{path.name}: {error}.") from None
    for key in document:
        if key != "op":
            raise TableError(f"{path.name}: '{key}' is not [[op]].")
    rows = document.get("op", [])
    if not isinstance(rows, list) or not rows:
        raise TableError(f"{path.name}: the table has no op.")
    ops = []
    numbers, names = {}, {}
    for position, raw in enumerate(rows, 1):
        op = _op(raw, position)
        if op.number in numbers:
            raise TableError(f"op '{op.name}', key 'number': {op.number} is already the number of '{numbers[op.number]}'.")
        if op.name in names:
            raise TableError(f"op '{op.name}', key 'name': another row has it, number {names[op.name]}.")
        numbers[op.number], names[op.name] = op.name, op.number
        ops.append(op)
    assert len(ops) == len(rows) == len(numbers) == len(names)
    return sorted(ops, key=lambda op: op.number)
