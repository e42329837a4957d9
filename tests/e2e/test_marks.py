#!/usr/bin/python3
"""Marks, views, restores and their undoing, on one node."""

import datetime

import nbd

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main


class Marks(TidemarkTest):
    SIZE = 16 * MIB

    def group(self):
        tokyo = self.node()
        tokyo.create("app", "db", "files", size="16M")
        return tokyo

    def scribble(self, node, db, files, count=150):
        """Writes to both volumes, taking turns."""
        with Connection(node, "app/db") as one, Connection(node, "app/files") as two:
            for _ in range(count // 10):
                db.scribble(one, 10)
                files.scribble(two, 5)

    def test_every_mark_shows_all_volumes_as_they_were(self):
        tokyo = self.group()
        db, files = Model(self.SIZE, 1), Model(self.SIZE, 2)
        kept = {}
        for number in range(5):
            self.scribble(tokyo, db, files)
            tokyo.mark("app", f"m{number}")
            kept[f"m{number}"] = (db.snapshot(), files.snapshot())
        self.scribble(tokyo, db, files)
        for mark, (db_then, files_then) in kept.items():
            self.assertHolds(tokyo, f"app/db@{mark}", db_then)
            self.assertHolds(tokyo, f"app/files@{mark}", files_then)
        self.assertHolds(tokyo, "app/db", db.bytes)

    def test_a_view_stays_while_its_volume_changes_and_cannot_be_written(self):
        tokyo = self.group()
        db, files = Model(self.SIZE, 3), Model(self.SIZE, 4)
        self.scribble(tokyo, db, files)
        then = db.snapshot()
        tokyo.mark("app", "then")
        with Connection(tokyo, "app/db@then") as view:
            self.assertTrue(view.is_read_only())
            self.scribble(tokyo, db, files)
            self.assertEqual(bytes(view.pread(MIB, 0)), then[:MIB])
            view.set_strict_mode(0)
            with self.assertRaises(nbd.Error):
                view.pwrite(b"x" * BLOCK, 0)
        self.assertHolds(tokyo, "app/db@then", then)

    def test_restore_brings_back_every_byte_and_is_undone_by_another(self):
        tokyo = self.group()
        db, files = Model(self.SIZE, 5), Model(self.SIZE, 6)
        self.scribble(tokyo, db, files)
        tokyo.mark("app", "good")
        good = db.snapshot(), files.snapshot()
        self.scribble(tokyo, db, files)
        bad = db.snapshot(), files.snapshot()
        done = tokyo.cli("restore", "app", "--to", "good")
        self.assertFalse(done["dry_run"])
        self.assertHolds(tokyo, "app/db", good[0])
        self.assertHolds(tokyo, "app/files", good[1])
        tokyo.cli("restore", "app", "--to", f"log:{done['from']['log_id']}")
        self.assertHolds(tokyo, "app/db", bad[0])
        self.assertHolds(tokyo, "app/files", bad[1])
        # And writing goes on from there, on a branch of its own.
        tokyo.write("app/db", 0, b"n" * BLOCK)
        self.assertHolds(tokyo, "app/db@good", good[0])
        self.assertGreaterEqual(len(tokyo.cli("branch", "list", "app")["branches"]), 3)

    def test_restore_to_a_time_a_log_id_and_just_before_an_entry(self):
        tokyo = self.group()
        tokyo.write("app/db", 0, b"1" * BLOCK)
        first = tokyo.mark("app", "one")
        tokyo.write("app/db", 0, b"2" * BLOCK)
        second = tokyo.mark("app", "two")
        tokyo.write("app/db", 0, b"3" * BLOCK)
        entry = [entry for entry in tokyo.cli("journal", "show", "app", "--limit", "1000")["entries"]
                 if entry["kind"] == "write"][-1]["log_id"]
        self.assertEqual(tokyo.read(f"app/db@time:{first['timer']['time']}", 0, 1), b"1")
        self.assertEqual(tokyo.read(f"app/db@log:{second['log_id']}", 0, 1), b"2")
        tokyo.cli("restore", "app", "--to", f"log:{entry}", "--before")
        self.assertEqual(tokyo.read("app/db", 0, 1), b"2")
        tokyo.cli("restore", "app", "--to", f"log:{entry}")
        self.assertEqual(tokyo.read("app/db", 0, 1), b"3")
        tokyo.cli("restore", "app", "--to", f"time:{first['timer']['time']}")
        self.assertEqual(tokyo.read("app/db", 0, 1), b"1")

    def test_a_dry_run_tells_the_plan_and_changes_nothing(self):
        tokyo = self.group()
        tokyo.mark("app", "empty")
        tokyo.write("app/db", 0, b"x" * (4 * BLOCK))
        head = tokyo.head("app")
        plan = tokyo.cli("restore", "app", "--to", "empty", "--dry-run")
        self.assertTrue(plan["dry_run"])
        self.assertGreaterEqual(plan["entries_left"], 1)
        changes = {change["volume"]: change for change in plan["volumes"]}
        self.assertEqual(changes["db"]["blocks_differing"], 4)
        self.assertEqual(tokyo.head("app"), head)
        self.assertEqual(tokyo.read("app/db", 0, 1), b"x")

    def test_a_connected_writer_blocks_a_restore_unless_forced(self):
        tokyo = self.group()
        tokyo.mark("app", "empty")
        with Connection(tokyo, "app/db") as writer:
            writer.pwrite(b"x" * BLOCK, 0)
            self.assertEqual(tokyo.refused("restore", "app", "--to", "empty").status, 1)
            self.assertEqual(bytes(writer.pread(1, 0)), b"x")
            done = tokyo.cli("restore", "app", "--to", "empty", "--force")
            self.assertTrue(done["exports_closed"])
            with self.assertRaises(nbd.Error):
                writer.pwrite(b"stale", 0)
                writer.flush()
        with self.assertRaises(nbd.Error):
            tokyo.connect("app/db")
        tokyo.cli("group", "open", "app")
        self.assertHolds(tokyo, "app/db", bytes(self.SIZE))

    def test_a_writable_view_keeps_its_changes_to_itself(self):
        tokyo = self.group()
        tokyo.write("app/db", 0, b"o" * BLOCK)
        tokyo.mark("app", "m")
        with Connection(tokyo, "app/db@m+rw") as scratch:
            scratch.pwrite(b"s" * 10, 5)
            self.assertEqual(bytes(scratch.pread(20, 0)), b"o" * 5 + b"s" * 10 + b"o" * 5)
        self.assertEqual(tokyo.read("app/db@m", 0, 20), b"o" * 20)
        self.assertEqual(tokyo.read("app/db@m+rw", 0, 20), b"o" * 20)  # it ended with its last connection
        self.assertEqual(tokyo.read("app/db", 0, 20), b"o" * 20)

    def test_marks_are_listed_in_order_with_what_the_host_said(self):
        tokyo = self.group()
        before = datetime.datetime.now(datetime.timezone.utc)
        tokyo.mark("app", "one", "--note", "order 4711 saved")
        generated = tokyo.mark("app")
        self.assertTrue(generated["id"])
        marks = tokyo.cli("mark", "list", "app")["marks"]
        self.assertEqual([mark["id"] for mark in marks], ["one", generated["id"]])
        self.assertEqual(marks[0]["note"], "order 4711 saved")
        shown = tokyo.cli("mark", "show", "app", "one")
        self.assertEqual(shown["log_id"], marks[0]["log_id"])
        taken = datetime.datetime.fromtimestamp(shown["timer"]["ns"] / 1e9, datetime.timezone.utc)
        self.assertTrue(before <= taken <= datetime.datetime.now(datetime.timezone.utc), shown["timer"])

    def test_names_for_past_points_and_holds(self):
        tokyo = self.group()
        tokyo.write("app/db", 0, b"1" * BLOCK)
        point = tokyo.head("app")
        tokyo.write("app/db", 0, b"2" * BLOCK)
        tokyo.cli("mark", "name", "app", "afterwards", "--at", f"log:{point}")
        self.assertEqual(tokyo.read("app/db@afterwards", 0, 1), b"1")
        self.assertTrue(tokyo.cli("mark", "hold", "app", "afterwards")["held"])
        self.assertFalse(tokyo.cli("mark", "release", "app", "afterwards")["held"])
        tokyo.cli("mark", "delete", "app", "afterwards")
        self.assertRefused(tokyo.refused("mark", "show", "app", "afterwards"), "not-found", "afterwards")

    def test_a_restore_brings_back_the_shape_of_the_group(self):
        tokyo = self.group()
        tokyo.write("app/files", 0, b"f" * BLOCK)
        tokyo.mark("app", "two-volumes")
        tokyo.cli("volume", "delete", "app/files", "--force")
        tokyo.cli("volume", "create", "app/new", "--size", "1M")
        tokyo.cli("restore", "app", "--to", "two-volumes")
        self.assertEqual(sorted(volume["volume"] for volume in tokyo.cli("volume", "list")["volumes"]),
                         ["db", "files"])
        self.assertEqual(tokyo.read("app/files", 0, 1), b"f")


if __name__ == "__main__":
    main()
