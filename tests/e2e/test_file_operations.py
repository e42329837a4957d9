#!/usr/bin/python3
"""Random operations on files, the same on ext4 on a volume and in a plain folder: the trees stay equal, and the view at
each mark shows the tree as it was then.

TIDEMARK_LONG=1 makes it half an hour instead of 15 seconds; TIDEMARK_SEED=N repeats a run.
"""

import ctypes
import hashlib
import mmap
import os
import random
import shutil
import unittest

from mounts import device, mounted, mounts_are_possible
from tidemark_testing import TidemarkTest, main, run

LONG = "TIDEMARK_LONG" in os.environ
ROUNDS = 300 if LONG else 8
OPERATIONS = 600 if LONG else 250  # in a round, before its mark
VIEWS_EACH = 1  # of earlier marks that are looked at again after a round of a long run
FILE_BYTES_MAX = 600_000
NAMES = 24
FOLDERS = ("", "a", "a/b", "c")
PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE = 2, 16, 8, 32, 1  # linux/falloc.h
FILE_SYSTEM_BLOCK = 4096

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def fallocate(file, mode, offset, length):
    if libc.fallocate(file.fileno(), mode, offset, length) != 0:
        raise OSError(ctypes.get_errno(), f"fallocate of mode {mode}")


def tree(folder):
    """What is in a folder: {path: kind and contents}."""
    found = {}
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "lost+found")
        found[os.path.relpath(path, folder)] = "folder"
        for name in files:
            full = os.path.join(path, name)
            where = os.path.relpath(full, folder)
            if os.path.islink(full):
                found[where] = f"link to {os.readlink(full)}"
                continue
            with open(full, "rb") as file:
                content = file.read()
            found[where] = f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()}, {os.stat(full).st_nlink} names"
    return found


