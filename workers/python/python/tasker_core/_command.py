"""The console script ``tasker``: the whole command, which the compiled half of this package carries."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs ``tasker`` with the arguments of this process; gives its exit code."""
    # Python's handler only makes a note for code that Python runs next; the command is to end as any program does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tasker_core import _native

    return _native.command(sys.argv[1:], sys.executable)


if __name__ == "__main__":
    sys.exit(main())
