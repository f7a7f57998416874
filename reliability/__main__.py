"""Try what docs/RELIABILITY.md claims: ``python -m reliability TEST [options]``; TEST ``--help`` lists its options.

With ``--write`` a test puts its result into docs/RELIABILITY.md.
"""

from __future__ import annotations

from importlib import import_module

from app.errors import UserError, run_command

TESTS = {
    "resume": "kill real runs at random and compare what they become with an undisturbed one, bit for bit",
    "faults": "damage files, fill disks, stop servers and kill processes while real runs train",
    "soak": "train and resume for an hour and look for growing memory, file handles and threads",
    "inputs": "feed thousands of malformed settings and files to every reader",
}
"""Each is a module of this package with a function ``main(argv)``."""


def main(argv: list[str]) -> int:
    """Run the test that the first argument names."""
    if argv[:1] in (["--help"], ["-h"]):
        print(f"{__doc__}\n" + "\n".join(f"  {name:8}{about}" for name, about in TESTS.items()))
        return 0
    if not argv or argv[0] not in TESTS:
        given = f"there is no test {argv[0]!r}" if argv else "the test is missing"
        raise UserError(f"reliability: {given}; choose {', '.join(TESTS)}")
    return import_module(f"reliability.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    run_command(main)
