"""What the examples share: their settings, of which the command line may change any."""

import sys


def settings(*own: str) -> list[str]:
    """The ``key=value`` arguments of an example, of which those on the command line take the place."""
    given = {argument.partition("=")[0] for argument in sys.argv[1:]}
    return [*(one for one in own if one.partition("=")[0] not in given), *sys.argv[1:]]
