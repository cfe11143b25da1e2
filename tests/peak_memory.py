"""The most memory that this process has held, from Linux itself.

`resource.getrusage` counts what the parent held as well, before this process became another program, so a small
program started by a large one seems large.
"""

import contextlib
import re
import resource
from pathlib import Path


def peak_memory(anew: bool = False) -> int:
    """Bytes that this process has held at most.

    Args:
      anew: forget what was before, and count from here on, where Linux can.
    """
    if anew:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) << 10
