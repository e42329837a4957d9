#!/usr/bin/python3
"""What a node finds again after an orderly stop, and after being killed."""

import os

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main


class Restart(TidemarkTest):
    def test_everything_is_there_after_sigterm(self):
        tokyo = self.node()
        tokyo.create("app", "db", "files", size="16M")
        model = Model(16 * MIB, 1)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 300)  # no flush: an orderly stop keeps acknowledged writes all the same
        then = model.snapshot()
        mark = tokyo.mark("app", "m", "--note", "kept")
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 100)
        tokyo.stop()
        tokyo.start()
        self.assertHolds(tokyo, "app/db", model.bytes)
        self.assertHolds(tokyo, "app/db@m", then)
        self.assertEqual(tokyo.cli("mark", "show", "app", "m")["log_id"], mark["log_id"])
        self.assertEqual(tokyo.cli("mark", "show", "app", "m")["note"], "kept")
        self.assertEqual(len(tokyo.cli("volume", "list")["volumes"]), 2)

    def test_what_was_flushed_is_there_after_kill(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        model = Model(16 * MIB, 2)
        for _ in range(3):
            with Connection(tokyo, "app/db") as handle:
                model.scribble(handle, 150)
                handle.flush()
            tokyo.kill()
            tokyo.start()
            self.assertHolds(tokyo, "app/db", model.bytes)

    def test_marks_and_restores_are_durable_when_they_are_answered(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="4M")
        tokyo.write("app/db", 0, b"1" * BLOCK, flush=False)
        tokyo.mark("app", "one")  # covers the write that was acknowledged before
        tokyo.kill()
        tokyo.start()
        self.assertEqual(tokyo.read("app/db@one", 0, 1), b"1")
        tokyo.write("app/db", 0, b"2" * BLOCK)
        tokyo.cli("restore", "app", "--to", "one")
        tokyo.kill()
        tokyo.start()
        self.assertEqual(tokyo.read("app/db", 0, 1), b"1")
        tokyo.cli("volume", "create", "app/new", "--size", "1M")
        tokyo.cli("group", "create", "second")
        tokyo.kill()
        tokyo.start()
        self.assertEqual(len(tokyo.cli("volume", "list")["volumes"]), 2)
        self.assertEqual(len(tokyo.cli("group", "list")["groups"]), 2)

    def test_fua_writes_are_there_after_kill(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="4M")
        import nbd
        with Connection(tokyo, "app/db") as handle:
            for block in range(50):
                handle.pwrite(bytes([block + 1]) * BLOCK, block * BLOCK, nbd.CMD_FLAG_FUA)
            tokyo.kill()
        tokyo.start()
        self.assertEqual(tokyo.read("app/db", 0, 50 * BLOCK), b"".join(bytes([n + 1]) * BLOCK for n in range(50)))

    def test_the_catalogue_is_made_again_when_it_is_lost_or_damaged(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="4M")
        tokyo.mark("app", "m")
        tokyo.stop()
        catalogues = [name for name in os.listdir(tokyo.folder) if name.endswith((".sqlite", ".db"))]
        self.assertEqual(len(catalogues), 1, os.listdir(tokyo.folder))
        path = os.path.join(tokyo.folder, catalogues[0])
        for damage in (lambda: os.unlink(path), lambda: open(path, "wb").write(b"garbage" * 1000)):
            damage()
            tokyo.start()
            rows = tokyo.cli("table", "mark_id")
            self.assertIn("m", [row[rows["columns"].index("mark_id")] for row in rows["rows"]])
            tokyo.stop()


if __name__ == "__main__":
    main()
