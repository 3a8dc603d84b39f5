"""Breaks copies of the op table and of the headers, one rule at a time: the generators must refuse each by name.

    gen_test.py [ROOT]      ROOT: the source tree, by default the one this file lies in

Prints "N passed, N failed, N skipped" last; exit status 1 if one failed. The headers' half needs castxml.
"""
import contextlib
import io
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent.parent).resolve()
sys.path.insert(0, str(ROOT / "api/gen"))
import extract as EXTRACT  # noqa: E402
import gen as GEN  # noqa: E402

counts = {"passed": 0, "failed": 0, "skipped": 0}


def report(name, problem):
    counts["failed" if problem else "passed"] += 1
    if problem:
        print(f"gen_test: {name}: {problem}")


def call(program, *arguments):
    """As from a command line, and in this process: an interpreter for each of hundreds of calls takes minutes."""
    before, text = sys.argv, io.StringIO()
    sys.argv = [program.__file__, *map(str, arguments)]
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            status = program.main()
        except SystemExit as stopped:
            status = stopped.code
        except Exception:
            status = 1
            traceback.print_exc()
    sys.argv = before
    return status, text.getvalue()


def refused(name, arguments, *words):
    judge(name, *call(*arguments), words)


def judge(name, status, text, words):
    """A refusal exits with 1 and a line that holds all the words, and without a traceback."""
    if status != 1:
        return report(name, f"accepted (exit status {status})")
    if "Traceback" in text:
        return report(name, f"crashed:\n{text}")
    lines = [line for line in text.splitlines() if all(word in line for word in words)]
    if not lines:
        return report(name, f"no line names {words}:\n{text}")
    report(name, None if lines[0].rstrip().endswith((".", "gen.py", "extract.py")) else f"not a sentence: {lines[0]}")


# ---- the op table ---------------------------------------------------------------------------------------------------

TABLE = (ROOT / "api/gen/ops.toml").read_text(encoding="utf-8")


def edited(op, key, line):
    """The table with one key of one row replaced, added, or (line None) removed."""
    blocks = re.split(r"(?m)^(?=\[\[op\]\])", TABLE)
    found = [k for k, b in enumerate(blocks) if re.search(rf'(?m)^name = "{op}"$', b)]
    assert len(found) == 1, op
    block = blocks[found[0]]
    pattern = rf"(?m)^{key} = .*\n"
    if re.search(pattern, block):
        block = re.sub(pattern, lambda _: line + "\n" if line else "", block, count=1)
    else:
        assert line, f"{op} has no {key}"
        block = block.replace("[[op]]\n", f"[[op]]\n{line}\n", 1)
    blocks[found[0]] = block
    text = "".join(blocks)
    assert text != TABLE, (op, key)
    return text


