#!/usr/bin/python3
"""A file system that fills up under a node, and disks that are not what they were."""

import os
import shutil
import unittest

import nbd

from tidemark_testing import BLOCK, MIB, Connection, TidemarkTest, main, run, wait_until


def mounts_are_possible():
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and os.path.exists("/dev/loop-control")


@unittest.skipUnless(mounts_are_possible(), "needs root and loop devices")
class FullFileSystem(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.small = self.path("small")
        os.mkdir(self.small)
        self.image = self.path("small.img")
        with open(self.image, "wb") as image:
            image.truncate(300 * MIB)
        run("mkfs.ext4", "-q", self.image)
        run("mount", "-o", "loop", self.image, self.small)

    def tearDown(self):
        for node in self.nodes:
            if node.running():
                node.kill()
        run("umount", "-l", self.small)  # the connection of a failed test may still be open
        super().tearDown()

    def fill(self, node):
        """Writes MiB after MiB until the node says ENOSPC; how many were acknowledged."""
        with Connection(node, "app/db") as handle:
            for number in range(1024):
                try:
                    handle.pwrite(self.content(number), number * MIB)
                except nbd.Error as error:
                    self.assertEqual(error.errno, "ENOSPC")
                    handle.flush()
                    return number
        self.fail("a file system of 300 MiB took 1 GiB")

    @staticmethod
    def content(number):
        return bytes([number % 251 + 1]) * MIB

    def assert_all_there(self, node, count):
        with Connection(node, "app/db") as handle:
            for number in range(count):
                self.assertEqual(bytes(handle.pread(MIB, number * MIB)), self.content(number), f"MiB {number}")

    def test_the_host_gets_enospc_and_nothing_acknowledged_is_lost(self):
        tokyo = self.node("small/tokyo", start=False)
        tokyo.log_path, tokyo.out_path = self.path("tokyo.log"), self.path("tokyo.out")
        tokyo.start()
        tokyo.create("app", "db", size="1G", options=("--journal-size", "1G"))
        count = self.fill(tokyo)
        self.assertGreater(count, 50)
        self.assert_all_there(tokyo, count)
        problems = " ".join(problem["text"] for problem in tokyo.cli("status")["problems"])
        self.assertIn(self.small, problems)
        tokyo.mark("app", "full")  # a mark and a restore need no more than what is kept back
        tokyo.cli("restore", "app", "--to", "full")
        for _ in range(3):
            # What is left, others take.
            with open(os.path.join(self.small, "filler"), "ab") as filler:
                try:
                    while True:
                        filler.write(bytes(BLOCK))
                        filler.flush()
                except OSError:
                    pass
            tokyo.kill()
            tokyo.start()
            self.assert_all_there(tokyo, count)
            self.assertEqual(tokyo.cli("mark", "show", "app", "full")["restorable"], True)
        os.unlink(os.path.join(self.small, "filler"))
        tokyo.write("app/db", 0, b"n" * BLOCK)
        tokyo.stop()
        tokyo.start()
        self.assertEqual(tokyo.read("app/db", 0, 1), b"n")


class Disks(TidemarkTest):
    def refusal(self, node):
        """What a node says that must not start."""
        with self.assertRaises(AssertionError):
            node.start()
        return node.log(3)

    def used_node(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="1M")
        tokyo.write("app/db", 0, b"x" * BLOCK)
        tokyo.stop()
        return tokyo, os.path.join(tokyo.folder, "disk")

    def test_a_truncated_disk_is_refused_by_name(self):
        tokyo, disk = self.used_node()
        size = os.path.getsize(disk)
        for smaller in (size - 4096, 100 * MIB, 4096, 0):
            with self.subTest(size=smaller):
                copy = disk + ".whole"
                os.rename(disk, copy)
                with open(disk, "wb") as short:
                    short.truncate(smaller)
                    with open(copy, "rb") as whole:
                        short.write(whole.read(min(smaller, MIB)))
                self.assertIn(disk, self.refusal(tokyo))
                self.assertEqual(os.path.getsize(disk), smaller)
                os.rename(copy, disk)
        tokyo.start()
        self.assertEqual(tokyo.read("app/db", 0, 1), b"x")

    def test_a_missing_or_emptied_disk_is_refused_and_not_made_anew(self):
        tokyo, disk = self.used_node()
        os.rename(disk, disk + ".away")
        self.assertIn(disk, self.refusal(tokyo))
        self.assertFalse(os.path.exists(disk))
        with open(disk, "wb") as empty:
            empty.truncate(os.path.getsize(disk + ".away"))
        self.assertIn(disk, self.refusal(tokyo))
        os.rename(disk + ".away", disk)
        tokyo.start()
        self.assertEqual(tokyo.read("app/db", 0, 1), b"x")

    def test_the_disk_of_another_node_is_refused(self):
        tokyo, disk = self.used_node()
        osaka = self.node("osaka")
        osaka.stop()
        os.replace(os.path.join(osaka.folder, "disk"), disk)
        self.assertIn("belongs to node", self.refusal(tokyo))

    def test_a_copy_of_a_node_is_not_paired_with_it(self):
        tokyo, _ = self.used_node()
        twin = self.node("twin", start=False)
        run("cp", "-a", "--sparse=always", tokyo.folder, twin.folder)
        tokyo.start()
        twin.start()
        refusal = tokyo.refused("pair", "create", "app", "--peer", f"unix:{twin.folder}/replication.sock",
                                "--peer-group", "other")
        self.assertRefused(refusal, "invalid", "identity")
        refusal = tokyo.refused("pair", "create", "app", "--peer", f"unix:{tokyo.folder}/replication.sock")
        self.assertRefused(refusal, "invalid", "--peer-group")
        self.assertEqual(tokyo.cli("pair", "status", "app")["state"], "SMPL")
        self.assertEqual(tokyo.read("app/db", 0, 1), b"x")



class FullPool(TidemarkTest):
    def test_a_pool_that_fills_up_says_so_before_it_is_full(self):
        tokyo = self.node("tokyo", "--disk-size", "256M")
        tokyo.create("app", "db", size="256M", options=("--journal-size", "64M", "--retain", "0"))
        said = tokyo.cli("status")
        self.assertEqual((said["pool_journals_bytes"], said["problems"]), (64 * MIB, []))
        with Connection(tokyo, "app/db") as handle:
            for number in range(150):
                handle.pwrite(b"x" * MIB, number * MIB)
            handle.flush()
        problem = tokyo.cli("status")["problems"][0]["text"]
        self.assertRegex(problem, r"the pool is [89][0-9]% full: .* in use, 64 MiB of that by journals")
        wait_until(lambda: "pool-fills-up" in tokyo.log(), "the log tells it")
        tokyo.cli("group", "delete", "app", "--force")
        self.assertEqual(tokyo.cli("status")["problems"], [])
        wait_until(lambda: "pool-has-room" in tokyo.log(), "the log tells that it is over")
        tokyo.stop()
        tokyo.start("--pool-alarm", "150%", wait=False)
        self.assertEqual(tokyo.process.wait(10), 2)
        self.assertIn("'150%' is not a percentage from 0 to 100", tokyo.log())


if __name__ == "__main__":
    main()
