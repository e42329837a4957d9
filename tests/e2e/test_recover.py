#!/usr/bin/python3
"""A node whose data folder was lost, and whose disks were not."""

import os
import shutil

from tidemark_testing import BLOCK, TidemarkTest, main, wait_until


class Recover(TidemarkTest):
    def lose_folder(self, node):
        shutil.rmtree(node.folder)

    def start_refused(self, node, *arguments):
        node.start(*arguments, wait=False)
        self.assertEqual(node.process.wait(60), 1)
        return node.log()

    def test_everything_is_on_the_disk(self):
        disk = self.path("a.disk")
        tokyo = self.node("tokyo", "--disk", disk)
        tokyo.create("app", "db", "log", options=("--retain", "2h", "--journal-size", "256M"))
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "one", "--note", "kept")
        tokyo.write("app/db", 0, b"2" * BLOCK)
        tokyo.cli("restore", "app", "--to", "one")
        tokyo.write("app/log", 0, b"3" * BLOCK)
        tokyo.mark("app", "two")
        identity = tokyo.cli("status")["identity"]
        marks = tokyo.cli("mark", "list", "app")["marks"]
        tokyo.kill()
        self.lose_folder(tokyo)

        said = self.start_refused(tokyo, "--disk", disk)
        self.assertIn(f"belongs to node {identity}", said)
        self.assertIn("--recover makes this one its folder", said)
        tokyo.start("--disk", disk, "--recover")
        self.assertEqual(tokyo.cli("status")["identity"], identity)
        self.assertEqual(tokyo.cli("mark", "list", "app")["marks"], marks)
        self.assertEqual(tokyo.cli("group", "show", "app")["journal"]["retain_ns"], 7200 * 10**9)
        self.assertEqual(tokyo.read("app/db", 0, BLOCK), b"1" * BLOCK)
        self.assertEqual(tokyo.read("app/log@two", 0, BLOCK), b"3" * BLOCK)
        rows = tokyo.cli("table", "log_id", "--group", "app")["rows"]
        self.assertGreater(len(rows), 4)
        tokyo.stop()
        tokyo.start("--disk", disk, "--recover")  # is not needed, and says so
        self.assertIn("recover-not-needed", tokyo.log())
        tokyo.stop()
        tokyo.start("--disk", disk)
        self.assertEqual(tokyo.read("app/db@one", 0, BLOCK), b"1" * BLOCK)

    def test_what_is_no_disk_of_a_node_is_told(self):
        tokyo = self.node("tokyo", start=False)
        said = self.start_refused(tokyo, "--recover", "--disk", self.path("none"))
        self.assertIn(self.path("none"), said)
        with open(self.path("blank"), "wb") as blank:
            blank.truncate(64 << 20)
        said = self.start_refused(tokyo, "--recover", "--disk", self.path("blank"))
        self.assertIn("none of the disks carries a node's label", said)
        others = [self.node(name, "--disk", self.path(name + ".disk")) for name in ("osaka", "nara")]
        for other in others:
            other.stop()
        paths = [self.path(other.name + ".disk") for other in others]
        said = self.start_refused(tokyo, "--recover", "--disk", paths[0], "--disk", paths[1])
        self.assertIn("name the disks of one", said)
        self.assertFalse(os.path.exists(os.path.join(tokyo.folder, "identity")))

    def test_a_raid_group_and_a_pair_go_on(self):
        disks = [option for number in range(3) for option in ("--disk", self.path(f"{number}.disk"))]
        tokyo, osaka = self.node("tokyo", "--raid", "5", *disks), self.node("osaka")
        tokyo.create("app", "db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "before", "--wait", "peer")
        tokyo.kill()
        self.lose_folder(tokyo)
        self.assertIn("--recover makes this one its folder", self.start_refused(tokyo, "--raid", "5", *disks))
        tokyo.start("--recover", *disks)
        wait_until(lambda: tokyo.cli("pair", "status", "app")["link_up"], "the link is up")
        tokyo.write("app/db", BLOCK, b"2" * BLOCK)
        tokyo.mark("app", "after", "--wait", "peer")
        self.assertEqual(osaka.read("app/db", 0, 2 * BLOCK), b"1" * BLOCK + b"2" * BLOCK)
        self.assertEqual(osaka.read("app/db@before", BLOCK, 1), b"\0")


if __name__ == "__main__":
    main()