# (op, key, the line in its place or None, words that the sentence must hold)
REJECTED = [
    *[("softmax", key, None, ("missing",)) for key in
      ("number", "version", "family", "kind", "inputs", "dtypes", "outputs", "result", "gradient", "reference", "samples",
       "tolerance", "doc")],
    ("softmax", "number", "number = 1048576", ("1048576",)),
    ("softmax", "number", "number = true", ("True",)),
    ("softmax", "version", "version = 0", ("0",)),
    ("softmax", "kind", 'kind = "sideways"', ("sideways", "pointwise")),
    ("softmax", "family", 'family = "Fruit salad"', ("Fruit salad", "lower-case")),
    ("softmax", "gradient", 'gradient = "maybe"', ("maybe",)),
    ("softmax", "colour", 'colour = "red"', ("not a key",)),
    ("softmax", "autocast", 'autocast = "medium"', ("medium", "low", "high")),
    ("softmax", "autocast", "autocast = true", ("True",)),
    ("increment", "autocast", 'autocast = "high"', ("floating-point",)),
    ("softmax", "dtypes", 'dtypes = ["f31"]', ("f31",)),
    ("softmax", "dtypes", 'dtypes = ["float", "float"]', ("2 entries for 1",)),
    ("softmax", "dtypes", 'dtypes = ["same"]', ("same as no input",)),
    ("softmax", "dtypes", 'dtypes = ["index"]', ("domain", "index")),
    ("softmax", "result", 'result = ["bigger"]', ("bigger",)),
    ("softmax", "result", 'result = ["second"]', ("second",)),
    ("softmax", "result", 'result = ["attr"]', ("dtype",)),
    ("softmax", "result", "result = []", ("0 entries for 1",)),
    ("softmax", "outputs", "outputs = []", ("empty",)),
    ("softmax", "outputs", 'outputs = ["While"]', ("While",)),
    ("softmax", "inputs", 'inputs = ["x", "x"]', ("dtypes",)),
    ("softmax", "inputs", 'inputs = ["axis"]', ("attrs", "axis")),
    ("softmax", "inputs", 'inputs = ["class"]', ("class",)),
    ("softmax", "inputs", 'inputs = ["x?*"]', ("x?*",)),
    ("softmax", "attrs", 'attrs = ["axis:integer=-1"]', ("integer",)),
    ("softmax", "attrs", 'attrs = ["axis"]', ("name:kind",)),
    ("softmax", "attrs", 'attrs = ["axis:int=last"]', ("last",)),
    ("softmax", "attrs", 'attrs = ["axis:int=99999999999999999999"]', ("64 bits",)),
    ("softmax", "attrs", 'attrs = ["axis:int=-1", "axis:float=0"]', ("already",)),
    ("softmax", "inplace", "inplace = [[0, 1]]", ("input 1 of 1",)),
    ("softmax", "inplace", "inplace = [[1, 0]]", ("output 1 of 1",)),
    ("softmax", "inplace", "inplace = [[-1, 0]]", ("output -1",)),
    ("softmax", "inplace", "inplace = [[0]]", ("pair",)),
    ("softmax", "inplace", "inplace = [[0, 0], [0, 0]]", ("twice",)),
    ("softmax", "samples", "samples = []", ("empty",)),
    ("softmax", "samples", 'samples = ["[2,3] [3]"]', ("2 inputs", "has 1")),
    ("softmax", "samples", 'samples = [""]', ("0 inputs",)),
    ("softmax", "samples", 'samples = ["-"]', ("required",)),
    ("softmax", "samples", 'samples = ["[2,-3]"]', ("[2,-3]",)),
    ("softmax", "samples", 'samples = ["2,3"]', ("neither dims",)),
    ("softmax", "samples", 'samples = ["[1,1,1,1,1,1,1,1,1]"]', ("more than 8",)),
    ("softmax", "samples", 'samples = ["[2] | axes=1"]', ("axes", "no attribute")),
    ("softmax", "samples", 'samples = ["[2] | axis"]', ("attribute=value",)),
    ("softmax", "samples", 'samples = ["[2] | axis=0 axis=0"]', ("twice",)),
    ("softmax", "samples", 'samples = ["[2] | axis=0.5"]', ("0.5",)),
    ("softmax", "samples", "samples = [3]", ("strings",)),
    ("softmax", "samples", 'samples = ["[2,3]", "[1]"]', ("without elements",)),
    ("softmax", "samples", 'samples = ["[2,3]", "[0,3]"]', ("one element",)),
    # Only the inputs count that gradients flow to: neither ids nor a condition.
    ("embedding", "samples", 'samples = ["[7,3] [0]", "[1,1] [1]"]', ("without elements",)),
    ("where", "samples", 'samples = ["[0,3] [3] [3]", "[1] [1] [1]"]', ("without elements",)),
    # Every input that they flow to: [1] beside [3] is not one element.
    ("add", "samples", 'samples = ["[0,3] [3]", "[1] [3]"]', ("one element",)),
    ("layer_norm", "samples", 'samples = ["[0,5] [5] [5]", "[1,2] - -"]', ("one element",)),
    ("compare", "samples", 'samples = ["[2] [2]"]', ("required", "relation")),
    ("cross_entropy", "samples", 'samples = ["[] []"]', ("labels",)),
    ("fill", "samples", 'samples = ["| dims=2"]', ("list",)),
    ("fill", "samples", 'samples = ["| dims=[2] dtype=f33"]', ("f33",)),
    ("fill", "samples", 'samples = ["| dims=[2] value=nan"]', ("finite",)),
    ("concat", "samples", 'samples = ["| axis=0"]', ("list of 1",)),
    ("concat", "inputs", 'inputs = ["xs*", "y"]', ("dtypes",)),
    ("add", "inputs", 'inputs = ["xs*", "b"]', ("only input",)),
    ("softmax", "domain", 'domain = ["imaginary"]', ("imaginary",)),
    ("softmax", "domain", 'domain = ["real", "real"]', ("2 entries for 1",)),
    ("softmax", "domain", 'domain = ["labels"]', ("parameter",)),
    ("softmax", "domain", 'domain = ["labels:7"]', ("input 7 of 1",)),
    ("embedding", "domain", 'domain = ["real", "ids:rows"]', ("ids:rows",)),
    ("where", "domain", 'domain = ["real", "real", "real"]', ("cond",)),
    ("softmax", "tolerance", "tolerance = 0", ("positive",)),
    ("softmax", "tolerance", 'tolerance = "2"', ("positive",)),
    ("softmax", "reference", 'reference = "soft max"', ("soft max",)),
    ("softmax", "doc", 'doc = ""', ("one line",)),
    ("softmax", "doc", 'doc = "ends */ early"', ("comment",)),
    ("softmax", "smooth", "smooth = 1", ("true or false",)),
    ("argmax", "smooth", "smooth = true", ("gradient",)),
    ("normal", "random", 'random = "yes"', ("true or false",)),
    ("softmax", "random", "random = true", ("key",)),
    ("fill", "kind", 'kind = "pointwise"', ("inputs",)),
]


