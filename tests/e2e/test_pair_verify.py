#!/usr/bin/python3
"""The two nodes of a pair compared while hosts write; damage on one found and repaired from the other."""

import threading

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, damage_block, main


class PairVerify(TidemarkTest):
    SIZE = 64 * MIB

    def test_a_pair_under_load_is_the_same_on_both(self):
        tokyo, osaka = self.pair("db", "log", size="64M")
        stop, model = threading.Event(), Model(self.SIZE, 11)

        def load():
            with Connection(tokyo, "app/db") as handle:
                while not stop.is_set():
                    model.scribble(handle, 20)

        writer = threading.Thread(target=load)
        writer.start()
        try:
            for node in (tokyo, osaka, tokyo):
                found = node.cli("pair", "verify", "app")
                self.assertEqual((found["state"], found["differing_bytes"]), ("same", 0))
                self.assertEqual(found["done_bytes"], 2 * self.SIZE)
        finally:
            stop.set()
            writer.join()
        self.assertEqual(tokyo.cli("pair", "status", "app")["compared"]["differing_bytes"], 0)
        status, out, _ = osaka.say("pair", "verify", "app")
        self.assertEqual(status, 0)
        self.assertIn("app: same on both nodes; compared", out)
        self.assertRefused(tokyo.refused("pair", "verify", "app", "--stop"), "refused", "is not being compared")
        self.assertRefused(osaka.refused("pair", "verify", "app", "--repair", "from-primary"), "refused", "say it on tokyo")

    def test_damage_on_the_secondary_is_found_and_repaired(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="64M")
        tokyo.write("app/db", 8 * BLOCK, (b"here lies the damage" + b"x" * (BLOCK - 20)) * 2)
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "before", "--wait", "peer")
        osaka.stop()
        damage_block(osaka, b"here lies the damage")
        osaka.start()
        self.wait_for_link(tokyo, True)
        status, out, _ = tokyo.say("pair", "verify", "app")
        self.assertEqual(status, 1)
        self.assertIn(f"db at {8 * BLOCK}, 4 KiB: cannot be read on osaka", out)
        self.assertIn("differ", tokyo.cli("status")["problems"][0]["text"])
        repaired = tokyo.cli("pair", "verify", "app", "--repair", "from-primary")
        self.assertEqual(repaired["repaired_bytes"], BLOCK)
        tokyo.mark("app", "after", "--wait", "peer")
        self.assertEqual(osaka.read("app/db", 8 * BLOCK, 20), b"here lies the damage")
        self.assertEqual(tokyo.cli("pair", "verify", "app")["state"], "same")
        # What the damage concerns before that repair stays refused there, until it is taken from the primary.
        self.assertEqual(tokyo.read("app/db@before", 8 * BLOCK, 20), b"here lies the damage")
        self.assertEqual(osaka.cli("journal", "verify", "app", "--no-base")["damages"], 0)
        status, out, _ = osaka.say("journal", "verify", "app")
        self.assertEqual(status, 1)
        self.assertIn("damaged: app/db", out)
        status, out, _ = osaka.say("journal", "verify", "app", "--repair")
        self.assertEqual(status, 0, out)
        self.assertIn("repaired: app/db", out)
        self.assertIn("app: repaired, 1 damage; looked", out)
        self.assertEqual(osaka.read("app/db@before", 8 * BLOCK, 20), b"here lies the damage")
        self.assertEqual(osaka.cli("journal", "verify", "app")["state"], "good")


if __name__ == "__main__":
    main()
