#!/usr/bin/python3
"""A journal on several log volumes: added when it is full, removed when nothing on them is needed any more."""

import os

from tidemark_testing import MIB, Connection, Model, TidemarkTest, main, wait_until

SIZE = 32 * MIB


class LogVolumes(TidemarkTest):
    def new_node(self):
        tokyo = self.node("tokyo", start=False)
        tokyo.options = ("--disk-size", "512M", "--cache-size", "16M")
        tokyo.start()
        tokyo.cli("raid", "create", "backup", "--level", "0", "--disk", os.path.join(self.folder, "b0.img"))
        return tokyo

    def volumes(self, node):
        return {one["lu_number"]: one for one in node.cli("journal", "status", "app")["log_volumes"]}

    def rows(self, node, table):
        reply = node.cli("table", table)
        return [dict(zip(reply["columns"], row)) for row in reply["rows"]]

    def write_mib(self, node, count, value):
        with Connection(node, "app/db") as handle:
            for i in range(count):
                handle.pwrite(bytes([value]) * MIB, i % (SIZE // MIB) * MIB)
            handle.flush()

    def test_a_full_journal_has_room_again_on_one_that_is_added(self):
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M",
                     options=("--journal-size", "32M", "--retain", "1h", "--on-full", "stop-writes"))
        with Connection(tokyo, "app/db") as handle:
            written = 0
            while True:
                try:
                    handle.pwrite(bytes([written % 250 + 1]) * MIB, written % (SIZE // MIB) * MIB)
                    written += 1
                except Exception as error:
                    self.assertEqual(error.errnum, 28, "no space left on device")
                    break
            self.assertLess(written, 40)
        tokyo.cli("mark", "create", "app", "full")
        [first] = self.volumes(tokyo)
        shown = tokyo.cli("journal", "add-volume", "app", "--size", "64M", "--raid", "backup")
        self.assertEqual([one["raid"] for one in shown["log_volumes"]], ["disk", "backup"])
        [added] = set(self.volumes(tokyo)) - {first}
        self.write_mib(tokyo, 30, 251)
        volumes = self.volumes(tokyo)
        self.assertGreater(volumes[added]["used_bytes"], 20 * MIB)
        self.assertEqual(volumes[added]["last"], tokyo.cli("journal", "status", "app")["head"]["log_id"])
        self.assertRegex(tokyo.say("journal", "status", "app")[1], rf"(?m)^ *{added} +backup +64.* open$")
        wait_until(lambda: {row["lu_number"]: row["state"] for row in self.rows(tokyo, "log_volume_group")}
                   == {first: "open", added: "open"}, "both are in the table")
        self.assertEqual({row["lu_number"]: row["raid_group"] for row in self.rows(tokyo, "raid_address")
                          if row["lu_number"] in (first, added)}, {first: "", added: "backup"})
        self.assertTrue(tokyo.cli("table", "check")["good"])
        for number, code, words in ((added, "no-space", "no free space"), (77, "not-found", "no further log volume 77"),
                                    (first, "refused", "is the first of group 'app'")):
            self.assertRefused(tokyo.refused("journal", "remove-volume", "app", number), code, words)
        tokyo.kill()
        tokyo.start()
        self.assertEqual(set(self.volumes(tokyo)), {first, added})
        with Connection(tokyo, "app/db") as handle:
            self.assertEqual(set(handle.pread(MIB, 0)), {251})
        with Connection(tokyo, "app/db@full") as handle:
            self.assertNotEqual(set(handle.pread(MIB, 0)), {251})
        self.assertEqual(tokyo.cli("journal", "verify", "app")["damages"], 0)
        # Without the RAID group that one of them lies on, the group is not served and says why.
        tokyo.stop()
        os.rename(os.path.join(self.folder, "b0.img"), os.path.join(self.folder, "b0.away"))
        tokyo.start()
        self.assertEqual(tokyo.cli("group", "list")["groups"], [])
        problems = [problem["text"] for problem in tokyo.cli("status")["problems"]]
        self.assertTrue(any(f"log volume {added} is not here" in text for text in problems), problems)
        tokyo.stop()
        os.rename(os.path.join(self.folder, "b0.away"), os.path.join(self.folder, "b0.img"))
        tokyo.start()
        with Connection(tokyo, "app/db") as handle:
            self.assertEqual(set(handle.pread(MIB, 0)), {251})

    def test_one_that_is_removed_goes_when_the_window_has_left_it(self):
        tokyo = self.new_node()
        tokyo.create("app", "db", size="32M", options=("--journal-size", "32M", "--retain", "1h"))
        tokyo.cli("journal", "add-volume", "app", "--size", "32M")
        first, added = sorted(self.volumes(tokyo))
        model = Model(SIZE, 4)
        turns = 0
        while self.volumes(tokyo)[added]["used_bytes"] < 4 * MIB:
            with Connection(tokyo, "app/db") as handle:
                model.scribble(handle, 40)
                handle.flush()
            turns += 1
            self.assertLess(turns, 200)
        tokyo.cli("mark", "create", "app", "there")
        self.assertTrue(tokyo.cli("journal", "remove-volume", "app", str(added))["log_volumes"][1]["leaving"])
        tokyo.cli("journal", "remove-volume", "app", str(added))
        self.assertRegex(tokyo.say("journal", "status", "app")[1], rf"(?m)^ *{added} .* leaving$")
        tokyo.kill()
        tokyo.start()
        self.assertTrue(self.volumes(tokyo)[added]["leaving"])
        self.assertHolds(tokyo, "app/db@there", model.snapshot())
        tokyo.cli("group", "set", "app", "--retain", "1s")
        wait_until(lambda: set(self.volumes(tokyo)) == {first}, "it is gone", 60)
        self.assertHolds(tokyo, "app/db", model.snapshot())
        self.assertIn("log-volume-removed", tokyo.log())
        tokyo.kill()
        tokyo.start()
        self.assertEqual(set(self.volumes(tokyo)), {first})
        self.assertHolds(tokyo, "app/db", model.snapshot())
        wait_until(lambda: [row["lu_number"] for row in self.rows(tokyo, "log_volume_group")] == [first],
                   "the table follows")


if __name__ == "__main__":
    main()
