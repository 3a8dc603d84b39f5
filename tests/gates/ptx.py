"""What nvcc made of the GPU kernels: registers, spills and access widths, against a committed table.

    ptx.py DIRECTORY [--table FILE]   prints each finding as family/kernel: text; exit status 1 if there is one
    ptx.py DIRECTORY --write          writes the table from what is there

DIRECTORY holds NAME.report (ptxas -v) and NAME.ptx per family. Refused whatever the table says: warnings, spills, a
stack, local memory, accesses whose address space is not known, byte-wise loads in kernels that handle no bytes, kernels without both
launch bounds. Compared with the table, kernel by kernel: how many instances, registers (no more than), static shared
memory (no more than), 16-byte loads and stores (exactly). Numbers of another compiler release are not compared.
"""
import re
import sys
from collections import defaultdict
from pathlib import Path

TABLE = Path(__file__).resolve().parent / "ptx.table"
ENTRY = re.compile(r"Compiling entry function '([^']+)' for '(\w+)'")
PROPERTIES = re.compile(r"Function properties for (\S+)")
# The whole number: "0 bytes" is also the end of "40 bytes".
STACK = re.compile(r"(?<![0-9])(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(?<![0-9])(\d+) bytes smem")
FUNCTION = re.compile(r"^(?:\.(?:visible|weak|extern)\s+)*\.(entry|func)\s+(?:\([^)]*\)\s*)?([\w$]+)")
RELEASE = re.compile(r"Cuda compilation tools, release (\S+),")
ACCESS = re.compile(r"(?<![\w.])(ld|st|atom|red)((?:\.[\w:]+)+)")
WIDE = re.compile(r"\.(v4\.[a-z]+32|v2\.[a-z]+64|b128)$")
WARNING = re.compile(r"\bwarning\b", re.IGNORECASE)
SPACES = {"global", "shared", "param", "const", "local"}


def signature(symbol):
    """The qualified name of an Itanium-mangled function, and its remaining type codes without identifiers."""
    names, rest, at = [], [], 2 if symbol.startswith("_Z") else 0
    nested, arguments = symbol.startswith("_ZN"), False
    at += 1 if nested else 0
    while at < len(symbol):
        digits = re.match(r"\d+", symbol[at:])
        if digits:
            start = at + len(digits[0])
            at = start + int(digits[0])
            if not arguments:
                names.append(symbol[start:at])
            else:
                rest.append("<" + symbol[start:at] + ">")
            if not nested:
                arguments = True
            continue
        literal = re.match(r"L[a-z]n?\d+E", symbol[at:])
        if literal:
            at += len(literal[0])
            continue
        if re.match(r"S[0-9A-Z]*_", symbol[at:]):
            at += len(re.match(r"S[0-9A-Z]*_", symbol[at:])[0])
            continue
        arguments = True
        rest.append(symbol[at])
        at += 1
    return names, "".join(rest)


def kernel_name(symbol):
    names, _ = signature(symbol)
    return names[-1] if names else symbol


def handles_bytes(symbol):
    """A parameter or template argument of one byte, or of a type that is chosen at run time."""
    _, rest = signature(symbol)
    codes = re.sub(r"<[^>]*>", lambda name: "h" if name[0].startswith("<f8") else "", rest)
    # The return type of a template comes first and is void.
    return bool(re.search(r"[abch]|PK?v", codes))


def read_report(text):
    """Per (symbol, target): registers, shared, stack, spill bytes."""
    found, key, owner = {}, None, None
    for line in text.splitlines():
        match = ENTRY.search(line)
        if match:
            key = (match[1], match[2])
            found[key] = {"registers": 0, "shared": 0, "stack": 0, "spills": 0}
        match = PROPERTIES.search(line)
        if match:
            owner = match[1]
        match = STACK.search(line)
        if match and key:
            # Of the kernel, or of a function that it calls: both cost the kernel.
            one = found[key] if owner == key[0] else found.setdefault((owner, key[1]), dict(found[key]))
            one["stack"] = max(one["stack"], int(match[1]))
            one["spills"] += int(match[2]) + int(match[3])
        match = REGISTERS.search(line)
        if match and key:
            found[key]["registers"] = int(match[1])
            shared = SHARED.search(line)
            found[key]["shared"] = int(shared[1]) if shared else 0
    return found


