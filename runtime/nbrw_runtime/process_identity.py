"""Which machine, process namespace and tracer a process has: workers that the audited kernel
started have its own. The text is sent to workers: it imports nothing but the standard library.
"""

import os


def identity():
    """A list of these three; equal for this process and what it starts."""
    with open("/proc/sys/kernel/random/boot_id") as stream:
        boot = stream.read().strip()
    with open("/proc/self/status") as stream:
        lines = dict(line.split(":\t", 1) for line in stream if ":\t" in line)
    return [boot, os.readlink("/proc/self/ns/pid"), int(lines.get("TracerPid", "0"))]
