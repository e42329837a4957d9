#!/usr/bin/python3
"""A takeover rehearsed on the secondary: all volumes writable at one point, while the pair goes on."""

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main, nbd


class Rehearsal(TidemarkTest):
    SIZE = 16 * MIB

    def test_on_the_secondary_while_it_receives(self):
        tokyo, osaka = self.pair("db", "log", size="16M")
        db, log = Model(self.SIZE, 1), Model(self.SIZE, 2)
        for name, model in (("db", db), ("log", log)):
            with Connection(tokyo, f"app/{name}") as handle:
                model.scribble(handle, 50)
        tokyo.mark("app", "settled", "--wait", "peer")
        at = {"db": db.snapshot(), "log": log.snapshot()}
        status, out, _ = osaka.say("group", "rehearse", "app", "--at", "settled")
        self.assertEqual(status, 0)
        self.assertIn("app/db+rehearsal", out)
        exports = {name: bytearray(at[name]) for name in at}
        for name, content in exports.items():
            self.assertHolds(osaka, f"app/{name}+rehearsal", content)
            osaka.write(f"app/{name}+rehearsal", 5 * BLOCK + 100, name.encode() * 3000)
            content[5 * BLOCK + 100:5 * BLOCK + 100 + 3000 * len(name)] = name.encode() * 3000
        with Connection(tokyo, "app/db") as handle:
            db.scribble(handle, 50)
        tokyo.mark("app", "later", "--wait", "peer")
        for name, content in exports.items():
            self.assertHolds(osaka, f"app/{name}+rehearsal", content)
        self.assertHolds(osaka, "app/db", db.snapshot())
        with Connection(osaka, "app/log+rehearsal") as handle:
            self.assertRefused(osaka.refused("group", "rehearse", "app", "--end"), "busy", "--force")
            osaka.cli("group", "rehearse", "app", "--end", "--force")
            with self.assertRaises(nbd.Error):
                handle.pread(512, 0)
        self.assertRefused(osaka.refused("group", "rehearse", "app"), "not-found", "not being rehearsed")
        osaka.cli("group", "rehearse", "app", "--at", "head")
        self.assertHolds(osaka, "app/db+rehearsal", db.snapshot())
        self.assertEqual(osaka.cli("pair", "verify", "app")["state"], "same")


if __name__ == "__main__":
    main()
