#!/usr/bin/env python3
"""The minimum supported Rust version is one number, and what the published crates are made of keeps to it.

Without arguments: Cargo.toml and README.md name the same version, every published crate takes it, and no dependency that
users build (normal and build dependencies, all features, all targets) declares a higher one.
`--published` prints the published crates, one a line.
"""

import json
import pathlib
import subprocess
import sys


def version(text):
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def main():
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--all-features", "--format-version", "1"]))
    packages = {package["id"]: package for package in metadata["packages"]}
    # `publish` is null where a package may go anywhere, and an empty list where it may go nowhere.
    published = [packages[member] for member in metadata["workspace_members"] if packages[member]["publish"] != []]
    if "--published" in sys.argv:
        print("\n".join(package["name"] for package in published))
        return []

    wrong = []
    root = pathlib.Path(metadata["workspace_root"])
    [ours] = [
        line.split('"')[1] for line in (root / "Cargo.toml").read_text().splitlines() if line.startswith("rust-version")
    ]
    sentence = f"Minimum supported Rust version: {ours}"
    readme = root / "README.md"
    if not readme.exists() or sentence not in readme.read_text():
        wrong.append(f'README.md does not say "{sentence}", which Cargo.toml does')
    for package in published:
        if package["rust_version"] != ours:
            wrong.append(f"{package['name']} does not take the workspace's rust-version ({package['rust_version']})")

    reached = reachable(metadata, [package["id"] for package in published])
    for package in sorted((packages[found] for found in reached), key=lambda package: package["name"]):
        theirs = package["rust_version"]
        if theirs and version(theirs) > version(ours):
            wrong.append(f"{package['name']} {package['version']} needs Rust {theirs}, and ours is {ours}")
    print(f"Rust {ours}: {len(published)} published crates, {len(reached)} packages that their users build")
    return wrong


def reachable(metadata, roots):
    """What users build: the dependencies of the roots, those for development only left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    reached, waiting = set(), list(roots)
    while waiting:
        here = waiting.pop()
        if here in reached:
            continue
        reached.add(here)
        for dependency in nodes[here]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return reached


if __name__ == "__main__":
    complaints = main()
    for complaint in complaints:
        print(f"msrv: {complaint}", file=sys.stderr)
    sys.exit(1 if complaints else 0)
