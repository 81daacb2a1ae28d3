"""A management command, and the most memory that its process held: python -m tests.faults.peak poll --operation x"""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from django.core.management import execute_from_command_line


def megabytes() -> int:
    """VmHWM and not ru_maxrss, for a process takes that one over from who started it."""
    [kilobytes] = re.findall(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    return round(int(kilobytes) / 1024)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_dashboard.settings")
    with suppress(SystemExit):
        execute_from_command_line(sys.argv)
    print(f"peak: {megabytes()} MB")
