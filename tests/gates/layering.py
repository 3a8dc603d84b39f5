"""Which room may include which, what a file may be called and how long it may be.

    layering.py ROOT      prints each violation as path:line: text; exit status 1 if there is one

The rules are section 3 of the architecture: an include that climbs, a kernel that sees the engine, a vendor header
outside the folder that knows the vendor, a family without its file, a file over 800 lines.
"""
import re
import sys
from pathlib import Path

LEVELS = ["base", "trace", "memory", "device", "tensor", "dispatch", "ops", "autograd"]
TOP = ["optim", "data", "graph", "io"]  # above autograd, beside one another
# The profiler's rooms; those of one rank stand beside one another.
PROFILER = {
    room: rank
    for rank, rooms in enumerate(
        [["base"], ["timeline"], ["health", "import", "replay"], ["rules"], ["session"], ["query"], ["export"], ["plugin"]]
    )
    for room in rooms
}
RANK = {**{room: rank for rank, room in enumerate(LEVELS)}, **{room: len(LEVELS) for room in TOP}}
SOURCES = {".c", ".cc", ".cpp", ".h", ".hpp", ".inl", ".cu", ".cuh"}
HARD_LIMIT = 800

KERNEL_BASE = {"base/dtype.h", "base/half.h"}
# Found by the include path of each build of the GPU device.
BUILD_HEADERS = {"vocabulary.h", "launch.h", "fragment.h"}
# Angle-bracket headers that only some folders may know.
VENDORS = [
    (re.compile(r"^hwy/"), ("impl/cpu/", "tests/cpu/", "tests/bench/"), "Highway"),
    (re.compile(r"^(oneapi/)?dnnl"), ("impl/cpu/", "tests/bench/"), "oneDNN"),
    (re.compile(r"^(cuda|cublas|cudnn|cupti|nvrtc|nccl|cooperative_groups)"), ("impl/gpu/runtime/cuda/",), "CUDA"),
    (re.compile(r"^hip(/|blas)|^rocblas"), ("impl/gpu/runtime/hip/",), "HIP"),
    (re.compile(r"^nvtx3/"), ("impl/trace/", "tests/trace/", "profiler/"), "NVTX"),
]
KERNEL_SYSTEM = {"cstdint", "cstddef", "cmath", "limits", "type_traits"}
CONTRACT_SYSTEM = {"stdint.h", "stddef.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")')


def sources(root, folder):
    base = root / folder
    if not base.is_dir():
        return []
    return sorted(p for p in base.rglob("*") if p.suffix in SOURCES and p.is_file() and "build" not in p.parts)


def includes(path):
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def resolve(root, path, name):
    """The file that a quoted include means, relative to the root; None if it is nowhere in the tree."""
    for base in (path.parent, root / "impl", root / "api/include", root / "tests", root):
        candidate = base / name
        if candidate.is_file():
            try:
                return candidate.resolve().relative_to(root).as_posix()
            except ValueError:
                return None
    return None


def room_of(relative):
    parts = relative.split("/")
    return parts[1] if parts[0] == "impl" and len(parts) > 2 else None


def allowed(source, target):
    """None if file `source` may include file `target` (both relative to the root), else the broken rule in words."""
    if target.startswith("api/include/"):
        return None
    folder, room = source.split("/")[0], room_of(source)
    other = room_of(target)
    if folder == "api":
        if source.startswith("api/include/"):
            return "a public header may include only api/include"
        if target.startswith("api/src/") or other in RANK or other == "cpu" and target.count("/") == 2:
            return None
        return "api/src may include api/include, its own folder, the engine's rooms and the CPU device's header"
    if room == "kernels":
        inside = target.removeprefix("impl/")
        return None if other == "kernels" or inside in KERNEL_BASE else "kernels/ may include only base's dtype headers"
    if room in ("cpu", "gpu"):
        if other in (room, "kernels", "base"):
            return None
        return f"{room}/ may include only kernels/, base/, api/include and its own folder"
    if room in RANK:
        if other == room:
            return None
        if other not in RANK:
            return f"{room}/ may not include {other or target}"
        return None if RANK[other] < RANK[room] else f"{room}/ may not include {other}/: the include climbs"
    if folder == "tests":
        public = source.split("/")[1] in ("api", "conformance", "gradient", "abi")
        if target.startswith("tests/") or not public:
            return None
        return "tests of the ABI may include only api/include"
    if folder == "profiler" and target.startswith("profiler/"):
        mine, theirs = source.split("/")[1], target.split("/")[1]
        if mine == theirs:
            return None
        if "cli" in (mine, theirs):
            return "profiler/cli may include only api/include and its own folder, and nobody includes it"
        if PROFILER.get(theirs, 99) >= PROFILER.get(mine, -1):
            return f"profiler/{mine} may not include profiler/{theirs}: the include climbs"
        return None
    own = "/".join(source.split("/")[:2]) if folder == "samples" else folder
    return None if target.startswith(own + "/") else f"{folder} may include only api/include and its own folder"


