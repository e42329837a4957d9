#!/usr/bin/python3
"""A node whose disk fails: nbdkit injects errors and delays, and nbdfuse shows what it serves as the node's disk file, so
that the errors reach the node from its kernel. What fails is not acknowledged, and the group stops and says why; when the
disk is good again, a restart brings back everything that was flushed, and an exact prefix of the rest."""

import os
import random
import shutil
import subprocess
import threading
import unittest

import nbd

from test_crash_rounds import BLOCKS, Order, Writer, numbers_in
from tidemark_testing import BLOCK, MIB, Connection, TidemarkTest, die_with_parent, main, run, wait_until

LONG = "TIDEMARK_LONG" in os.environ
ROUNDS = 100 if LONG else 5
PATTERN_MIB = 40  # more than the node keeps in memory


def can_run():
    return (os.geteuid() == 0 and os.path.exists("/dev/fuse") and shutil.which("nbdfuse") is not None
            and shutil.which("nbdkit") is not None)


class FailingDisk:
    """The disk of a node that is stopped, from now on behind nbdkit. Faults are switched by files."""

    KINDS = ("pread", "pwrite", "zero", "trim")

    def __init__(self, node, folder, delay_ms=0):
        self.disk = os.path.join(node.folder, "disk")
        self.real = os.path.join(folder, "real-disk")
        self.folder = folder
        os.rename(self.disk, self.real)
        with open(self.disk, "wb"):
            pass
        switches = []
        for kind in self.KINDS:
            switches += [f"error-{kind}=EIO", f"error-{kind}-rate=100%", f"error-{kind}-file={self.switch(kind)}"]
        delays = [f"delay-read={delay_ms}ms", f"delay-write={delay_ms}ms"]
        address = os.path.join(folder, "nbdkit.sock")
        self.programs = [subprocess.Popen(
            ["nbdkit", "-f", "-U", address, "-P", os.path.join(folder, "nbdkit.pid"), "--filter=error", "--filter=delay",
             "file", self.real, *switches, *delays], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent)]
        self.wait_for("nbdkit.pid")
        self.programs.append(subprocess.Popen(
            ["nbdfuse", "-P", os.path.join(folder, "nbdfuse.pid"), self.disk, f"nbd+unix:///?socket={address}"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent))
        self.wait_for("nbdfuse.pid")

    def wait_for(self, name):
        path = os.path.join(self.folder, name)
        wait_until(lambda: os.path.exists(path) or self.programs[-1].poll() is not None, name)
        if self.programs[-1].poll() is not None:
            raise AssertionError(f"{self.programs[-1].args[0]} ended with {self.programs[-1].returncode}")

    def switch(self, kind):
        return os.path.join(self.folder, f"fail-{kind}")

    def fail(self, *kinds):
        for kind in kinds:
            with open(self.switch(kind), "wb"):
                pass

    def heal(self):
        for kind in self.KINDS:
            if os.path.exists(self.switch(kind)):
                os.unlink(self.switch(kind))

    def end(self):
        subprocess.run(["umount", "-l", self.disk], check=False)
        for program in reversed(self.programs):
            program.terminate()
            program.wait()


@unittest.skipUnless(can_run(), "needs root, FUSE, nbdfuse and nbdkit")
class DiskErrors(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.failing = None

    def tearDown(self):
        for node in self.nodes:
            if node.running():
                node.kill()
        if self.failing:
            self.failing.end()
        super().tearDown()

    def node_on_failing_disk(self, *volumes, size="64M", options=("--journal-size", "64M"), delay_ms=0):
        tokyo = self.node("tokyo", "--disk-size", "1G", "--cache-size", "16M")
        tokyo.create("app", *volumes, size=size, options=options)
        tokyo.stop()
        self.failing = FailingDisk(tokyo, self.folder, delay_ms)
        return tokyo.start("--cache-size", "16M")

    def problems(self, node):
        return " ".join(problem["text"] for problem in node.cli("status")["problems"])

    def assert_error(self, operation, *arguments):
        with self.assertRaises(nbd.Error) as raised:
            operation(*arguments)
        self.assertEqual(raised.exception.errno, "EIO")

    def test_a_write_that_fails_is_not_acknowledged_and_the_group_says_why(self):
        tokyo = self.node_on_failing_disk("db")
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(b"a" * BLOCK, 0)
            handle.flush()
            self.failing.fail("pwrite", "zero")
            self.assert_error(handle.pwrite, b"b" * BLOCK, BLOCK, nbd.CMD_FLAG_FUA)
            self.failing.heal()
            # The disk is good again, but what was lost on it nobody knows: no success until it has been read anew.
            self.assert_error(handle.pwrite, b"c" * BLOCK, 2 * BLOCK)
            self.assert_error(handle.flush)
            self.assertEqual(bytes(handle.pread(BLOCK, 0)), b"a" * BLOCK)
        self.assertEqual(tokyo.refused("mark", "create", "app", "m").status, 1)
        [problem] = tokyo.cli("status")["problems"]
        self.assertEqual((problem["group"], problem["action"]), ("app", "restart the node"))
        self.assertRegex(problem["text"], "stopped: write of disk .*Input/output error")
        [told] = [line for line in tokyo.log().splitlines() if " group-stopped " in line]
        self.assertRegex(told, "group=app reason=.*Input/output error")
        tokyo.kill()
        tokyo.start()
        self.assertEqual(self.problems(tokyo), "")
        content = tokyo.read("app/db", 0, 3 * BLOCK)
        self.assertEqual(content[:BLOCK], b"a" * BLOCK)
        self.assertIn(content[BLOCK:2 * BLOCK], (b"b" * BLOCK, bytes(BLOCK)))
        tokyo.write("app/db", BLOCK, b"d" * BLOCK)
        tokyo.mark("app", "m")
        tokyo.stop()

    def test_a_read_that_fails_is_an_error_and_never_other_data(self):
        tokyo = self.node_on_failing_disk("db", options=("--journal-size", "64M", "--retain", "0"))
        contents = [bytes([number + 1]) * MIB for number in range(PATTERN_MIB)]
        for number, content in enumerate(contents):
            tokyo.write("app/db", number * MIB, content, flush=number == PATTERN_MIB - 1)
        tokyo.kill()
        tokyo.start("--cache-size", "16M")
        self.failing.fail("pread")
        refused = 0
        with Connection(tokyo, "app/db") as handle:
            for number, content in enumerate(contents):
                try:
                    self.assertEqual(bytes(handle.pread(MIB, number * MIB)), content)
                except nbd.Error as error:
                    self.assertEqual(error.errno, "EIO")
                    refused += 1
            self.assertGreater(refused, 0)
            self.failing.heal()
            for number, content in enumerate(contents):
                self.assertEqual(bytes(handle.pread(MIB, number * MIB)), content)
        tokyo.stop()

    def test_a_disk_that_cannot_be_read_at_the_start_is_refused_and_unharmed(self):
        tokyo = self.node_on_failing_disk("db", size="1M")
        tokyo.write("app/db", 0, b"k" * BLOCK)
        tokyo.kill()
        self.failing.fail("pread")
        with self.assertRaises(AssertionError):
            tokyo.start()
        self.assertIn("Input/output error", tokyo.log(3))
        self.failing.heal()
        tokyo.start()
        self.assertEqual(tokyo.read("app/db", 0, BLOCK), b"k" * BLOCK)

    def load(self, node):
        """fio reads back what it wrote and compares, all the while."""
        return subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={node.uri('app/load')}", "--rw=randwrite", "--bs=4k-64k",
             "--iodepth=8", "--fsync=32", "--verify=crc32c", "--verify_backlog=64", "--time_based", "--runtime=60",
             "--size=8M", "--thread"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder)

    def test_errors_and_kills_under_load_leave_an_exact_prefix(self):
        seed = int(os.environ.get("TIDEMARK_SEED", random.randrange(1 << 32)))
        print(f"seed {seed}")
        dice = random.Random(seed)
        salt = dice.randrange(BLOCKS)
        tokyo = self.node_on_failing_disk("db", size="1M", options=("--journal-size", "64M"), delay_ms=1)
        tokyo.cli("volume", "create", "app/load", "--size", "8M")
        order = Order(salt)
        last = 0
        for turn in range(ROUNDS):
            kinds = dice.choice((("pwrite", "zero"), ("pread",), FailingDisk.KINDS, ()))
            with self.subTest(turn=turn, failing=kinds):
                load, writer = self.load(tokyo), Writer(tokyo, last, salt)
                threading.Event().wait(dice.uniform(0.3, 1.5))  # how much was done by then is part of the draw
                self.failing.fail(*kinds)
                if "pwrite" in kinds:
                    wait_until(lambda: "Input/output error" in self.problems(tokyo), "the group says that it has stopped")
                else:
                    threading.Event().wait(dice.uniform(0.05, 0.3))
                tokyo.kill()
                writer.end()
                load.kill()
                self.assertNotRegex(load.communicate()[0], "verify: bad|verify failed")
                self.failing.heal()
                tokyo.start("--cache-size", "16M")
                numbers = numbers_in(tokyo.read("app/db"))
                found = max(max(numbers), order.first - 1)
                self.assertGreaterEqual(found, writer.flushed, "a write is lost that was flushed")
                self.assertLessEqual(found, writer.sent)
                self.assertEqual(numbers, order.expected(found), "not a prefix of the order")
                last = found
        self.assertGreater(last, 0)
        run("fio", "--name=whole", "--ioengine=nbd", f"--uri={tokyo.uri('app/load')}", "--verify=crc32c",
            "--verify_fatal=1", "--do_verify=1", "--size=8M", "--rw=randwrite", "--bs=16k", "--iodepth=8", cwd=self.folder)
        tokyo.stop()


if __name__ == "__main__":
    main()
