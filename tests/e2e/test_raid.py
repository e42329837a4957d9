#!/usr/bin/python3
"""Nodes whose pool lies on several disks: what is lost of them is told, does without, and is made good."""

import os
import shutil

from tidemark_testing import MIB, Connection, Model, TidemarkTest, main, wait_until

SIZE = 32 * MIB
DISK = 256 * MIB


class Raid(TidemarkTest):
    def disk(self, number):
        return os.path.join(self.folder, f"disk{number}.img")

    def raid_node(self, level, count, *more):
        """A node on `count` thin files, with a volume of random content; options are of every start."""
        tokyo = self.node("tokyo", start=False)
        tokyo.options = ("--raid", level, "--disk-size", "256M", "--cache-size", "16M", *more)
        for number in range(count):
            tokyo.options += ("--disk", self.disk(number))
        tokyo.start()
        tokyo.create("app", "db", size="32M", options=("--journal-size", "64M"))
        self.model = Model(SIZE, 11)
        self.write_some(tokyo, 60)
        return tokyo

    def write_some(self, node, count):
        with Connection(node, "app/db") as handle:
            self.model.scribble(handle, count)
            handle.flush()

    def states(self, node):
        return [disk["state"] for disk in node.cli("disk", "list")["disks"]]

    def wait_for_rebuild(self, node):
        wait_until(lambda: "rebuilding" not in self.states(node), "the rebuild is complete")

    def wipe(self, path, begin=0, end=DISK):
        """As a disk that lost what it held, with its size."""
        with open(path, "r+b") as file:
            while begin < end:
                file.seek(begin)
                file.write(bytes(min(MIB, end - begin)))
                begin += MIB

    def test_every_level_holds_what_was_written_over_restarts(self):
        for level, count, losses in (("0", 2, 0), ("1", 2, 1), ("5", 3, 1), ("6", 4, 2), ("10", 4, 1)):
            with self.subTest(level=level):
                tokyo = self.raid_node(level, count)
                status = tokyo.cli("raid", "status")
                self.assertEqual((status["level"], status["health"], status["losses_left"]), (level, "optimal", losses))
                self.assertEqual(self.states(tokyo), ["in-sync"] * count)
                tokyo.kill()
                tokyo.start()
                self.assertHolds(tokyo, "app/db", self.model.snapshot())
                scrub = tokyo.cli("raid", "scrub")["scrub"]
                self.assertEqual((scrub["mismatches"], scrub["undecided"]), (0, 0))
                tokyo.stop()
                self.tearDown()
                self.setUp()

    def test_a_member_that_is_gone_is_done_without_and_replaced(self):
        tokyo = self.raid_node("5", 3)
        tokyo.stop()
        os.unlink(self.disk(1))
        tokyo.start()
        self.assertEqual(self.states(tokyo), ["in-sync", "missing", "in-sync"])
        said = tokyo.say("status")[1]
        self.assertIn("RAID group raid0 is degraded", said)
        self.assertIn("type: tidemark disk replace 1 NEW-DISK", said)
        self.assertHolds(tokyo, "app/db", self.model.snapshot())
        self.write_some(tokyo, 20)
        self.assertRefused(tokyo.refused("disk", "replace", "7", self.disk(9)), "not-found", "no member '7'")
        self.assertRefused(tokyo.refused("disk", "replace", "1", "disk9.img"), "invalid", "whole path")
        tokyo.cli("disk", "replace", "1", self.disk(9))
        # It goes on over a stop, and is done with the disk that no option names.
        tokyo.kill()
        tokyo.start()
        self.wait_for_rebuild(tokyo)
        self.assertEqual(self.states(tokyo), ["in-sync"] * 3)
        self.assertEqual(tokyo.cli("raid", "status")["health"], "optimal")
        self.assertHolds(tokyo, "app/db", self.model.snapshot())
        # Said again, it has been done. And now another one may go.
        tokyo.cli("disk", "replace", self.disk(1), self.disk(9))
        tokyo.stop()
        os.unlink(self.disk(0))
        tokyo.start()
        self.assertHolds(tokyo, "app/db", self.model.snapshot())
        self.assertEqual(tokyo.cli("journal", "verify", "app")["damages"], 0)

    def test_a_spare_takes_the_place_of_a_member_that_is_removed(self):
        tokyo = self.raid_node("6", 4)
        # What cannot be used is let go of again.
        shutil.copyfile(self.disk(0), self.disk(7))
        self.assertRefused(tokyo.refused("disk", "add", self.disk(7)), "exists", self.disk(7))
        self.assertRefused(tokyo.refused("disk", "add", "/dev/tidemark-no-such-disk"), "not-found")
        self.assertFalse(os.path.exists("/dev/tidemark-no-such-disk"))
        tokyo.cli("disk", "add", self.disk(8))
        self.assertEqual(self.states(tokyo), ["in-sync"] * 4 + ["spare"])
        with open(os.path.join(tokyo.folder, "disks"), encoding="utf-8") as listed:
            self.assertEqual(listed.read().split(), [self.disk(8)])
        tokyo.cli("disk", "remove", self.disk(2))
        wait_until(lambda: self.states(tokyo)[:4] == ["in-sync"] * 4, "the spare has been filled")
        members = {disk["member"]: disk["disk"] for disk in tokyo.cli("disk", "list")["disks"] if "member" in disk}
        self.assertEqual(members[2], self.disk(8))
        self.assertHolds(tokyo, "app/db", self.model.snapshot())

    def test_a_disk_that_was_exchanged_at_its_path_takes_the_place(self):
        tokyo = self.raid_node("1", 2)
        tokyo.cli("disk", "remove", "1")
        os.unlink(self.disk(1))
        tokyo.cli("disk", "replace", "1", self.disk(1))
        self.wait_for_rebuild(tokyo)
        self.assertEqual(self.states(tokyo), ["in-sync"] * 2)
        status, said, _ = tokyo.say("raid", "scrub", "--no-wait", "--rate", "1M")
        self.assertEqual(status, 0, said)
        tokyo.cli("raid", "scrub", "--stop")
        wait_until(lambda: not tokyo.cli("raid", "status")["scrub"]["running"], "the scrub has stopped")
        tokyo.stop()
        os.unlink(self.disk(0))
        tokyo.start()
        self.assertHolds(tokyo, "app/db", self.model.snapshot())

    def test_wrong_disks_are_told_by_name_and_harm_nothing(self):
        tokyo = self.raid_node("1", 2)
        shutil.copyfile(self.disk(1), self.disk(5))
        self.write_some(tokyo, 10)
        tokyo.stop()
        # An old copy in the place of a member is not believed; beside it, it cannot be told apart.
        os.rename(self.disk(1), self.disk(6))
        os.rename(self.disk(5), self.disk(1))
        tokyo.start()
        self.assertNotEqual(self.states(tokyo)[1], "in-sync")
        self.assertHolds(tokyo, "app/db", self.model.snapshot())
        tokyo.stop()
        # More lost than the level tolerates.
        self.wipe(self.disk(0))
        self.wipe(self.disk(1))
        tokyo.start(wait=False)
        self.assertNotEqual(tokyo.process.wait(60), 0)
        self.assertIn("none of the disks carries the label of this node's RAID group", tokyo.log())

    def test_what_a_member_lost_is_read_from_the_others(self):
        tokyo = self.raid_node("5", 3)
        with Connection(tokyo, "app/db") as handle:
            for at in range(0, SIZE, MIB):
                data = os.urandom(MIB)
                handle.pwrite(data, at)
                self.model.bytes[at:at + MIB] = data
            handle.flush()
        tokyo.stop()
        # Behind its labels a member was written over. What is read is right, and what was read is right there again.
        self.wipe(self.disk(1), 16 * MIB, 200 * MIB)
        tokyo.start()
        status, said, _ = tokyo.say("raid", "scrub", "--report-only")
        self.assertEqual(status, 1, said)
        self.assertNotIn(" 0 places did not fit", said)
        scrub = tokyo.cli("raid", "status")["scrub"]
        # Undecided may be what the node writes or frees in its journal meanwhile.
        self.assertEqual(scrub["repaired"], 0, said)
        self.assertGreater(scrub["repairable"], 0)
        self.assertHolds(tokyo, "app/db", self.model.snapshot())
        self.assertEqual(tokyo.cli("journal", "verify", "app")["damages"], 0)
        self.assertGreater(tokyo.cli("disk", "list")["disks"][1]["repaired_blocks"], 0)
        # Parity that nobody needs is not looked at by a read; a scrub makes it right. Then another member may go.
        tokyo.say("raid", "scrub")
        tokyo.cli("disk", "remove", "0")
        self.assertEqual(tokyo.cli("raid", "status")["health"], "degraded")
        self.assertHolds(tokyo, "app/db", self.model.snapshot())

    def test_a_scrub_knows_by_the_checksums_which_copy_is_right(self):
        tokyo = self.raid_node("1", 2)
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(os.urandom(8 * MIB), 0)
            handle.flush()
            # Destaged by filling the journal.
            for lap in range(100):
                handle.pwrite(bytes([lap]) * MIB, 16 * MIB)
            handle.flush()
        with Connection(tokyo, "app/db") as handle:
            before = handle.pread(8 * MIB, 0)
        places = wait_until(lambda: (found := tokyo.cli("volume", "address", "app/db", "1M"))["allocated"] and found,
                            "the blocks are destaged")["places"]
        tokyo.stop()
        # Another content on one disk, and on the other one elsewhere; nobody reads them.
        for number, place in enumerate(places):
            with open(place["disk"], "r+b") as file:
                file.seek(place["address_bytes"] + number * 16 * 4096)
                file.write(os.urandom(5 * 4096))
        tokyo.start()
        status, said, _ = tokyo.say("raid", "scrub", "--report-only")
        self.assertEqual(status, 1, said)
        self.assertIn("10 places did not fit together, 10 can be repaired (nothing was written), 0 undecided", said)
        scrub = tokyo.cli("raid", "status")["scrub"]
        self.assertEqual((scrub["repaired"], scrub["repairable"], scrub["undecided"]), (0, 10, 0))
        self.assertIn("10 places that one that repairs makes good", tokyo.say("status")[1])
        status, said, _ = tokyo.say("raid", "scrub")
        self.assertEqual(status, 1, said)
        scrub = tokyo.cli("raid", "status")["scrub"]
        self.assertEqual((scrub["mismatches"], scrub["repaired"], scrub["undecided"]), (10, 10, 0))
        scrub = tokyo.cli("raid", "scrub")["scrub"]
        self.assertEqual((scrub["mismatches"], scrub["undecided"]), (0, 0))
        with Connection(tokyo, "app/db") as handle:
            self.assertEqual(handle.pread(8 * MIB, 0), before)

    def test_the_place_of_a_byte_is_where_it_lies(self):
        tokyo = self.raid_node("10", 4)
        mark = bytes(range(256)) * 16
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(mark, 4096)
            handle.flush()
        # Destaged by filling the journal.
        with Connection(tokyo, "app/db") as handle:
            for lap in range(100):
                handle.pwrite(bytes([lap]) * MIB, 16 * MIB)
            handle.flush()
        address = wait_until(lambda: (found := tokyo.cli("volume", "address", "app/db", "4096"))["allocated"] and found,
                             "the block is destaged")
        self.assertEqual([place["kind"] for place in address["places"]], ["data", "data"])
        tokyo.stop()
        for place in address["places"]:
            with open(place["disk"], "rb") as file:
                file.seek(place["address_bytes"])
                self.assertEqual(file.read(len(mark)), mark)

    def test_bad_words_are_refused_before_anything_is_made(self):
        tokyo = self.node("tokyo", start=False)
        for options, words in ((("--raid", "7", "--disk", self.disk(0)), "one of 0, 1, 5, 6 and 10"),
                               (("--raid", "5"), "say --disk for each"),
                               (("--disk", self.disk(0), "--disk", self.disk(0)), "named twice"),
                               (("--raid", "5", "--disk", self.disk(0), "--disk", self.disk(1)), "RAID 5"),
                               (("--disk", self.disk(3), "--disk", self.disk(4)), "say --raid")):
            tokyo.options = ("--disk-size", "256M", *options)
            tokyo.start(wait=False)
            self.assertNotEqual(tokyo.process.wait(60), 0, options)
            self.assertIn(words, tokyo.log().splitlines()[-1])
        self.assertFalse(os.path.exists(self.disk(3)))


if __name__ == "__main__":
    main()
