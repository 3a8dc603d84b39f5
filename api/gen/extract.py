#!/usr/bin/env python3
"""Reads the public headers as a compiler does and writes what follows from them.

    extract.py            writes symbols.txt, millrace.map and the layout and prototype tests; prints what changed
    extract.py --check    changes nothing; names each file that differs and exits 1
    --headers FOLDER      another folder that holds millrace/millrace.h
    --root FOLDER         another tree to write to or compare with

Refuses headers that break a rule of the ABI, each with one sentence. Needs castxml; exit status 77 without it.
"""
import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.dont_write_bytecode = True

from extract_text import layout_golden, layout_program, prototypes_program, symbols_text, version_script

HERE = Path(__file__).resolve().parent
SKIPPED = 77
UMBRELLA = "millrace/millrace.h"
# For those who write devices and profilers; programs do not need them.
BESIDE = ("millrace/plugin.h", "millrace/profiler_plugin.h")
FIXED = {f"{u}int{w}_t" for u in ("", "u") for w in (8, 16, 32, 64)}
# Types of C that say their size, or need none behind a pointer.
PLAIN = {"float", "double"}
POINTEES = {"void", "char"}


class Refused(Exception):
    """The headers could not be read at all."""


class Function:
    def __init__(self, name, returns, arguments, since, owns, blocks):
        self.name, self.returns, self.arguments = name, returns, arguments
        self.since, self.owns, self.blocks = since, owns, blocks


class Struct:
    def __init__(self, name, size, align, fields):
        self.name, self.size, self.align, self.fields = name, size, align, fields


