#!/usr/bin/python3
"""A node whose folder is on ext4, XFS or Btrfs, on a disk that loses what was not flushed when it is cut off. The file
system replays its own journal; then everything is there that the node had acknowledged as durable, and an exact prefix of
the rest, across both volumes, with every mark.

TIDEMARK_LONG=1 cuts each of them off many times; TIDEMARK_SEED=N repeats what was drawn.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import unittest

import nbd

from test_crash_rounds import BLOCKS, numbers_in
from tidemark_testing import (BLOCK, MIB, CommandFailed, Connection, TidemarkTest, die_with_parent, main, run,
                              wait_until)

LONG = "TIDEMARK_LONG" in os.environ
ROUNDS = 60 if LONG else 3
DISK_MIB = 768
VOLUMES = ("db", "log")
MARKS_COMPARED = 12
UNFLUSHED_WRITES = (0, 1, 2, 4, 8, 16)  # to wait for before a cut
WRITES_BEFORE_CUT = (50, 200, 600, 1500)
FLUSH_EVERY, FUA_EVERY = 37, 23  # writes
SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "volatile_disk.py")


def can_run():
    return (os.geteuid() == 0 and os.path.exists("/dev/fuse") and os.path.exists("/dev/loop-control")
            and shutil.which("nbdfuse") is not None)


class VolatileDisk:
    """A file system on a disk that can be cut off, mounted at `folder`."""

    # Btrfs takes it for granted that a disk writes its super block of 4096 bytes whole.
    SECTOR = {"ext4": 512, "xfs": 512, "btrfs": 4096}
    MAKE = {"ext4": ("-q",), "xfs": ("-q", "-K"), "btrfs": ("-q", "-K", "-m", "single")}

    def __init__(self, kind, work, folder):
        self.kind, self.work, self.folder = kind, work, folder
        self.file = os.path.join(work, "volatile")
        self.loop = None
        self.mounted = False
        self.server = None
        self.programs = []

    def begin(self):
        work, kind = self.work, self.kind
        for path in (work, self.folder):
            os.makedirs(path)
        with open(self.file, "wb"):
            pass
        address = os.path.join(work, "nbd.sock")
        self.server = self.start(
            [sys.executable, SERVER, address, os.path.join(work, "image"), str(DISK_MIB * MIB), str(self.SECTOR[kind])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()
        ready = os.path.join(work, "nbdfuse.pid")
        attached = self.start(["nbdfuse", "-P", ready, self.file, f"nbd+unix:///?socket={address}"],
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(ready) or attached.poll() is not None, "the disk is attached")
        if attached.poll() is not None:
            raise AssertionError(f"nbdfuse ended with {attached.returncode}")
        self.attach()
        run(f"mkfs.{kind}", *self.MAKE[kind], self.loop)
        self.mount()

    def start(self, command, **options):
        program = subprocess.Popen(command, preexec_fn=die_with_parent, **options)
        self.programs.append(program)
        return program

    def answer(self):
        line = self.server.stdout.readline().strip()
        if not line:
            raise AssertionError(f"the disk's server ended with {self.server.wait()}")
        return line

    def tell(self, *words):
        self.server.stdin.write(" ".join(map(str, words)) + "\n")
        self.server.stdin.flush()
        return self.answer()

    def attach(self):
        self.loop = run("losetup", "-f", "--show", "-b", self.SECTOR[self.kind], self.file).strip()

    def mount(self):
        run("mount", "-t", self.kind, self.loop, self.folder)
        self.mounted = True

    def cut(self, node, seed, writes=0):
        """The power is gone, with about so many writes not flushed, for the disk and then for the node, which sees no
        answer of the disk in between. Whatever had been acknowledged by then had its reason."""
        told = self.tell("cut", seed, writes)
        try:
            node.process.kill()
        finally:
            self.tell("go")
        node.kill()
        return told

    def put_back(self):
        """The disk, with what was kept of it, with nothing of it in a cache; its file system recovers."""
        # The kernel may still be about to end what a killed process had asked of it.
        wait_until(lambda: subprocess.run(["umount", self.folder], stderr=subprocess.DEVNULL, check=False).returncode == 0,
                   f"{self.folder} is not in use any more")
        self.mounted = False
        self.detach()
        self.tell("back")
        self.attach()
        self.mount()

    def detach(self):
        run("losetup", "-d", self.loop)
        wait_until(lambda: run("losetup", "-j", self.file) == "", f"{self.loop} is free")
        self.loop = None

    def end(self):
        """Takes everything away, whatever state it is in."""
        if self.mounted and subprocess.run(["umount", self.folder], check=False).returncode != 0:
            subprocess.run(["umount", "-l", self.folder], check=False)
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], check=False)
        subprocess.run(["umount", "-l", self.file], stderr=subprocess.DEVNULL, check=False)
        for program in reversed(self.programs):
            program.terminate()
            program.wait()
        if self.server:
            self.server.stdin.close()
            self.server.stdout.close()


class Writer:
    """Numbered writes to the two volumes in turn, one after the other, until told to stop or the node has gone."""

    def __init__(self, node, number, salt):
        self.flushed = number  # the last one that is known to be durable
        self.acknowledged = number
        self.sent = number  # may or may not be there
        self.failed = None
        self._node, self._salt = node, salt
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @staticmethod
    def place_of(number, salt):
        """(volume, block). Any 2 * BLOCKS numbers in a row have different ones."""
        return number % 2, (number // 2 * 2654435761 + salt) % BLOCKS

    @classmethod
    def expected(cls, last, salt):
        """What the blocks of both volumes hold after write `last`."""
        numbers = [[0] * BLOCKS, [0] * BLOCKS]
        for number in range(max(1, last - 2 * BLOCKS + 1), last + 1):
            volume, block = cls.place_of(number, salt)
            numbers[volume][block] = number
        return numbers

    def end(self):
        self._ending.set()
        self._thread.join()

    def _run(self):
        try:
            with Connection(self._node, "app/db") as first, Connection(self._node, "app/log") as second:
                handles = (first, second)
                while not self._ending.is_set():
                    number = self.sent + 1
                    self.sent = number
                    volume, block = self.place_of(number, self._salt)
                    durable = number % FUA_EVERY == 0
                    handles[volume].pwrite(struct.pack("<Q", number) * (BLOCK // 8), block * BLOCK,
                                           nbd.CMD_FLAG_FUA if durable else 0)
                    self.acknowledged = number
                    if number % FLUSH_EVERY == 0:
                        handles[volume].flush()
                        durable = True
                    if durable:
                        self.flushed = number
        except nbd.Error as error:
            self.failed = error  # the node was killed, or its disk fails


class Marker:
    """Marks one after the other: {id: (acknowledged before it was asked for, sent before its reply)}."""

    def __init__(self, node, writer, prefix):
        self.made = {}
        self._node, self._writer, self._prefix = node, writer, prefix
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self):
        self._ending.set()
        self._thread.join()

    def _run(self):
        while not self._ending.wait(0.05):
            before = self._writer.acknowledged
            mark = f"{self._prefix}-{len(self.made)}"
            try:
                self._node.mark("app", mark)
            except CommandFailed:
                return  # whether it is there nobody was told
            self.made[mark] = before, self._writer.sent


@unittest.skipUnless(can_run(), "mounting takes root, FUSE, loop devices and nbdfuse")
class PowerCuts(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.disk = None

    def tearDown(self):
        for node in self.nodes:
            if node.running():
                node.kill()
        if self.disk:
            self.disk.end()
        super().tearDown()

    def node_on(self, kind):
        if shutil.which(f"mkfs.{kind}") is None:
            self.skipTest(f"mkfs.{kind} is not installed")
        with open("/proc/filesystems", encoding="ascii") as known:
            if kind not in known.read().split():
                self.skipTest(f"this kernel has no {kind}")
        self.disk = VolatileDisk(kind, self.path("work"), self.path("disk"))
        self.disk.begin()
        tokyo = self.node("disk/tokyo", start=False)
        tokyo.log_path, tokyo.out_path = self.path("tokyo.log"), self.path("tokyo.out")  # not to be lost
        return tokyo.start("--disk-size", "512M", "--cache-size", "16M")

    def load(self, node):
        """More for the disk to do, and for the base and the index."""
        return subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={node.uri('app/load')}", "--rw=randwrite", "--bs=4k-64k",
             "--iodepth=8", "--fsync=32", "--time_based", "--runtime=60", "--size=8M", "--thread"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)

    def check_prefix(self, node, salt, at_least, at_most, point=""):
        """The last write that is there, at the head or a mark, between the two; all before it, and none after."""
        numbers = [numbers_in(node.read(f"app/{volume}{point}")) for volume in VOLUMES]
        last = max(max(numbers[0]), max(numbers[1]))
        self.assertGreaterEqual(last, at_least, f"a write is lost that must be there{point}")
        self.assertLessEqual(last, at_most, f"a write is there that was made later{point}")
        self.assertEqual(numbers, Writer.expected(last, salt), f"not a prefix of the order{point}")
        return last

    def cut_under_load(self, node, turn, last, salt, seed, dice):
        """Until the disk is gone, and the node with it: (writer, marks)."""
        load, writer = self.load(node), Writer(node, last, salt)
        marker = Marker(node, writer, f"r{turn}")
        wanted = last + dice.choice(WRITES_BEFORE_CUT)
        # The first turn has marks, however fast the writer is.
        wait_until(lambda: (writer.acknowledged >= wanted and (turn > 0 or marker.made)) or writer.failed,
                   "the writer has written")
        errors = dice.random() < 0.3
        if errors:  # the disk fails before it goes
            self.disk.tell("fail")
            wait_until(lambda: writer.failed, "a write is refused")
        told = self.disk.cut(node, seed, 0 if errors else dice.choice(UNFLUSHED_WRITES))
        writer.end()
        marker.end()
        load.kill()
        load.wait(60)
        print(f"  {'errors, then ' if errors else ''}cut {turn}: {writer.sent - last} writes, {len(marker.made)} marks; {told}")
        return writer, marker.made

    def restart(self, node):
        self.disk.put_back()
        node.start("--cache-size", "16M")
        # A journal that is too small for its retention says so; nothing else is wrong.
        problems = [problem["text"] for problem in node.cli("status")["problems"]]
        self.assertEqual([text for text in problems if not text.startswith("history within the retention")], [])

    def run_rounds(self, kind):
        seed = int(os.environ.get("TIDEMARK_SEED", random.randrange(1 << 32)))
        print(f"seed {seed}")
        dice = random.Random(f"{seed} {kind}")
        salt = dice.randrange(BLOCKS)
        tokyo = self.node_on(kind)
        tokyo.create("app", *VOLUMES, size="1M", options=("--journal-size", "64M"))
        tokyo.cli("volume", "create", "app/load", "--size", "8M")
        # What commands made is there, however soon the cut comes.
        print(f"  cut at once: {self.disk.cut(tokyo, seed)}")
        self.restart(tokyo)
        last, kept, self.compared = 0, {}, 0
        for turn in range(ROUNDS):
            with self.subTest(kind, turn=turn):
                writer, marks = self.cut_under_load(tokyo, turn, last, salt, seed + turn, dice)
                self.restart(tokyo)
                must = max([writer.flushed] + [before for before, _ in marks.values()])
                last = self.check_prefix(tokyo, salt, must, writer.sent)
                kept.update(marks)
                self.check_marks(tokyo, kept, marks, salt, dice)
        self.assertGreater(last, ROUNDS)
        self.assertGreater(self.compared, 0)
        tokyo.stop()

    def check_marks(self, node, kept, new, salt, dice):
        listed = {mark["id"]: mark["restorable"] for mark in node.cli("mark", "list", "app")["marks"]}
        self.assertEqual([mark for mark in new if mark not in listed], [], "a mark is lost")
        restorable = sorted(mark for mark in kept if listed.get(mark))  # the others have expired: the journal is small
        for mark in dice.sample(restorable, min(MARKS_COMPARED, len(restorable))):
            self.check_prefix(node, salt, *kept[mark], point=f"@{mark}")
            self.compared += 1

    def test_on_ext4_everything_durable_is_there_after_a_power_cut(self):
        self.run_rounds("ext4")

    def test_on_xfs_everything_durable_is_there_after_a_power_cut(self):
        self.run_rounds("xfs")

    def test_on_btrfs_everything_durable_is_there_after_a_power_cut(self):
        self.run_rounds("btrfs")


if __name__ == "__main__":
    main()
