"""Add up JUnit reports; fail where a test failed or was skipped, or where there was none."""

from __future__ import annotations

import sys
from xml.etree import ElementTree as ET


def main(paths: list[str]) -> int:
    total = failed = skipped = 0
    for path in paths:
        for case in ET.parse(path).iter("testcase"):
            total += 1
            failed += case.find("failure") is not None or case.find("error") is not None
            if (reason := case.find("skipped")) is not None:
                skipped += 1
                print(f"skipped: {case.get('classname')}.{case.get('name')}: {reason.get('message')}")
    print(f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return int(failed or skipped or not total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
