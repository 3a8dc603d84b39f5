#!/usr/bin/env python3
"""Other people's tests: the single-operator cases that come with ONNX, computed by this library.

    run.py --library libmillrace.so [--device cpu] [--only REGEX] [--verbose] [--counts FILE]

Prints, by operator, how many cases passed, failed and are not mapped, with the reason; fails when one failed, or when
fewer passed than --at-least."""
import argparse
import collections
import os
import re
import sys
import traceback

try:
    import numpy as np
    import onnx  # noqa: F401
except ImportError as missing:
    # The Python of the path may be another than Debian's, which has the package.
    system = "/usr/bin/python3"
    if os.path.exists(system) and not os.path.samefile(system, sys.executable):
        os.execv(system, [system, "-B", *sys.argv])
    print(f"skipped: Python's onnx package cannot be read ({missing}); Debian's is python3-onnx")
    sys.exit(77)

import cases
import map_control  # noqa: F401  (each registers its handlers)
import map_conv  # noqa: F401
import map_index  # noqa: F401
import map_loss  # noqa: F401
import map_norm  # noqa: F401
import map_optim  # noqa: F401
import map_order  # noqa: F401
import map_pointwise  # noqa: F401
import map_pool  # noqa: F401
import map_recurrent  # noqa: F401
import map_reduce  # noqa: F401
import map_resize  # noqa: F401
import map_shape  # noqa: F401
from graph import NotMapped, run
from mapping import HANDLERS
from millrace import BF16, E_DTYPE, E_UNSUPPORTED, Device, MillError, Tensor

# What ONNX's own runner allows (onnx/backend/test/runner), and what 16 bits can hold: casts to bf16 round to nearest
# here, and were cut off where those files were made.
RTOL, ATOL, HALF = 1e-3, 1e-7, 1e-2


def judge(device, case):
    """None where every set of the case agrees, else what differs."""
    for inputs, expected in case.sets():
        values = [one if isinstance(one, cases.Odd) else device.tensor(one) for one in inputs]
        outputs = run(device, case.model, case.graph, values, HANDLERS)
        for k, (got, wanted) in enumerate(zip(outputs, expected)):
            if isinstance(wanted, cases.Odd) or not isinstance(got, Tensor):
                raise NotMapped(f"no tensor holds {getattr(wanted, 'what', 'it')}")
            rtol = HALF if wanted.dtype in (np.float16, BF16) else RTOL
            wrong = cases.difference(got.numpy(), wanted, rtol, ATOL)
            if wrong is not None:
                return f"output {k}: {wrong}"
    return None


def attempt(device, case, verbose):
    """("passed" | "failed" | "not mapped", why)"""
    try:
        wrong = judge(device, case)
    except NotMapped as reason:
        return "not mapped", str(reason)
    except MillError as error:
        # The library's own word that it does not compute in this dtype, or not on this device.
        return ("not mapped" if error.status in (E_DTYPE, E_UNSUPPORTED) else "failed"), str(error)
    except Exception as error:  # a mistake in a handler is a failure of the case, and the next one is run
        if verbose:
            traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"
    return ("passed", "") if wrong is None else ("failed", wrong)


def operator_of(case):
    if case.expanded:
        return "(expanded)"
    names = sorted({node.op_type for node in case.graph.node} - {"Constant"})
    return names[0] if len(names) == 1 else "Constant" if not names else "(several)"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--library", required=True)
    options.add_argument("--device", default="cpu")
    options.add_argument("--only", default="")
    options.add_argument("--verbose", action="store_true")
    options.add_argument("--at-least", type=int, nargs=2, default=(0, 0), metavar=("SINGLE", "EXPANDED"))
    chosen = options.parse_args()
    if not os.path.isdir(cases.FOLDER):
        print(f"skipped: {cases.FOLDER} is not there (Debian's libonnx-testdata)")
        return 77
    device = Device(chosen.library, chosen.device)
    table = collections.defaultdict(collections.Counter)
    reasons = collections.defaultdict(collections.Counter)
    for name in cases.names("node"):
        if not re.search(chosen.only, name):
            continue
        case = cases.Case("node", name)
        operator = operator_of(case)
        verdict, why = attempt(device, case, chosen.verbose)
        table[operator][verdict] += 1
        if verdict == "failed" or (chosen.verbose and verdict == "not mapped"):
            print(f"{verdict}: {name}: {why}")
        if verdict == "not mapped":
            reasons[operator][why] += 1
    print(f"{'operator':32}{'passed':>8}{'failed':>8}{'not mapped':>12}  why not")
    for operator in sorted(table):
        row = table[operator]
        why = "; ".join(f"{text} ({count})" for text, count in reasons[operator].most_common(2))
        print(f"{operator:32}{row['passed']:8}{row['failed']:8}{row['not mapped']:12}  {why[:160]}")
    expanded = table.pop("(expanded)", collections.Counter())
    single = sum(table.values(), collections.Counter())
    for what, row in (("single operators", single), ("expanded functions", expanded)):
        print(f"{chosen.device}, {what}: {row['passed']} passed, {row['failed']} failed, {row['not mapped']} not mapped")
    both = single + expanded
    few = [k for k, (row, least) in enumerate(zip((single, expanded), chosen.at_least)) if row["passed"] < least]
    for k in few:
        print(f"failed: fewer than {chosen.at_least[k]} passed")
    print(f"{both['passed']} passed, {both['failed']} failed, 0 skipped")
    return 1 if few or both["failed"] or not both["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
