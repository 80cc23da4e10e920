"""The base that every image has, whatever the trace saw: a shell, usual programs, settings."""

from __future__ import annotations

import posixpath

from nbrw_builder.entry import Entry
from nbrw_builder.host import Host

#: Programs that scripts and shell escapes expect; found in these directories, links followed.
PROGRAMS = (
    "sh", "bash", "env", "cat", "ls", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "chmod", "touch",
    "echo", "printf", "pwd", "test", "[", "true", "false", "date", "sleep", "id", "whoami",
    "basename", "dirname", "readlink", "realpath", "head", "tail", "wc", "sort", "uniq", "cut",
    "tr", "tee", "seq", "expr", "stat", "du", "df", "mktemp", "uname", "nproc", "sha256sum",
    "sed", "grep", "find", "xargs", "awk", "hostname",
)  # fmt: skip
_PLACES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin")
#: Directories whose files the base takes as they are.
TREES = (
    "/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8", "/usr/share/zoneinfo", "/etc/ssl/certs",
    "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/usr/share/terminfo/x",
    "/lib/terminfo/x", "/etc/terminfo",
)  # fmt: skip
FILES = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ssl/openssl.cnf", "/etc/mime.types",
    "/etc/services", "/etc/protocols", "/etc/os-release", "/usr/lib/os-release",
    "/etc/debian_version", "/etc/redhat-release",
)  # fmt: skip
#: The usual links of a merged /usr; they must be there even if nothing was found through them.
LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


def programs(host: Host) -> list[str]:
    """The paths of the base's programs on this host, as far as it has them."""
    found = []
    for name in PROGRAMS:
        for place in _PLACES:
            path = posixpath.join(place, name)
            if host.stat(path) is not None:
                found.append(path)
                break
    return found


def trees(host: Host) -> list[str]:
    """The files of the base's directories."""
    found = [path for path in FILES if host.stat(path) is not None]
    for top in TREES:
        _walk(host, host.realpath(top), found)
    return found


def _walk(host: Host, directory: str, found: list[str]) -> None:
    for name in host.listdir(directory):
        path = posixpath.join(directory, name)
        status = host.stat(path)
        link = host.lstat(path)
        if status is None or link is None:
            continue
        if (status.st_mode & 0o170000) == 0o040000:
            if (link.st_mode & 0o170000) != 0o120000:
                _walk(host, path, found)
        else:
            found.append(path)


def made() -> list[Entry]:
    """Files and directories that are the image's own."""
    texts = {
        "/etc/passwd": (
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n"
        ),
        "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "/etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n",
        "/etc/resolv.conf": "",
        "/etc/hostname": "nbrw\n",
    }
    entries = [Entry(path, 0o644, data=text.encode()) for path, text in texts.items()]
    entries.append(Entry("/etc/localtime", 0o777, target="/usr/share/zoneinfo/Etc/UTC"))
    for path in ("/tmp", "/var/tmp"):
        entries.append(Entry(path, 0o1777))
    for path in (
        "/proc", "/sys", "/dev", "/run", "/home", "/root", "/mnt", "/media", "/srv", "/opt",
        "/scratch", "/data", "/share", "/nbrw/mnt", "/nbrw/work", "/nbrw/root", "/var/lib",
    ):  # fmt: skip
        entries.append(Entry(path, 0o755))
    return entries
