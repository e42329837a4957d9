#!/usr/bin/python3
"""The log that is started with the duplex suspended, and marks given straight to the secondary."""

import json

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main, wait_until


class LogAndMarks(TidemarkTest):
    SIZE = 16 * MIB

    def test_the_log_is_started_and_the_duplex_suspended_in_one_act(self):
        tokyo, osaka = self.pair("db", size="16M")
        for node in (tokyo, osaka):
            node.cli("group", "set", "app", "--retain", "0")
        model = Model(self.SIZE, 21)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 50)
        base = model.snapshot()
        started = tokyo.cli("journal", "start", "app")
        since = started["log_started"]
        self.assertFalse(started["log_kept_here"])
        self.assertTrue(osaka.cli("journal", "status", "app")["log_kept_here"])
        for node in (tokyo, osaka):
            status = node.cli("pair", "status", "app")
            self.assertEqual(status["state"], "PAIR")
            self.assertEqual(status["duplex_suspended_since"], since)
        marks = {}
        for number in range(4):
            with Connection(tokyo, "app/db") as handle:
                model.scribble(handle, 200)
            marks[f"m{number}"] = model.snapshot()
            made = tokyo.mark("app", f"m{number}", "--wait", "peer")
            self.assertEqual(made["logged_on"], "osaka")
            self.assertEqual([volume["volume"] for volume in made["logged_volumes"]], ["db"])
        osaka.kill()
        osaka.start()
        self.wait_for_link(tokyo, True)
        # With no retention at all, everything since the start is there, and the copy as it was then.
        self.assertHolds(osaka, f"app/db@log:{since}", base)
        for mark, content in marks.items():
            self.assertHolds(osaka, f"app/db@{mark}", content)
        self.assertIn("log", [pin["kind"] for pin in osaka.cli("journal", "status", "app")["pins"]])
        self.assertRefused(osaka.refused("journal", "stop", "app"), "refused", "say it on the primary, tokyo")
        tokyo.cli("journal", "stop", "app")
        tokyo.mark("app", "end", "--wait", "peer")
        self.assertNotIn("log", [pin["kind"] for pin in osaka.cli("journal", "status", "app")["pins"]])
        self.assertIsNone(tokyo.cli("pair", "status", "app").get("duplex_suspended_since"))

    def test_a_node_alone_keeps_its_log(self):
        tokyo = self.node("tokyo")
        tokyo.create("app", "db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        started = tokyo.cli("journal", "start", "app")
        self.assertTrue(started["log_kept_here"])
        tokyo.write("app/db", 0, b"2" * BLOCK)
        tokyo.kill()
        tokyo.start()
        self.assertEqual(tokyo.read(f"app/db@log:{started['log_started']}", 0, 1), b"1")
        self.assertEqual(tokyo.cli("journal", "start", "app")["log_started"], started["log_started"])
        tokyo.cli("journal", "stop", "app")
        self.assertIsNone(tokyo.cli("journal", "status", "app").get("log_started"))

    def test_a_mark_straight_to_the_secondary(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        made = osaka.mark("app", "up")
        self.assertFalse(made["provisional"])
        self.assertEqual(tokyo.cli("mark", "show", "app", "up")["log_id"], made["log_id"])
        self.assertEqual(osaka.read("app/db@up", 0, 1), b"1")
        # The primary is gone: the mark names what is held, and is known there when it is back.
        tokyo.kill()
        self.wait_for_link(osaka, False)
        taken = osaka.mark("app", "down")
        self.assertTrue(taken["provisional"])
        self.assertEqual(osaka.read("app/db@down", 0, 1), b"1")
        osaka.kill()
        osaka.start()
        self.assertTrue(osaka.cli("mark", "show", "app", "down")["provisional"])
        tokyo.start()

        def known():
            listed = {mark["id"]: mark for mark in tokyo.cli("mark", "list", "app")["marks"]}
            there = osaka.cli("mark", "show", "app", "down")
            return "down" in listed and listed["down"]["log_id"] == there["log_id"] and not there["provisional"]

        wait_until(known, "tokyo knows the mark")
        rows = tokyo.cli("table", "mark_id")
        self.assertIn("down", json.dumps(rows))


if __name__ == "__main__":
    main()