def read_ptx(text):
    """The release, and per symbol: kind, bounds, and counts of accesses by kind."""
    release = RELEASE.search(text)
    found, body, depth = {}, None, 0
    for line in text.splitlines():
        line = line.split("//")[0]
        if depth == 0:
            match = FUNCTION.match(line)
            if match:
                body = found.setdefault(match[2], {"kind": match[1], "bounds": set(), "wide_loads": 0, "wide_stores": 0,
                                                   "local": 0, "generic": 0, "bytes": 0, "whole": False})
        if body is not None:
            for bound in (".maxntid", ".minnctapersm"):
                if bound in line:
                    body["bounds"].add(bound)
        depth += line.count("{") - line.count("}")
        if body is None:
            continue
        if depth > 0:
            body["whole"] = True
            count_accesses(line, body)
        elif body["whole"] or line.rstrip().endswith(";"):
            body = None
    return release[1] if release else "unknown", {s: b for s, b in found.items() if b["whole"]}


def count_accesses(line, body):
    for kind, modifiers in ACCESS.findall(line):
        parts = modifiers[1:].split(".")
        spaces = SPACES.intersection(part.split("::")[0] for part in parts)
        if not spaces:
            body["generic"] += 1
        elif "local" in spaces:
            body["local"] += 1
        elif "global" in spaces:
            if kind in ("ld", "st") and WIDE.search(modifiers):
                body["wide_loads" if kind == "ld" else "wide_stores"] += 1
            if kind == "ld" and parts[-1] in ("u8", "s8", "b8"):
                body["bytes"] += 1
    if "cp.async.c" in line and re.search(r"cp\.async\.c[ag]\.shared\S*\.global\S* .*, 16\b", line):
        body["wide_loads"] += 1


def refused(family, report, ptx):
    """What is wrong whatever the table says."""
    for (symbol, target), one in sorted(report.items()):
        where = f"{family}/{kernel_name(symbol)}: {target}: "
        if one["spills"]:
            yield f"{where}{one['spills']} bytes spilled ({symbol})"
        if one["stack"]:
            yield f"{where}{one['stack']} bytes of stack ({symbol})"
    for symbol, body in sorted(ptx.items()):
        where = f"{family}/{kernel_name(symbol)}: "
        if body["local"]:
            yield f"{where}{body['local']} accesses to local memory ({symbol})"
        if body["generic"]:
            yield f"{where}{body['generic']} accesses whose address space is not known ({symbol})"
        if body["kind"] == "entry":
            if body["bytes"] and not handles_bytes(symbol):
                yield f"{where}{body['bytes']} byte-wise loads in a kernel that handles no bytes ({symbol})"
            if len(body["bounds"]) != 2:
                yield f"{where}not both launch bounds ({symbol})"


def summary(family, report, ptx):
    """Rows of the table: (family, kernel) -> instances, registers per target, shared, wide loads and stores."""
    rows = defaultdict(lambda: {"instances": 0, "registers": {}, "shared": 0, "wide_loads": 0, "wide_stores": 0})
    for symbol, body in ptx.items():
        if body["kind"] != "entry":
            continue
        row = rows[family, kernel_name(symbol)]
        row["instances"] += 1
        row["wide_loads"] += body["wide_loads"]
        row["wide_stores"] += body["wide_stores"]
    for (symbol, target), one in report.items():
        if symbol not in ptx or ptx[symbol]["kind"] != "entry":
            continue
        row = rows[family, kernel_name(symbol)]
        row["registers"][target] = max(row["registers"].get(target, 0), one["registers"])
        row["shared"] = max(row["shared"], one["shared"])
    return rows