def table_tests(folder):
    table = folder / "ops.toml"

    def load(text):
        table.write_text(text, encoding="utf-8")
        return [GEN, "--ops-only", "--table", table, "--root", folder / "tree"]

    for op, key, line, words in REJECTED:
        name = f"{op}, {line or 'no ' + key}"
        # A complaint about another key is right only where the words name that key.
        named = (f"op '{op}'",) + words if any(w in ("dtypes", "domain", "attrs", "gradient") for w in words) else \
            (f"op '{op}'", f"'{key}'") + words
        refused(name, load(edited(op, key, line)), *named)
    refused("no name", load(edited("softmax", "name", None)), "row ", "'name'", "missing")
    refused("two rows of one number", load(edited("softmax", "number", "number = 121")),
            "op 'log_softmax'", "'number'", "121", "'softmax'")
    refused("two rows of one name", load(edited("softmax", "name", 'name = "log_softmax"')), "'log_softmax'", "'name'")
    refused("a name in capitals", load(edited("softmax", "name", 'name = "Softmax"')), "Softmax", "'name'")
    refused("an empty table", load("# nothing\n"), "no op")
    refused("another table", load(TABLE + "\n[[operator]]\n"), "operator")
    refused("broken TOML", load(TABLE + "\n[[op]\n"), "ops.toml")
    refused("no table", [GEN, "--ops-only", "--table", folder / "absent.toml"], "absent.toml")
    report("nothing is written for a refused table", "something was" if (folder / "tree").exists() else None)

    optional_first = edited("layer_norm", "inputs", 'inputs = ["x?", "weight", "bias?"]')
    optional_first = optional_first.replace('"[2,3,7] - -"', '"[2,3,7] [7] -"')
    status, text = call(*load(optional_first))
    report("an optional input before a required one is allowed", None if status == 0 else text)

    shutil.rmtree(folder / "tree")
    status, text = call(*load(TABLE))
    report("the table is accepted", None if status == 0 else text)
    status, text = call(*load(TABLE), "--check")
    report("--check accepts what was just written", None if status == 0 else text)
    written = sorted(p for p in (folder / "tree").rglob("*") if p.is_file())
    report("all files are written", None if len(written) == 24 else str(written))
    for path in written:
        before = path.read_text(encoding="utf-8")
        path.write_text(before + " ", encoding="utf-8")
        relative = path.relative_to(folder / "tree").as_posix()
        refused(f"an edited {path.name}", load(TABLE) + ["--check"], relative, "differs")
        report(f"--check leaves {path.name} alone", None if path.read_text(encoding="utf-8") != before else "rewritten")
        path.unlink()
        refused(f"no {path.name}", load(TABLE) + ["--check"], relative, "differs")
        path.write_text(before, encoding="utf-8")
    # A value of the table must reach the files: otherwise --check could compare constants.
    call(*load(edited("softmax", "number", "number = 119")))
    numbers = (folder / "tree/api/include/millrace/op_numbers.h").read_text(encoding="utf-8")
    report("a number reaches op_numbers.h", None if "MILL_OP_SOFTMAX = 119" in numbers else "it does not")


