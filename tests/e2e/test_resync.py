#!/usr/bin/python3
"""A secondary that was away for longer than its primary's journal reaches back: what it could show stays, what
differs comes over, what is equal does not. And an old primary that was away for longer than the new one's does."""

from tidemark_testing import MIB, Connection, Model, TidemarkTest, main

SIZE = 64 * MIB


class Resync(TidemarkTest):
    def part(self):
        """A pair whose secondary has the mark "kept" and is down, and whose primary's journal has let go of the rest."""
        tokyo, osaka = self.pair_with_mark()
        osaka.kill()
        self.write_some(tokyo, 10)
        tokyo.mark("app", "lost")
        self.overrun(tokyo)
        self.wait_for_state(tokyo, "PSUE")
        return tokyo, osaka

    def pair_with_mark(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", "wal", size="64M", options=("--journal-size", "64M"))
        self.model = Model(SIZE, 7)
        self.write_some(tokyo, 40)
        tokyo.write("app/wal", 0, b"\xff" * 16 * MIB)
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "kept", "--wait", "peer")
        self.kept = self.model.snapshot()
        return tokyo, osaka

    def overrun(self, node):
        with Connection(node, "app/wal") as handle:
            for lap in range(120):
                handle.pwrite(bytes([lap]) * MIB, 0)
            handle.flush()

    def write_some(self, node, count):
        with Connection(node, "app/db") as handle:
            self.model.scribble(handle, count)
            handle.flush()

    def differing_bytes(self):
        """Of db, in whole blocks; and the one MiB of wal."""
        now = self.model.snapshot()
        blocks = sum(self.kept[at:at + 4096] != now[at:at + 4096] for at in range(0, SIZE, 4096))
        return blocks * 4096 + MIB

    def test_only_what_differs_comes_and_the_window_stays(self):
        tokyo, osaka = self.part()
        self.assertIn("type: tidemark pair resync app\n", tokyo.say("status")[1])
        osaka.start()
        self.assertEqual(tokyo.say("pair", "resync", "app", "--wait")[0], 0)
        (compared,) = [line for line in tokyo.log().splitlines() if "resync-compared" in line]
        self.assertIn(f"written_again_bytes={self.differing_bytes()}", compared)
        self.assertHolds(osaka, "app/db", self.model.snapshot())
        self.assertHolds(osaka, "app/db@kept", self.kept)
        lost = osaka.cli("mark", "show", "app", "lost")
        self.assertFalse(lost["restorable"])
        self.assertIn("gap", lost["not_restorable_reason"])
        self.assertTrue(tokyo.cli("mark", "list", "app")["marks"])
        # What either node can show, by one look at one of them.
        rows = [line.split() for line in tokyo.say("pair", "status", "app")[1].splitlines()]
        (here,) = [row for row in rows if row[:1] == ["here"]]
        (there,) = [row for row in rows if row[:1] == ["osaka"]]
        self.assertEqual(here[-2], "lost")
        self.assertEqual(there[-2:], here[-2:])
        _, windows = tokyo.api("GET", "/v1/groups/app/pair?peer_window=true")
        self.assertEqual(windows["peer_window"]["floor"]["log_id"], osaka.cli("journal", "status", "app")["floor"]["log_id"])
        self.assertEqual(osaka.cli("pair", "status", "app")["peer_window"]["newest"]["log_id"], tokyo.head("app"))
        # New marks, and what is written from here on, as ever; and all of it is the same on both.
        self.write_some(tokyo, 5)
        tokyo.mark("app", "after", "--wait", "peer")
        self.assertHolds(osaka, "app/db@after", self.model.snapshot())
        self.assertEqual(tokyo.cli("pair", "verify", "app")["state"], "same")
        self.assertEqual(osaka.cli("journal", "verify", "app")["damages"], 0)
        # Over a restart as well, and through a takeover.
        osaka.stop()
        osaka.start()
        self.wait_for_link(tokyo, True)
        self.assertHolds(osaka, "app/db@kept", self.kept)
        tokyo.kill()
        self.wait_for_link(osaka, False)
        osaka.cli("pair", "takeover", "app")
        self.assertHolds(osaka, "app/db", self.model.snapshot())
        osaka.cli("restore", "app", "--to", "kept")
        self.assertHolds(osaka, "app/db", self.kept)

    def test_after_a_takeover_that_lasted_longer_than_the_journal_the_old_primary_follows(self):
        tokyo, osaka = self.pair_with_mark()
        with Connection(tokyo, "app/db") as handle:
            osaka.kill()
            handle.pwrite(b"\x54" * 4096, 0)
            handle.flush()
        tokyo.mark("app", "tail")
        tokyo.kill()
        osaka.start()
        osaka.cli("pair", "takeover", "app")
        self.write_some(osaka, 10)
        # Its hosts are served for as long as it takes.
        self.overrun(osaka)
        self.write_some(osaka, 10)
        status = osaka.cli("pair", "status", "app")
        self.assertEqual(status["state"], "SSWS")
        self.assertIn("tokyo can follow behind a gap only", status["state_reason"])
        tokyo.start()
        self.wait_for_state(tokyo, "SSWS")
        tokyo.cli("pair", "resync", "app", "--swap")
        self.wait_for_state(osaka, "PAIR")
        self.assertEqual(osaka.cli("pair", "verify", "app")["state"], "same")
        self.assertHolds(tokyo, "app/db", self.model.snapshot())
        self.assertHolds(tokyo, "app/db@kept", self.kept)
        self.assertHolds(tokyo, "app/db@tail", b"\x54" * 4096 + self.kept[4096:])
        self.assertEqual([branch["held"] for branch in tokyo.cli("branch", "list", "app")["branches"]].count(True), 1)


if __name__ == "__main__":
    main()
