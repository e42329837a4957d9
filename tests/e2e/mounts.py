"""Volumes and views as block devices and file systems of this machine, for tests that may use them."""

import contextlib
import os
import shutil
import subprocess

from tidemark_testing import die_with_parent, run, wait_until


def mounts_are_possible():
    return (os.geteuid() == 0 and os.path.exists("/dev/fuse") and os.path.exists("/dev/loop-control")
            and shutil.which("nbdfuse") is not None and shutil.which("mkfs.ext4") is not None)


@contextlib.contextmanager
def device(node, export, name):
    """An export as a loop device, by way of nbdfuse; `name` is for files beside the node's folder."""
    file = f"{node.folder}.{name}"
    with open(file, "wb"):
        pass
    server = subprocess.Popen(["nbdfuse", "-P", file + ".pid", file, node.uri(export)], stdin=subprocess.DEVNULL,
                              preexec_fn=die_with_parent)
    try:
        wait_until(lambda: os.path.exists(file + ".pid") or server.poll() is not None, f"{export} is attached")
        if server.poll() is not None:
            raise AssertionError(f"nbdfuse cannot attach {export}: status {server.returncode}")
        loop = run("losetup", "-f", "--show", file).strip()
        try:
            yield loop
        finally:
            run("losetup", "-d", loop)
            wait_until(lambda: run("losetup", "-j", file) == "", f"{loop} is free")
    finally:
        subprocess.run(["umount", file], stderr=subprocess.DEVNULL, check=False)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            subprocess.run(["umount", "-l", file], stderr=subprocess.DEVNULL, check=False)
            server.wait()
        for left in (file, file + ".pid"):
            if os.path.exists(left):
                os.unlink(left)


@contextlib.contextmanager
def mounted(loop, folder, *options):
    os.makedirs(folder, exist_ok=True)
    run("mount", "-t", "ext4", *options, loop, folder)
    try:
        yield folder
    finally:
        run("umount", folder)