# ---- the headers ----------------------------------------------------------------------------------------------------

GOOD = "MILL_API MILL_SINCE(1) "
# (what is added to version.h, words that the sentence must hold)
FORBIDDEN = [
    (GOOD + "void other_name(void);", ("function 'other_name'", "mill_")),
    ("MILL_API void mill_bad(void);", ("'mill_bad'", "MILL_SINCE")),
    ("MILL_SINCE(1) void mill_bad(void);", ("'mill_bad'", "MILL_API")),
    (GOOD + "void mill_bad(int32_t a, ...);", ("'mill_bad'", "variadic")),
    (GOOD + "void mill_bad(mill_attr value);", ("'mill_bad'", "'value'", "'mill_attr'", "by value")),
    (GOOD + "mill_attr mill_bad(void);", ("'mill_bad'", "result", "'mill_attr'", "by value")),
    (GOOD + "void mill_bad(long value);", ("'mill_bad'", "'value'", "long")),
    (GOOD + "void mill_bad(const unsigned long* value);", ("'mill_bad'", "'value'", "long")),
    (GOOD + "long mill_bad(void);", ("'mill_bad'", "result", "long")),
    (GOOD + "void mill_bad(int value);", ("'mill_bad'", "'value'", "'int'")),
    (GOOD + "void mill_bad(size_t value);", ("'mill_bad'", "'value'", "size_t")),
    (GOOD + "void mill_bad(size_t* value);", ("'mill_bad'", "'value'", "size_t")),
    (GOOD + "void mill_bad(_Bool value);", ("'mill_bad'", "'value'", "Bool")),
    (GOOD + "void mill_bad(char value);", ("'mill_bad'", "'value'", "char")),
    (GOOD + "void mill_bad(float _Complex value);", ("'mill_bad'", "'value'", "Complex")),
    (GOOD + "void mill_bad(long double value);", ("'mill_bad'", "'value'", "long double")),
    (GOOD + "void mill_bad(enum mill_limits value);", ("'mill_bad'", "'value'", "'mill_limits'", "enum")),
    (GOOD + "enum mill_limits mill_bad(void);", ("'mill_bad'", "result", "'mill_limits'", "enum")),
    (GOOD + "void (*mill_bad(void))(void);", ("'mill_bad'", "function pointer")),
    ("typedef void (*mill_call_back)(void);\n" + GOOD + "mill_call_back mill_bad(void);", ("'mill_bad'", "function pointer")),
    ("typedef long (*mill_call_back)(void);", ("'mill_call_back'", "long")),
    ("typedef void (*mill_call_back)(void* user, size_t bytes);", ("'mill_call_back'", "size_t")),
    (GOOD + "void mill_bad(void (*back)(int value));", ("'mill_bad'", "'back'", "int")),
    (GOOD + "void mill_bad(volatile int32_t* value);", ("'mill_bad'", "'value'", "volatile")),
    (GOOD + "void mill_bad();", ("'mill_bad'", "(void)")),
    (GOOD + "mill_status mill_bad(mill_tensor** out, mill_error* err);", ("'mill_bad'", "MILL_OWNS")),
    ("static inline int32_t mill_bad(void) { return 1; }", ("'mill_bad'", "inline")),
    ("extern int32_t mill_bad;", ("variable 'mill_bad'",)),
    ("enum { MILL_BAD = 1 };", ("'MILL_BAD'", "no name")),
    ("enum wrong { MILL_BAD = 1 };", ("enum 'wrong'",)),
    ("enum mill_bad { BAD = 1 };", ("'BAD'", "MILL_")),
    ("enum mill_bad { MILL_BAD = 0xffffffff };", ("'MILL_BAD'", "int32_t")),
    ("#define BAD 1", ("macro 'BAD'",)),
    ("#  define bad(x) x", ("macro 'bad'",)),
    ("struct wrong { int32_t a; };", ("struct 'wrong'",)),
    ("typedef int32_t wrong;", ("typedef 'wrong'",)),
    ("union mill_bad { int32_t a; float b; };", ("union 'mill_bad'",)),
    ("struct mill_bad { uint32_t a : 3; };", ("struct 'mill_bad'", "'a'", "bit field")),
    ("struct mill_bad { long a; };", ("struct 'mill_bad'", "'a'", "long")),
    ("struct mill_bad { enum mill_limits a; };", ("struct 'mill_bad'", "'a'", "mill_limits")),
    ("struct mill_bad { size_t a[4]; };", ("struct 'mill_bad'", "'a'", "size_t")),
    ("struct mill_bad { void* (*a)(long); };", ("struct 'mill_bad'", "'a'", "long")),
]
# What looks like the above and is allowed.
ALLOWED = [
    GOOD + "int64_t mill_good(const int64_t* a, uint8_t b, float c, double d, const char* e, void* f, mill_dtype g);",
    GOOD + "MILL_BLOCKS mill_status mill_good(mill_tensor* const* in, const mill_attr* attrs, const char** out_text);",
    GOOD + "MILL_OWNS mill_status mill_good(mill_tensor** out, mill_error* err);",
    "typedef mill_status (*mill_call_back)(void* user, mill_tensor** out);",
    "struct mill_good { char text[16]; mill_attr one; mill_attr many[2]; void* (*make)(void* user); };",
    "/* long mill_comment(size_t); #define BAD 1 */",
    "#define MILL_GOOD 3",
]


