#!/usr/bin/env python3
"""Writes everything that follows from the op table, then (extract.py) what follows from the public headers.

    gen.py            regenerates; prints the files that changed
    gen.py --check    changes nothing; names each file that differs and exits 1
    --ops-only        leaves out what needs castxml
    --table FILE      another table than ops.toml
    --root FOLDER     another tree to write to or compare with

Without castxml the headers' part is skipped with a word; the op table's part needs only Python.
"""
import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import extract
import gen_cases
import gen_docs
import gen_engine
import gen_header
import gen_table

HERE = Path(__file__).resolve().parent

OUTPUTS = {
    "api/include/millrace/op_numbers.h": gen_header.op_numbers,
    "api/include/millrace/ops.h": gen_header.ops_header,
    "impl/ops/op_table.gen.cpp": gen_engine.op_table,
    "impl/ops/op_operands.gen.h": gen_engine.operands,
    "impl/ops/op_attributes.gen.h": gen_engine.attributes,
    "impl/ops/calls.gen.h": gen_engine.calls,
    "impl/cpu/families.gen.h": gen_engine.families,
    "impl/gpu/families.gen.h": gen_engine.gpu_families,
    "tests/conformance/cases.gen.inc": gen_cases.cases,
    "tests/api/calls_ops.gen.cpp": gen_cases.calls,
    "bindings/millrace_ops.gen.i": gen_docs.swig,
    "docs/ops.md": gen_docs.reference,
}

# Files that say something of some ops only, or of none by name.
PARTIAL = (".i", "families.gen.h", "op_attributes.gen.h", "ops.h", "calls.gen.h", "op_operands.gen.h")


def part_outputs(part):
    """The files of which each part of the table has its own."""
    return {
        f"api/include/millrace/ops_{part}.h": gen_header.part_header(part),
        f"api/src/ops_{part}.gen.cpp": gen_header.part_source(part),
        f"impl/ops/op_operands_{part}.gen.h": gen_engine.part_operands,
        f"impl/ops/calls_{part}.gen.h": gen_engine.part_calls,
    }


def outputs(ops):
    """Path (relative to the root) and text of every generated file."""
    files = [(path, write, ops) for path, write in OUTPUTS.items()]
    for part, families in gen_table.PARTS.items():
        members = [op for op in ops if op.family in families]
        files += [(path, write, members) for path, write in part_outputs(part).items()]
    texts = {}
    for path, write, members in files:
        text = texts[path] = write(members)
        assert text.endswith("\n") and not text.endswith("\n\n"), path
        for op in members:
            assert op.name in text or op.enum in text or path.endswith(PARTIAL), f"{path} lacks {op.name}"
    return texts


def differing(texts, root):
    return [path for path, text in texts.items()
            if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--ops-only", action="store_true")
    parser.add_argument("--table", type=Path, default=HERE / "ops.toml")
    parser.add_argument("--root", type=Path, default=HERE.parent.parent)
    options = parser.parse_args()
    try:
        ops = gen_table.load(options.table)
    except gen_table.TableError as error:
        print(f"gen: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"gen: {options.table} cannot be read: {error.strerror}.", file=sys.stderr)
        return 1
    texts = outputs(ops)
    changed = differing(texts, options.root)
    for path in changed:
        if options.check:
            print(f"gen: {path} differs from what {options.table.name} gives; run python3 api/gen/gen.py")
        else:
            (options.root / path).parent.mkdir(parents=True, exist_ok=True)
            (options.root / path).write_text(texts[path], encoding="utf-8")
            print(f"gen: wrote {path}")
    print(f"gen: {len(ops)} ops, {len(texts)} files, {len(changed)} {'differ' if options.check else 'changed'}")
    status = 1 if options.check and changed else 0
    if not options.ops_only:
        extracted = extract.run(options.root / "api/include", options.root, options.check)
        status = status if extracted == extract.SKIPPED else max(status, extracted)
    return status


if __name__ == "__main__":
    sys.exit(main())
