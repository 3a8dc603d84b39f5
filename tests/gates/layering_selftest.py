"""The layering gate must be able to fail: plants one violation after another in a small tree and must see each."""
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
from layering import violations  # noqa: E402

CLEAN = {
    "api/include/millrace/types.h": "#include <stdint.h>\n",
    "api/include/millrace/millrace.h": '#include "millrace/types.h"\n',
    "api/src/tensor.cpp": '#include "tensor/tensor.h"\n#include "millrace/millrace.h"\n',
    "api/gen/ops.toml": '[[op]]\nfamily = "norm"\n',
    "impl/base/dtype.h": '#include "millrace/types.h"\n',
    "impl/base/error.h": "#include <cstdint>\n",
    "api/include/millrace/plugin.h": '#include "millrace/types.h"\n',
    "impl/tensor/tensor.h": '#include "base/error.h"\n#include "millrace/plugin.h"\n',
    "impl/ops/norm.cpp": '#include "tensor/tensor.h"\n',
    "impl/optim/sgd.h": '#include "tensor/tensor.h"\n',
    "impl/io/file.h": '#include "base/error.h"\n',
    "impl/kernels/functors/math.h": '#include <cmath>\n#include "base/dtype.h"\n',
    "impl/cpu/norm.cpp": '#include <hwy/highway.h>\n#include "kernels/functors/math.h"\n#include "millrace/plugin.h"\n',
    "samples/c/xor.c": "#include <stdio.h>\n#include <millrace/millrace.h>\n",
    "tests/tensor/tensor_test.cpp": '#include "tensor/tensor.h"\n',
    "tests/api/tensor_test.cpp": '#include "millrace/millrace.h"\n',
}

# What is planted, and a part of the message that must come for it.
PLANTS = [
    ("impl/base/error.h", '#include "tensor/tensor.h"\n', "the include climbs"),
    ("impl/optim/sgd.h", '#include "io/file.h"\n', "the include climbs"),
    ("impl/tensor/tensor.h", '#include "kernels/functors/math.h"\n', "tensor/ may not include kernels"),
    ("impl/kernels/functors/math.h", '#include "base/error.h"\n', "only base's dtype headers"),
    ("impl/kernels/functors/math.h", "#include <vector>\n", "kernels/ may not include <vector>"),
    ("impl/cpu/norm.cpp", '#include "tensor/tensor.h"\n', "cpu/ may include only"),
    ("impl/tensor/tensor.h", "#include <hwy/highway.h>\n", "Highway's header"),
    ("impl/cpu/norm.cpp", "#include <cuda_runtime.h>\n", "CUDA's header"),
    ("api/include/millrace/types.h", "#include <stdbool.h>\n", "a C header may include only"),
    ("api/include/millrace/types.h", '#include "../../../impl/base/error.h"\n', "public header may include only"),
    ("samples/c/xor.c", '#include "../../impl/base/error.h"\n', "samples may include only"),
    ("samples/c/xor.c", "#include <millrace/absent.h>\n", "does not exist"),
    ("tests/api/tensor_test.cpp", '#include "tensor/tensor.h"\n', "tests of the ABI"),
    ("profiler/rules/a.cpp", '#include "base/error.h"\n', "profiler may include only"),
    ("impl/ops/norm.cpp", "\n" * 801, "longer than 800 lines"),
    ("impl/cpu/norms.cpp", "\n", "no family of ops.toml"),
    ("api/gen/ops.toml", '[[op]]\nfamily = "softmax"\n', "impl/ops/softmax.cpp:1: does not exist"),
]


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), CLEAN)
        found = violations(folder)
        if found:
            failed += 1
            print("the clean tree is refused:", *found, sep="\n  ")
    for name, text, expected in PLANTS:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), {**CLEAN, name: CLEAN.get(name, "") + text})
            found = violations(folder)
            if len(found) != 1 or expected not in found[0]:
                failed += 1
                print(f"planted in {name}: expected one finding with '{expected}', got {found}")
    print(f"layering self-test: {len(PLANTS) + 1 - failed} of {len(PLANTS) + 1} as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