def check_includes(root):
    for folder in ("api", "impl", "profiler", "bindings", "samples", "tests"):
        for path in sources(root, folder):
            relative = path.relative_to(root).as_posix()
            for number, system, quoted in includes(path):
                where = f"{relative}:{number}"
                name = system or quoted
                for pattern, folders, vendor in VENDORS:
                    if pattern.match(name) and not relative.startswith(folders):
                        yield f"{where}: {vendor}'s header {name} belongs to {', '.join(folders)}"
                if system:
                    if relative.startswith("impl/kernels/") and system not in KERNEL_SYSTEM:
                        yield f"{where}: kernels/ may not include <{system}>"
                    if relative.startswith("api/include/") and path.suffix == ".h" and system not in CONTRACT_SYSTEM:
                        yield f"{where}: a C header may include only <stdint.h> and <stddef.h>"
                    target = resolve(root, root / "none" / "none", system) if system.startswith("millrace/") else None
                    if system.startswith("millrace/") and target is None:
                        yield f"{where}: <{system}> does not exist"
                    continue
                if relative.startswith("impl/gpu/") and quoted in BUILD_HEADERS:
                    continue
                target = resolve(root, path, quoted)
                if target is None:
                    if not any(pattern.match(quoted) for pattern, _, _ in VENDORS):
                        yield f'{where}: "{quoted}" does not exist'
                    continue
                rule = allowed(relative, target)
                if rule:
                    yield f"{where}: {target}: {rule}"


def generated(path):
    if ".gen." in path.name:
        return True
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = "".join(line for _, line in zip(range(5), stream))
    return re.search(r"\bgenerated (by|from)\b", head, re.IGNORECASE) is not None


def check_length(root):
    for folder in ("api", "impl", "profiler", "bindings", "samples", "tests"):
        paths = sources(root, folder) + sorted((root / folder).rglob("*.py"))
        for path in paths:
            if generated(path):
                continue
            lines = sum(1 for _ in path.open(encoding="utf-8", errors="replace"))
            if lines > HARD_LIMIT:
                yield f"{path.relative_to(root).as_posix()}:{lines}: longer than {HARD_LIMIT} lines"


def check_families(root):
    """A family has the same file name in every room, so that who knows one room finds the others."""
    table = root / "api/gen/ops.toml"
    if not table.is_file():
        return
    families = set(re.findall(r'^family = "(\w+)"', table.read_text(encoding="utf-8"), re.MULTILINE))
    for family in sorted(families):
        if (root / "impl/ops").is_dir() and not (root / f"impl/ops/{family}.cpp").is_file():
            yield f"impl/ops/{family}.cpp:1: does not exist, but ops.toml has the family {family}"
    for pattern in ("impl/cpu/*.cpp", "impl/gpu/families/*.cu"):
        for path in sorted(root.glob(pattern)):
            if path.stem not in families:
                yield f"{path.relative_to(root).as_posix()}:1: {path.stem} is no family of ops.toml"


def violations(root):
    root = Path(root).resolve()
    return [*check_includes(root), *check_length(root), *check_families(root)]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = violations(sys.argv[1])
    print("\n".join(found) if found else "layering: no violation")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
