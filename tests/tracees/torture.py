"""All ways to name a file and to start a process, in the directory given."""

import contextlib
import ctypes
import os
import subprocess
import sys
import threading

place = sys.argv[1]
os.chdir(place)


def write(path, text="x", **options):
    """Make a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, **options)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def read(path, **options):
    """Open a file and close it."""
    os.close(os.open(path, os.O_RDONLY, **options))


def names():
    """Relative to a descriptor, after chdir, through links, with dots."""
    os.makedirs("a/b/c")
    directory = os.open("a/b", os.O_RDONLY | os.O_DIRECTORY)
    write("by-descriptor", dir_fd=directory)
    read("by-descriptor", dir_fd=directory)
    os.rename("by-descriptor", "renamed", src_dir_fd=directory, dst_dir_fd=directory)
    os.unlink("renamed", dir_fd=directory)
    os.close(directory)
    for depth in range(12):
        os.symlink("a" if depth == 0 else f"link{depth - 1}", f"link{depth}")
    write("link11/b/deep")
    read("link11/b/c/../deep")
    read("./a//b/./deep")
    os.chdir("a/b")
    write("after-chdir")
    read("../b/after-chdir")
    os.rename("after-chdir", "../moved")
    os.chdir(place)
    os.rename("a/b", "a/d")
    read("a/d/deep")
    os.unlink("a/moved")
    libc = ctypes.CDLL(None, use_errno=True)
    for path in (b"", b"x" * 5000, b"\xff\xfe-not-utf-8", b"/" + b"y/" * 2000):
        libc.open(path, os.O_RDONLY)
    libc.open(ctypes.c_void_p(1), os.O_RDONLY)
    write(b"\xff\xfe-binary")
    read(b"\xff\xfe-binary")


def processes():
    """vfork by subprocess, a shell with children, fork, exec from a thread."""
    subprocess.run(["/bin/cat", "a/d/deep"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run("cat a/d/deep | wc -c; (cd a && cat d/deep)", shell=True, check=True)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["./not-there"], check=False)
    child = os.fork()
    if child == 0:
        # execve from a thread that is not the first: it takes over the process id.
        def run():
            os.execv("/bin/cat", ["cat", "a/d/deep"])

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        os._exit(1)
    os.waitpid(child, 0)


def threads():
    """Eight threads that make, read, rename and remove files at the same time."""

    def work(number):
        for turn in range(25):
            name = f"t{number}-{turn}"
            write(name)
            read(name)
            os.rename(name, name + "-new")
            if turn % 2:
                os.unlink(name + "-new")

    started = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


names()
threads()
processes()
print("done")