def own_names(text, number):
    """The names that one declaration introduces, with its number at their end."""
    return re.sub(r"\b(mill_bad|MILL_BAD|mill_good|MILL_GOOD|mill_call_back|mill_comment|other_name|wrong|bad|BAD)\b",
                  rf"\g<1>_{number}", text)


def header_tests(folder):
    headers = folder / "include"
    target = headers / "millrace/version.h"
    original = (ROOT / "api/include/millrace/version.h").read_text(encoding="utf-8")
    end = original.rindex("#ifdef __cplusplus")
    tree = folder / "extracted"

    def load(declaration):
        shutil.rmtree(headers, ignore_errors=True)
        shutil.copytree(ROOT / "api/include", headers)
        target.write_text(original[:end] + declaration + "\n\n" + original[end:], encoding="utf-8")
        return [EXTRACT, "--headers", headers, "--root", tree]

    status, text = call(*load(""))
    if status == 77:
        counts["skipped"] += len(FORBIDDEN) + 2
        print("gen_test: skipped: the headers' half needs castxml")
        return
    report("the headers are accepted", None if status == 0 else text)
    status, text = call(*load(""), "--check")
    report("--check accepts what was just extracted", None if status == 0 else text)
    written = sorted(p for p in tree.rglob("*") if p.is_file())
    report("five files are extracted", None if len(written) == 5 else str(written))
    # One header with all of them, under names of their own: the compiler that reads it takes a second.
    refused("this is not C", load("this is not C"), "castxml refuses")
    numbered = [(own_names(declaration, k), [own_names(word, k) for word in words])
                for k, (declaration, words) in enumerate(FORBIDDEN)]
    status, text = call(*load("\n".join(declaration for declaration, _ in numbered)))
    for declaration, words in numbered:
        judge(declaration, status, text, words)
    status, text = call(*load("\n".join(own_names(declaration, k) for k, declaration in enumerate(ALLOWED))))
    report("what looks like it and is allowed", None if status == 0 else text)
    call(*load(""))
    addition = GOOD + "void mill_good(void);"
    for name in ("symbols.txt", "millrace.map", "prototypes.gen.c"):
        refused(f"a new function in {name}", load(addition) + ["--check"], name, "differs")
    for name in ("layout.golden", "layout.gen.c"):
        refused(f"a new constant in {name}", load("enum mill_good { MILL_GOOD = 1 };") + ["--check"], name, "differs")
    arguments = load("")
    (headers / "millrace/lonely.h").write_text("/* nothing */\n", encoding="utf-8")
    refused("a header outside the umbrella", arguments, "lonely.h", "not included")
    (headers / "millrace/millrace.h").unlink()
    refused("no umbrella", arguments, "millrace/millrace.h")


def main():
    with tempfile.TemporaryDirectory() as folder:
        table_tests(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        header_tests(Path(folder))
    print(", ".join(f"{number} {what}" for what, number in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
