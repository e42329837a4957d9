#!/usr/bin/python3
"""The primary restored from its secondary's history, and a new node in the place of one that is lost."""

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main, wait_until


class RestoreFromPeer(TidemarkTest):
    SIZE = 64 * MIB

    def test_a_point_that_only_the_secondary_has(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="64M", options=("--journal-size", "96M"))
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.wait_for_state(tokyo, "PAIR")
        model = Model(self.SIZE, 31)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 200)
        tokyo.mark("app", "good", "--wait", "peer")
        good = model.snapshot()
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 200)
        bad = model.snapshot()
        # The primary keeps nothing of its past, once its journal is half full. The other node gives up nothing before
        # three quarters of its own are full.
        tokyo.cli("group", "set", "app", "--retain", "0")
        model.bytes[32 * MIB:36 * MIB] = b"x" * (4 * MIB)
        with Connection(tokyo, "app/db") as handle:
            while (journal := tokyo.cli("group", "show", "app")["journal"])["used_bytes"] < 0.55 * journal["capacity_bytes"]:
                handle.pwrite(b"x" * (4 * MIB), 32 * MIB)
                handle.flush()
                if not tokyo.cli("mark", "show", "app", "good")["restorable"]:
                    break
        wait_until(lambda: not tokyo.cli("mark", "show", "app", "good")["restorable"], "the mark expires on tokyo")
        bad = model.snapshot()
        tokyo.mark("app", "bad", "--wait", "peer")
        plan = tokyo.cli("restore", "app", "--to", "good", "--dry-run")
        self.assertTrue(plan["from_peer"])
        moved = plan["volumes"][0]["bytes_differing"]
        self.assertGreater(moved, 0)
        self.assertLess(moved, self.SIZE)
        done = tokyo.cli("restore", "app", "--to", "good")
        self.assertTrue(done["from_peer"])
        self.assertHolds(tokyo, "app/db", good)
        tokyo.mark("app", "again", "--wait", "peer")
        self.assertHolds(osaka, "app/db", good)
        # Undone like any other; and refused by name when nobody has the point.
        tokyo.cli("restore", "app", "--to", f"log:{done['from']['log_id']}")
        self.assertHolds(tokyo, "app/db", bad)
        self.assertRefused(tokyo.refused("restore", "app", "--to", "nonsense"), "not-found")

    def test_a_new_node_takes_the_place_of_a_primary_that_is_lost(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "one", "--wait", "peer")
        tokyo.kill()
        self.wait_for_link(osaka, False)
        osaka.cli("pair", "takeover", "app")
        osaka.cli("pair", "delete", "app")
        nara = self.node("nara")
        osaka.cli("pair", "create", "app", "--peer", f"unix:{nara.folder}/replication.sock")
        self.wait_for_state(osaka, "PAIR")
        osaka.cli("pair", "resync", "app", "--swap")
        wait_until(lambda: nara.cli("pair", "status", "app")["role"] == "primary", "nara is the primary")
        nara.write("app/db", BLOCK, b"2" * BLOCK)
        nara.mark("app", "two", "--wait", "peer")
        self.assertEqual(osaka.read("app/db", 0, 2 * BLOCK), b"1" * BLOCK + b"2" * BLOCK)
        self.assertEqual(osaka.read("app/db@one", 0, 1), b"1")


if __name__ == "__main__":
    main()