class Headers:
    def __init__(self, folder):
        self.folder = folder.resolve()
        self.complaints = []
        self.nodes = {}
        self.functions, self.structs, self.constants = [], [], []

    def complain(self, text):
        self.complaints.append(text + ".")

    # ---- reading --------------------------------------------------------------------------------------------------

    def read(self):
        texts = {p: without_comments(p.read_text(encoding="utf-8")) for p in sorted(self.folder.glob("millrace/*.h"))}
        if not (self.folder / UMBRELLA).is_file():
            raise Refused(f"{UMBRELLA} does not exist.")
        root = self.castxml()
        self.nodes = {node.get("id"): node for node in root if node.get("id")}
        files = {node.get("id"): Path(node.get("name")).resolve() for node in root.iter("File")}
        own = {number for number, path in files.items() if self.folder in path.parents}
        for path in texts:
            if path.name not in ("millrace.h", *(Path(name).name for name in BESIDE)) and f'#include "millrace/{path.name}"' not in texts[self.folder / UMBRELLA]:
                self.complain(f"header '{path.name}' is not included by {UMBRELLA}")
        text = "\n".join(texts.values())
        self.macros(text)
        for node in root:
            if node.get("file") in own:
                self.declaration(node, text)
        for kind, found in (("function", self.functions), ("struct", self.structs), ("constant", self.constants)):
            if not found:
                self.complain(f"the headers declare no {kind}")
        self.functions.sort(key=lambda f: f.name)
        self.structs.sort(key=lambda s: s.name)
        self.constants.sort()

    def castxml(self):
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / "all.c", Path(folder) / "all.xml"
            beside = [name for name in BESIDE if (self.folder / name).is_file()]
            source.write_text("".join(f'#include "{name}"\n' for name in [UMBRELLA, *beside]), encoding="utf-8")
            run = subprocess.run(
                ["castxml", "--castxml-output=1", "-x", "c", "-std=c11", "-I", str(self.folder), "-o", str(out), str(source)],
                text=True, capture_output=True)
            if run.returncode or not out.is_file():
                raise Refused(f"castxml refuses the headers.\n{run.stderr.strip()}")
            return ElementTree.parse(out).getroot()

    def macros(self, text):
        for name, body in re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(.*)$", text, re.MULTILINE):
            if not name.startswith("MILL_"):
                self.complain(f"macro '{name}' does not start with MILL_")
            literal = re.fullmatch(r"\s*(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\s*", body)
            if literal:
                value = int(literal[1], 0)
                self.constants.append((name, value - (1 << 64) if value >> 63 else value))

    def declaration(self, node, text):
        name, tag = node.get("name") or "", node.tag
        if tag == "Function":
            self.function(node, name, text)
        elif tag == "Enumeration":
            self.enumeration(node, name)
        elif tag in ("Struct", "Typedef"):
            if not name.startswith("mill_"):
                self.complain(f"{tag.lower()} '{name}' does not start with mill_")
            elif tag == "Struct" and not node.get("incomplete"):
                self.struct(node, name)
            elif tag == "Typedef":
                self.callback(node, name)
        elif tag == "Union":
            self.complain(f"union '{name}': a public type must be a struct")
        elif tag == "Variable":
            self.complain(f"variable '{name}': only functions are exported")

    # ---- the rules ------------------------------------------------------------------------------------------------

    def function(self, node, name, text):
        where = f"function '{name}'"
        if not name.startswith("mill_"):
            self.complain(f"{where} does not start with mill_")
        if node.get("inline") or node.get("static"):
            self.complain(f"{where} is inline or static, but the headers only declare")
            return
        notes = (node.get("annotation") or "").split("\n")
        since = next((int(n[6:]) for n in notes if re.fullmatch(r"since=\d+", n)), None)
        if since is None:
            self.complain(f"{where} lacks MILL_SINCE")
        if not re.search(r"\bMILL_API\b[^;{}]*\b" + re.escape(name) + r"\s*\(", text):
            self.complain(f"{where} lacks MILL_API")
        if re.search(r"\b" + re.escape(name) + r"\s*\(\s*\)", text):
            self.complain(f"{where} has an empty argument list; write (void)")
        arguments = self.signature(where, node)
        owns = "owns" in notes
        if not owns and any(self.is_handle_output(a.get("type")) for a in node.findall("Argument")):
            self.complain(f"{where} gives out a handle, but lacks MILL_OWNS")
        self.functions.append(Function(name, node.get("returns"), arguments, since or 0, owns, "blocks" in notes))

    def signature(self, where, node):
        """Checks a function or function type; the ids of its argument types."""
        if node.find("Ellipsis") is not None:
            self.complain(f"{where} is variadic")
        returns = node.get("returns")
        if self.function_type(returns) is not None:
            self.complain(f"{where} returns a function pointer")
        elif self.strip(returns).get("name") != "void" or self.strip(returns).tag != "FundamentalType":
            self.type(f"{where}, result", returns)
        for k, argument in enumerate(node.findall("Argument")):
            label = argument.get("name")
            self.type(f"{where}, argument " + (f"'{label}'" if label else str(k)), argument.get("type"))
        return [a.get("type") for a in node.findall("Argument")]

    def callback(self, node, name):
        kind = self.function_type(node.get("type"))
        if kind is not None:
            self.signature(f"callback '{name}'", kind)

    def enumeration(self, node, name):
        if not name:
            first = next((v.get("name") for v in node.findall("EnumValue")), "?")
            self.complain(f"the enum of '{first}' has no name")
        elif not name.startswith("mill_"):
            self.complain(f"enum '{name}' does not start with mill_")
        for value in node.findall("EnumValue"):
            number = int(value.get("init"))
            if not value.get("name").startswith("MILL_"):
                self.complain(f"enum constant '{value.get('name')}' does not start with MILL_")
            if not -(1 << 31) <= number < 1 << 31:
                self.complain(f"enum constant '{value.get('name')}' does not fit int32_t")
            self.constants.append((value.get("name"), number))

    def struct(self, node, name):
        fields = []
        for number in (node.get("members") or "").split():
            field = self.nodes[number]
            if field.tag != "Field":
                continue
            where = f"struct '{name}', field '{field.get('name')}'"
            if not field.get("name"):
                self.complain(f"struct '{name}' has a field without a name")
                continue
            if field.get("bits"):
                self.complain(f"{where} is a bit field")
                continue
            self.type(where, field.get("type"), in_struct=True)
            fields.append((field.get("name"), int(field.get("offset")) // 8, self.size(field.get("type"))))
        self.structs.append(Struct(name, int(node.get("size")) // 8, int(node.get("align")) // 8, fields))

    def type(self, where, number, pointee=False, in_struct=False):
        """Complains unless the type is one that every language can name and every compiler lays out alike."""
        node = self.nodes[number]
        tag, name = node.tag, node.get("name")
        if tag == "CvQualifiedType":
            if node.get("volatile") or node.get("restrict"):
                self.complain(f"{where}: volatile and restrict have no place in the ABI")
            self.type(where, node.get("type"), pointee, in_struct)
        elif tag == "PointerType":
            kind = self.function_type(number)
            if kind is None:
                self.type(where, node.get("type"), pointee=True)
            else:
                self.signature(where, kind)
        elif tag == "ArrayType" and in_struct:
            self.type(where, node.get("type"), in_struct=True)
        elif tag == "Typedef":
            if name in FIXED:
                return
            if not name.startswith("mill_"):
                self.complain(f"{where}: '{name}' is not a fixed-width type")
            elif self.function_type(number) is None:
                self.type(where, node.get("type"), pointee, in_struct)
        elif tag == "ElaboratedType":
            self.type(where, node.get("type"), pointee, in_struct)
        elif tag == "Enumeration":
            self.complain(f"{where}: enum '{name}' has no fixed width; use int32_t")
        elif tag == "Struct":
            if not pointee and not in_struct:
                self.complain(f"{where}: struct '{name}' is passed by value")
        elif tag == "FundamentalType":
            if name not in PLAIN and not (pointee and name in POINTEES) and not (in_struct and name == "char"):
                self.complain(f"{where}: '{name}' is not a fixed-width type")
        else:
            kind = node.get("type_class") or tag
            self.complain(f"{where}: a type of class {kind} does not exist in every language")

    # ---- types ----------------------------------------------------------------------------------------------------

    def strip(self, number):
        """The node behind typedefs, elaborations and const; a fixed-width typedef is an end."""
        node = self.nodes[number]
        while node.tag in ("Typedef", "ElaboratedType", "CvQualifiedType") and \
                not (node.tag == "Typedef" and node.get("name") in FIXED):
            node = self.nodes[node.get("type")]
        return node

    def function_type(self, number):
        node = self.strip(number)
        inner = self.strip(node.get("type")) if node.tag == "PointerType" else node
        return inner if inner.tag == "FunctionType" else None

    def is_handle_output(self, number):
        """A pointer to a handle that may be written: mill_tensor**, not mill_tensor* const*."""
        outer = self.strip(number)
        if outer.tag != "PointerType":
            return False
        middle = self.nodes[outer.get("type")]
        if middle.tag != "PointerType":
            return False
        handle = self.strip(middle.get("type"))
        return handle.tag == "Struct" and handle.get("incomplete") is not None and \
            self.nodes[middle.get("type")].tag != "CvQualifiedType"

    def size(self, number):
        node = self.strip(number)
        if node.tag == "Typedef":
            return int(re.search(r"\d+", node.get("name"))[0]) // 8
        if node.tag == "ArrayType":
            return (int(node.get("max")) + 1) * self.size(node.get("type"))
        return int(node.get("size")) // 8 if node.get("size") else 0

    def text(self, number, inner=""):
        """The type in C around a declarator, with Millrace's own names for scalars and callbacks resolved."""
        node = self.nodes[number]
        tag, name = node.tag, node.get("name")
        if tag == "CvQualifiedType":
            base = self.strip(node.get("type"))
            if base.tag == "PointerType":
                return self.text(base.get("id"), "const " + inner if inner else "const")
            return "const " + self.text(node.get("type"), inner)
        if tag == "PointerType":
            if self.function_type(number) is not None:
                return self.text(self.strip(node.get("type")).get("id"), f"(*{inner})")
            return self.text(node.get("type"), "*" + inner)
        if tag == "ElaboratedType" or tag == "Typedef" and name not in FIXED:
            return self.text(node.get("type"), inner)
        if tag == "FunctionType":
            arguments = ", ".join(self.text(a.get("type")) for a in node.findall("Argument")) or "void"
            return self.text(node.get("returns"), f"{inner}({arguments})")
        word = f"struct {name}" if tag == "Struct" else name
        return f"{word} {inner}" if inner and inner[0] not in "*" else word + inner


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL).replace("\\\n", " ")


def outputs(headers):
    version = dict(headers.constants)
    node = f"MILLRACE_{version.get('MILL_VERSION_MAJOR', 0)}.{version.get('MILL_VERSION_MINOR', 0)}"
    return {
        "api/gen/symbols.txt": symbols_text(headers),
        "api/gen/millrace.map": version_script(headers, node),
        "tests/abi/layout.golden": layout_golden(headers),
        "tests/abi/layout.gen.c": layout_program(headers),
        "tests/abi/prototypes.gen.c": prototypes_program(headers),
    }


def run(headers_folder, root, check):
    """Exit status: 0 as it should be, 1 not, 77 castxml is missing."""
    if shutil.which("castxml") is None:
        print("extract: skipped: needs castxml (package castxml)")
        return SKIPPED
    headers = Headers(headers_folder)
    try:
        headers.read()
    except Refused as error:
        print(f"extract: {error}", file=sys.stderr)
        return 1
    for text in headers.complaints:
        print(f"extract: {text}", file=sys.stderr)
    if headers.complaints:
        return 1
    changed = 0
    texts = outputs(headers)
    for path, text in texts.items():
        target = root / path
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        changed += 1
        if check:
            print(f"extract: {path} differs from what the headers give; run python3 api/gen/extract.py")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            print(f"extract: wrote {path}")
    print(f"extract: {len(headers.functions)} functions, {len(headers.structs)} structs, {len(headers.constants)} constants; "
          f"{changed} of {len(texts)} files {'differ' if check else 'changed'}")
    return 1 if check and changed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--headers", type=Path, default=None)
    parser.add_argument("--root", type=Path, default=HERE.parent.parent)
    options = parser.parse_args()
    return run(options.headers or options.root / "api/include", options.root, options.check)


if __name__ == "__main__":
    sys.exit(main())