class Twins:
    """Each operation is done in both folders. In the plain one holes are written as zeroes, and ranges are moved by
    reading and writing, so that one kernel's code is not compared with itself."""

    def __init__(self, real, plain, dice):
        self.real, self.plain, self.dice = real, plain, dice
        for folder in FOLDERS[1:]:
            for base in (real, plain):
                os.makedirs(os.path.join(base, folder), exist_ok=True)
        self.done = []  # in words, for a failure

    def step(self):
        kind = self.dice.choices(
            (self.write, self.append, self.truncate, self.punch, self.shift, self.map, self.rename, self.unlink,
             self.link, self.symlink, self.preallocate),
            (30, 12, 10, 12, 5, 8, 8, 5, 2, 2, 4))[0]
        kind(self.a_path())

    def a_path(self):
        return os.path.join(self.dice.choice(FOLDERS), f"f{self.dice.randrange(NAMES)}")

    def both(self, path):
        return os.path.join(self.real, path), os.path.join(self.plain, path)

    def size(self, path):
        plain = self.both(path)[1]
        return os.path.getsize(plain) if os.path.isfile(plain) else 0

    def say(self, *words):
        self.done.append(" ".join(map(str, words)))

    def range_in(self, path, alignment=1):
        """An offset and a length; of both, within the file where it has anything."""
        size = max(self.size(path), 1)
        offset = self.dice.randrange(size) // alignment * alignment
        length = max(1, min(int(self.dice.expovariate(1 / 20_000)) + 1, FILE_BYTES_MAX - offset))
        return offset, max(alignment, length // alignment * alignment)

    def put(self, path, offset, data, sync=False):
        for full in self.both(path):
            descriptor = os.open(full, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, data, offset)
                if sync and full.startswith(self.real):
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def write(self, path):
        offset, length = self.range_in(path)
        if self.dice.random() < 0.2:
            offset = self.dice.randrange(FILE_BYTES_MAX - length + 1)  # mostly beyond the end
        self.say("write", path, offset, length)
        self.put(path, offset, self.dice.randbytes(length), sync=self.dice.random() < 0.1)

    def append(self, path):
        length = min(self.range_in(path)[1], FILE_BYTES_MAX)
        self.say("append", path, length)
        self.put(path, min(self.size(path), FILE_BYTES_MAX), self.dice.randbytes(length))

    def truncate(self, path):
        length = self.dice.choice((0, self.dice.randrange(FILE_BYTES_MAX), self.size(path) // 2))
        self.say("truncate", path, length)
        for full in self.both(path):
            with open(full, "ab") as file:
                file.truncate(length)

    def preallocate(self, path):
        offset, length = self.range_in(path)
        keep = self.dice.random() < 0.5
        self.say("fallocate", path, offset, length, "keeping the size" if keep else "")
        real, plain = self.both(path)
        with open(real, "ab") as file:
            fallocate(file, KEEP_SIZE if keep else 0, offset, length)
        with open(plain, "ab") as file:
            if not keep and offset + length > self.size(path):
                file.truncate(offset + length)

    def punch(self, path):
        offset, length = self.range_in(path)
        mode = self.dice.choice((PUNCH_HOLE, ZERO_RANGE)) | KEEP_SIZE
        self.say("zero", path, offset, length, "mode", mode)
        real, plain = self.both(path)
        with open(real, "ab") as file:
            fallocate(file, mode, offset, length)
        with open(plain, "ab"):
            pass
        with open(plain, "r+b") as file:
            file.seek(offset)
            file.write(bytes(max(0, min(length, self.size(path) - offset))))

    def shift(self, path):
        """Takes a range out, or puts a hole in."""
        size = self.size(path)
        offset, length = self.range_in(path, FILE_SYSTEM_BLOCK)
        collapse = self.dice.random() < 0.5
        if offset >= size or (collapse and offset + length >= size):
            return
        self.say("collapse" if collapse else "insert", path, offset, length)
        real, plain = self.both(path)
        with open(real, "r+b") as file:
            fallocate(file, COLLAPSE_RANGE if collapse else INSERT_RANGE, offset, length)
        with open(plain, "r+b") as file:
            content = file.read()
            file.seek(0)
            file.truncate()
            if collapse:
                file.write(content[:offset] + content[offset + length:])
            else:
                file.write(content[:offset] + bytes(length) + content[offset:])

    def map(self, path):
        size = self.size(path)
        if size == 0:
            return
        offset, length = self.range_in(path)
        data = self.dice.randbytes(min(length, size - offset))
        self.say("write mapped", path, offset, len(data))
        for full in self.both(path):
            with open(full, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                memory[offset:offset + len(data)] = data

    def rename(self, path):
        other = self.a_path()
        if not os.path.lexists(self.both(path)[1]):
            return
        self.say("rename", path, "to", other)
        for old, new in zip(self.both(path), self.both(other)):
            os.rename(old, new)

    def unlink(self, path):
        if not os.path.lexists(self.both(path)[1]):
            return
        self.say("unlink", path)
        for full in self.both(path):
            os.unlink(full)

    def link(self, path):
        other = self.a_path()
        if not os.path.isfile(self.both(path)[1]) or os.path.lexists(self.both(other)[1]):
            return
        self.say("link", path, "as", other)
        for old, new in zip(self.both(path), self.both(other)):
            os.link(old, new)

    def symlink(self, path):
        name = path + ".symbolic"
        if os.path.lexists(self.both(name)[1]):
            return
        target = "f" * self.dice.randrange(1, 200)
        self.say("symlink", name)
        for full in self.both(name):
            os.symlink(target, full)


@unittest.skipUnless(mounts_are_possible(), "mounting takes root, FUSE, loop devices, nbdfuse and mkfs.ext4")
class FileOperations(TidemarkTest):
    def assertSameTree(self, what, expected, found, done=()):
        for path in sorted(expected.keys() | found.keys()):
            if expected.get(path) != found.get(path):
                told = "".join(f"\n  {operation}" for operation in done if path in operation.split())
                self.fail(f"{what}: {path}: found {found.get(path)}, expected {expected.get(path)}{told}")

    def make_mark(self, node, mark, folder, frozen):
        """With the file system at rest, or after a sync alone."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            self.assertEqual(libc.syncfs(descriptor), 0)
        finally:
            os.close(descriptor)
        if frozen:
            run("fsfreeze", "-f", folder)
        try:
            node.mark("app", mark)
        finally:
            if frozen:
                run("fsfreeze", "-u", folder)

    def check_export(self, node, export, expected, frozen):
        """Frozen, the file system needs no repair; else its journal is replayed first, in a writable view."""
        with device(node, export, "look") as loop:
            if frozen:
                run("e2fsck", "-fn", loop)
            with mounted(loop, self.path("look"), *(("-o", "ro,noload") if frozen else ())) as folder:
                self.assertSameTree(export, expected, tree(folder))
            run("e2fsck", "-fn", loop)

    def test_trees_stay_equal_and_every_mark_shows_its_own(self):
        seed = int(os.environ.get("TIDEMARK_SEED", random.randrange(1 << 32)))
        print(f"seed {seed}")
        dice = random.Random(seed)
        tokyo = self.node("tokyo", "--disk-size", "16G")
        tokyo.create("app", "files", size="192M", options=("--journal-size", "2G"))
        trees = {}  # mark: (frozen, tree)
        plain = self.path("plain")
        os.mkdir(plain)

        def point(mark):
            frozen, expected = trees[mark]
            self.check_export(tokyo, f"app/files@{mark}" + ("" if frozen else "+rw"), expected, frozen)

        with device(tokyo, "app/files", "live") as loop:
            run("mkfs.ext4", "-q", "-E", "nodiscard", loop)
            with mounted(loop, self.path("live"), "-o", "discard") as folder:
                twins = Twins(folder, plain, dice)
                for number in range(ROUNDS):
                    for _ in range(OPERATIONS):
                        twins.step()
                    frozen = number % 2 == 0
                    self.make_mark(tokyo, f"m{number}", folder, frozen)
                    trees[f"m{number}"] = frozen, tree(plain)
                    self.assertSameTree(f"after round {number}", trees[f"m{number}"][1], tree(folder), twins.done)
                    if LONG:
                        still = [mark["id"] for mark in tokyo.cli("mark", "list", "app")["marks"] if mark["restorable"]]
                        for mark in dice.sample(still, min(VIEWS_EACH, len(still))):
                            point(mark)
        # Nothing is in a cache of the kernel any more.
        self.check_export(tokyo, "app/files", trees[f"m{ROUNDS - 1}"][1], frozen=True)
        still = [mark["id"] for mark in tokyo.cli("mark", "list", "app")["marks"] if mark["restorable"]]
        if not LONG:
            self.assertEqual(sorted(still), sorted(trees))
        for mark in still:
            point(mark)
        for mark in dice.sample(still, min(2, len(still))):
            tokyo.cli("restore", "app", "--to", mark)
            frozen, expected = trees[mark]
            self.check_export(tokyo, "app/files", expected, frozen)
        tokyo.stop()


if __name__ == "__main__":
    main()
