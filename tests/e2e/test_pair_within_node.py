#!/usr/bin/python3
"""A copy of a group on the same node: kept in order, killed with it, marked, restored from, and left alone at the end."""

from tidemark_testing import MIB, Connection, Model, TidemarkTest, main, wait_until


class PairWithinNode(TidemarkTest):
    SIZE = 32 * MIB

    def caught_up(self, tokyo):
        def is_so():
            status = tokyo.cli("pair", "status", "app")
            return (status["state"], status["link_up"], status["lag_entries"]) == ("PAIR", True, 0)

        wait_until(is_so, "the copy has everything")

    def test_a_copy_on_the_same_node(self):
        tokyo = self.node("tokyo")
        tokyo.create("app", "db", size="32M")
        model = Model(self.SIZE, 5)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 100)
        status, _, err = tokyo.say("pair", "create", "app", "--peer", "self")
        self.assertEqual(status, 2)
        self.assertIn("--peer-group", err)
        tokyo.cli("pair", "create", "app", "--peer", "self", "--peer-group", "app-copy")
        self.caught_up(tokyo)
        tokyo.mark("app", "good", "--wait", "peer")
        good = model.snapshot()
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 100)
            handle.flush()
        tokyo.kill()
        tokyo.start()
        self.caught_up(tokyo)
        for name in ("app/db", "app-copy/db"):
            self.assertHolds(tokyo, name, model.snapshot())
        for name in ("app/db@good", "app-copy/db@good"):
            self.assertHolds(tokyo, name, good)
        rows = tokyo.cli("table", "pair")["rows"]
        self.assertEqual(len(rows), 2, rows)
        tokyo.cli("restore", "app", "--to", "good")
        tokyo.mark("app", "again", "--wait", "peer")
        self.assertHolds(tokyo, "app-copy/db", good)
        # The copy is a group like any other once the original has gone.
        tokyo.cli("group", "delete", "app", "--force")
        wait_until(lambda: tokyo.cli("pair", "status", "app-copy")["state"] == "SMPL", "the copy is on its own")
        tokyo.write("app-copy/db", 0, b"mine")
        tokyo.stop()
        tokyo.start()
        self.assertHolds(tokyo, "app-copy/db", b"mine" + good[4:])


if __name__ == "__main__":
    main()
