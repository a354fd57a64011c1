#!/usr/bin/env python3
"""Names the public features of a package, one a line: `features.py PACKAGE`. Private ones (`__like_this`) are left out."""

import json
import subprocess
import sys

metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version", "1"]))
[package] = [package for package in metadata["packages"] if package["name"] == sys.argv[1]]
for feature in sorted(package["features"]):
    if not feature.startswith("__"):
        print(feature)