def read_directory(directory):
    """The release, the rows and what is refused. Raises OSError when there is nothing to read."""
    rows, problems, releases = {}, [], set()
    reports = sorted(Path(directory).glob("*.report"))
    if not reports:
        raise OSError(f"{directory} has no .report")
    for path in reports:
        family = path.stem
        ptx_path = path.with_suffix(".ptx")
        if not ptx_path.is_file():
            problems.append(f"{family}: no {ptx_path.name} beside the report")
            continue
        text = path.read_text(encoding="utf-8")
        problems += [f"{family}: {line.strip()}" for line in text.splitlines() if WARNING.search(line)]
        report = read_report(text)
        release, ptx = read_ptx(ptx_path.read_text(encoding="utf-8"))
        releases.add(release)
        problems += refused(family, report, ptx)
        entries = {symbol for symbol, body in ptx.items() if body["kind"] == "entry"}
        unreported = entries - {symbol for symbol, _ in report}
        problems += [f"{family}/{kernel_name(symbol)}: not in the report ({symbol})" for symbol in sorted(unreported)]
        rows.update(summary(family, report, ptx))
    return " ".join(sorted(releases)), rows, problems


def format_table(release, rows):
    targets = sorted({t for row in rows.values() for t in row["registers"]}, key=lambda t: int(re.sub(r"\D", "", t)))
    lines = ["# Kernels as nvcc makes them: written by ptx.py --write, checked by ptx.py. Registers are the most of any instance,",
             "# loads and stores those of 16 bytes in all instances together, shared memory is static and in bytes.",
             f"release {release}",
             "family kernel instances " + " ".join(targets) + " shared loads stores"]
    for (family, kernel), row in sorted(rows.items()):
        registers = " ".join(str(row["registers"].get(t, 0)) for t in targets)
        lines.append(f"{family} {kernel} {row['instances']} {registers} {row['shared']} "
                     f"{row['wide_loads']} {row['wide_stores']}")
    return "\n".join(lines) + "\n"


def parse_table(text):
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    release, head, rows = " ".join(lines[0][1:]), lines[1], {}
    targets = head[3:-3]
    for fields in lines[2:]:
        numbers = [int(field) for field in fields[2:]]
        rows[fields[0], fields[1]] = {"instances": numbers[0], "registers": dict(zip(targets, numbers[1:-3])),
                                      "shared": numbers[-3], "wide_loads": numbers[-2], "wide_stores": numbers[-1]}
    return release, rows


def differences(rows, wanted):
    for key in sorted(set(rows) | set(wanted)):
        where = "/".join(key)
        if key not in wanted:
            yield f"{where}: not in the table"
            continue
        if key not in rows:
            yield f"{where}: in the table, not in the build"
            continue
        row, want = rows[key], wanted[key]
        for target, most in want["registers"].items():
            if row["registers"].get(target, 0) > most:
                yield f"{where}: {target}: {row['registers'][target]} registers, the table allows {most}"
        if row["shared"] > want["shared"]:
            yield f"{where}: {row['shared']} bytes of shared memory, the table allows {want['shared']}"
        for field, words in (("instances", "instances"), ("wide_loads", "16-byte loads"),
                             ("wide_stores", "16-byte stores")):
            if row[field] != want[field]:
                yield f"{where}: {row[field]} {words}, the table has {want[field]}"


def main(arguments):
    write = "--write" in arguments
    arguments = [a for a in arguments if a != "--write"]
    table = TABLE
    if "--table" in arguments:
        at = arguments.index("--table")
        table = Path(arguments[at + 1])
        del arguments[at:at + 2]
    if len(arguments) != 1:
        print(__doc__.strip().splitlines()[2].strip(), file=sys.stderr)
        return 2
    try:
        release, rows, problems = read_directory(arguments[0])
    except OSError as failure:
        print(f"ptx: {failure}", file=sys.stderr)
        return 2
    instances = sum(row["instances"] for row in rows.values())
    if write:
        table.write_text(format_table(release, rows), encoding="utf-8")
    else:
        wanted_release, wanted = parse_table(table.read_text(encoding="utf-8"))
        if wanted_release == release:
            problems += differences(rows, wanted)
        else:
            print(f"ptx: the table is of release {wanted_release}, the build of {release}: numbers are not compared")
    for problem in problems:
        print(problem)
    most = max((r for row in rows.values() for r in row["registers"].values()), default=0)
    print(f"ptx: {instances} kernels in {len({f for f, _ in rows})} families, at most {most} registers, "
          f"{len(problems)} findings")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
