#!/usr/bin/env python3
"""Every package that this workspace can build (all features, all targets, tests too) is under a licence that we accept.

A licence expression is evaluated: `OR` needs one side that we accept, `AND` needs both, an exception (`WITH`) is accepted
only together with its licence. The evaluation is tested on examples before each check.
"""

import json
import re
import subprocess
import sys

ACCEPTED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# A package may be accepted under one licence more, each with its reason: {"package": ("MPL-2.0", "why")}.
ACCEPTED_FOR = {}


def main():
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--all-features", "--format-version", "1"]))
    wrong = []
    for package in sorted(metadata["packages"], key=lambda package: package["name"]):
        name, expression = f"{package['name']} {package['version']}", package["license"]
        accepted = ACCEPTED | {ACCEPTED_FOR[package["name"]][0]} if package["name"] in ACCEPTED_FOR else ACCEPTED
        if not expression:
            wrong.append(f"{name} names no licence")
            continue
        try:
            if not is_accepted(expression, accepted):
                wrong.append(f"{name} is under `{expression}`")
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    unused = set(ACCEPTED_FOR) - {package["name"] for package in metadata["packages"]}
    wrong += [f"{name} has an exception here, and is not used any more" for name in sorted(unused)]
    print(f"{len(metadata['packages'])} packages, {len(wrong)} not accepted")
    return wrong


def is_accepted(expression, accepted):
    # The older form `MIT/Apache-2.0` means OR.
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    answer, rest = either(words, accepted)
    if rest:
        raise ValueError(f"cannot read the licence `{expression}` from `{' '.join(rest)}` on")
    return answer


def either(words, accepted):
    answer, rest = both(words, accepted)
    while rest[:1] == ["OR"]:
        other, rest = both(rest[1:], accepted)
        answer = answer or other
    return answer, rest


def both(words, accepted):
    answer, rest = one(words, accepted)
    while rest[:1] == ["AND"]:
        other, rest = one(rest[1:], accepted)
        answer = answer and other
    return answer, rest


def one(words, accepted):
    if not words or words[0] in ("AND", "OR", "WITH", ")"):
        raise ValueError("the licence expression ends too soon")
    if words[0] == "(":
        answer, rest = either(words[1:], accepted)
        if rest[:1] != [")"]:
            raise ValueError("a bracket in the licence expression is not closed")
        return answer, rest[1:]
    licence, rest = words[0], words[1:]
    if rest[:1] == ["WITH"]:
        licence, rest = " ".join(words[:3]), words[3:]
    return licence in accepted, rest


def self_test():
    accepted = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}
    table = {
        "MIT": True,
        "GPL-3.0-only": False,
        "MIT OR GPL-3.0-only": True,
        "MIT AND GPL-3.0-only": False,
        "MIT/Apache-2.0": True,
        "GPL-3.0-only AND MIT OR Apache-2.0": True,
        "GPL-3.0-only AND (MIT OR Apache-2.0)": False,
        "(MIT OR Apache-2.0) AND Unicode-3.0": True,
        "Apache-2.0 WITH LLVM-exception": True,
        "MIT WITH LLVM-exception": False,
        "(MIT": ValueError,
        "MIT OR": ValueError,
        "MIT MIT": ValueError,
    }
    for expression, expected in table.items():
        try:
            answer = is_accepted(expression, accepted)
        except ValueError:
            answer = ValueError
        if answer != expected:
            sys.exit(f"licences: `{expression}` gave {answer} instead of {expected}")


if __name__ == "__main__":
    self_test()
    complaints = main()
    for complaint in complaints:
        print(f"licences: {complaint}", file=sys.stderr)
    sys.exit(1 if complaints else 0)
