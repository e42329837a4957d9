#!/usr/bin/python3
"""The management tables, through the command line and with plain sqlite3 while the node runs."""

import json
import os
import sqlite3

from tidemark_testing import BLOCK, MIB, TidemarkTest, main, wait_until


class Tables(TidemarkTest):
    def rows(self, node, table, *options):
        answer = node.cli("table", table, *options)
        return [dict(zip(answer["columns"], row)) for row in answer["rows"]]

    def when(self, node, table, condition):
        """The rows as soon as the condition holds: the catalogue follows shortly after."""
        return wait_until(lambda: condition(rows := self.rows(node, table)) and rows, f"{table} says so")

    def test_a_volume_can_be_followed_from_its_export_to_the_disk(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M", options=("--retain", "0", "--journal-size", "64M"))
        volumes = self.when(tokyo, "volume", lambda rows: len(rows) >= 2)
        unit = [row for row in volumes if row["volume"] == "db"][0]
        self.assertEqual((unit["kind"], unit["group_name"], unit["size_bytes"]), ("data", "app", 16 * MIB))
        self.assertEqual([row["kind"] for row in volumes if row["lu_number"] != unit["lu_number"]], ["log"])
        device = self.when(tokyo, "device_address", lambda rows: rows)[0]
        self.assertEqual((device["export"], device["lu_number"]), ("app/db", unit["lu_number"]))
        self.assertEqual(sum(row["length_bytes"] for row in self.rows(tokyo, "device_address")), 16 * MIB)
        for _ in range(6):  # more than the journal holds: the oldest of it must go to the base
            tokyo.write("app/db", 0, b"x" * (16 * MIB))
        pieces = self.when(tokyo, "raid_address", lambda rows: any(row["lu_number"] == unit["lu_number"] for row in rows))
        self.assertTrue(all(row["disk_address_bytes"] >= 0 and row["disk"] for row in pieces))

    def test_log_ids_and_marks_are_found_by_id_and_by_time(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        marks = []
        for number in range(3):
            tokyo.write("app/db", number * BLOCK, b"x" * BLOCK)
            marks.append(tokyo.mark("app", f"m{number}"))
        rows = self.when(tokyo, "mark_id", lambda rows: len(rows) == 3)
        self.assertEqual([(row["mark_id"], row["log_id"], row["timer"]) for row in rows],
                         [(mark["id"], mark["log_id"], mark["timer"]["time"]) for mark in marks])
        for mark in marks:
            found = self.rows(tokyo, "log_id", "--group", "app", "--id", mark["log_id"])
            self.assertEqual(len(found), 1, mark)
            found = self.rows(tokyo, "log_id", "--group", "app", "--time", mark["timer"]["time"])
            self.assertEqual(len(found), 1, mark)
        self.assertTrue(self.rows(tokyo, "log_volume_group"))

    def test_what_is_gone_leaves_no_rows(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M", options=("--journal-size", "32M", "--retain", "0"))
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "m")
        tokyo.write("app/db", 0, b"2" * BLOCK)
        tokyo.cli("restore", "app", "--to", "m")
        self.when(tokyo, "log_id", lambda rows: {row["first_log_id"].split(".")[0] for row in rows} > {"1"})
        for _ in range(8):
            tokyo.write("app/db", 0, b"x" * (8 * MIB))
        # The first epoch has passed out of the window, and its rows with it; the last step may have taken all.
        wait_until(lambda: all(row["first_log_id"].split(".")[0] != "1" for row in self.rows(tokyo, "log_id")),
                   "the first epoch is gone")
        tokyo.write("app/db", 0, b"3" * BLOCK)
        self.when(tokyo, "log_id", lambda rows: rows and all(row["first_log_id"].split(".")[0] != "1" for row in rows))
        self.assertTrue(tokyo.cli("table", "check")["good"])
        tokyo.cli("group", "delete", "app", "--force")
        for table in ("log_id", "mark_id", "volume", "log_volume_group", "raid_address", "device_address"):
            wait_until(lambda: not self.rows(tokyo, table), f"{table} is empty")

    def test_rows_that_somebody_changed_are_found_and_written_again(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        for number in range(5):
            tokyo.write("app/db", number * BLOCK, b"x" * BLOCK)
            tokyo.mark("app", f"m{number}")
        status, out, _ = tokyo.say("table", "check")
        self.assertEqual(status, 0, out)
        self.assertIn("every table is as the journal and the disks say", out)
        good = self.rows(tokyo, "log_id")
        with sqlite3.connect(os.path.join(tokyo.folder, "catalogue.sqlite")) as table:
            table.execute("UPDATE log_id SET first_timer_ns = first_timer_ns + 1 WHERE last_sequence = ?",
                          (int(good[2]["last_log_id"].split(".")[1]),))
            table.execute("DELETE FROM log_id WHERE last_sequence = ?", (int(good[3]["last_log_id"].split(".")[1]),))
            table.execute("INSERT INTO log_id (group_name, epoch, first_sequence, last_sequence, first_timer_ns, "
                          "last_timer_ns) VALUES ('app', 99, 1, 2, 3, 4)")
        status, out, _ = tokyo.try_cli("table", "check")
        self.assertEqual(status, 1, out)
        found = {check["name"]: (check["missing"], check["foreign"]) for check in json.loads(out)["tables"]}
        self.assertEqual(found.pop("log_id"), (2, 2))
        self.assertEqual(set(found.values()), {(0, 0)})
        self.assertEqual(self.rows(tokyo, "log_id"), good)
        self.assertTrue(tokyo.cli("table", "check")["good"])

    def test_both_sides_of_a_pair_agree_on_the_pair_table(self):
        tokyo, osaka = self.pair("db", size="16M")
        here = self.when(tokyo, "pair", lambda rows: rows and rows[0]["state"] == "PAIR" and rows[0]["secondary_lu"])
        there = self.when(osaka, "pair", lambda rows: rows and rows[0]["state"] == "PAIR")
        for row in here + there:
            row.pop("role"), row.pop("peer_address")
        self.assertEqual(here, there)
        tokyo.mark("app", "m", "--wait", "peer")
        self.when(osaka, "mark_id", lambda rows: [row["mark_id"] for row in rows] == ["m"])

    def test_plain_sqlite_reads_the_same(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.mark("app", "m")
        self.when(tokyo, "mark_id", lambda rows: rows)
        path = [name for name in os.listdir(tokyo.folder) if name.endswith(".sqlite")][0]
        database = sqlite3.connect(f"file:{os.path.join(tokyo.folder, path)}?mode=ro", uri=True)
        self.assertEqual(database.execute("SELECT group_name, mark_id FROM mark_id").fetchall(), [("app", "m")])
        database.close()


if __name__ == "__main__":
    main()
