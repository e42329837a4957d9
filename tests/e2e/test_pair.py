#!/usr/bin/python3
"""A pair of nodes: initial copy, streaming, views and restores on either side, suspension and resync."""

import threading

import nbd

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main, wait_until


class Pair(TidemarkTest):
    SIZE = 16 * MIB

    def test_the_initial_copy_takes_what_was_there_and_what_is_written_meanwhile(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="64M")
        model = Model(64 * MIB, 1)
        with Connection(tokyo, "app/db") as handle:
            for offset in range(0, 48 * MIB, MIB):
                data = model.random.randbytes(MIB)
                handle.pwrite(data, offset)
                model.bytes[offset:offset + MIB] = data
            handle.flush()
            done = threading.Event()

            def write_on():
                while not done.is_set():
                    model.scribble(handle, 10)

            writer = threading.Thread(target=write_on)
            writer.start()
            try:
                tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
                self.wait_for_state(tokyo, "PAIR")
            finally:
                done.set()
                writer.join()
        tokyo.mark("app", "copied", "--wait", "peer")
        self.assertHolds(osaka, "app/db", model.bytes)
        self.assertHolds(osaka, "app/db@copied", model.bytes)
        self.assertEqual(tokyo.cli("pair", "status", "app")["role"], "primary")
        self.assertEqual(osaka.cli("pair", "status", "app")["role"], "secondary")

    def test_marks_travel_in_order_and_the_secondary_shows_them(self):
        tokyo, osaka = self.pair("db", "files", size="16M")
        db, files = Model(self.SIZE, 2), Model(self.SIZE, 3)
        kept = {}
        for number in range(4):
            with Connection(tokyo, "app/db") as one, Connection(tokyo, "app/files") as two:
                db.scribble(one, 60)
                files.scribble(two, 30)
            answer = tokyo.mark("app", f"m{number}", "--wait", "peer")
            self.assertTrue(answer["received"])
            kept[f"m{number}"] = db.snapshot(), files.snapshot()
        for mark, (db_then, files_then) in kept.items():
            self.assertHolds(osaka, f"app/db@{mark}", db_then)
            self.assertHolds(osaka, f"app/files@{mark}", files_then)
            here, there = tokyo.cli("mark", "show", "app", mark), osaka.cli("mark", "show", "app", mark)
            self.assertEqual((here["log_id"], here["timer"]), (there["log_id"], there["timer"]))

    def test_the_secondary_is_read_only_and_restores_only_when_suspended(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "one", "--wait", "peer")
        with Connection(osaka, "app/db") as handle:
            self.assertTrue(handle.is_read_only())
            handle.set_strict_mode(0)
            with self.assertRaises(nbd.Error):
                handle.pwrite(b"x" * BLOCK, 0)
        self.assertRefused(osaka.refused("restore", "app", "--to", "one"), "refused")

    def test_a_restore_is_followed_by_the_secondary(self):
        tokyo, osaka = self.pair("db", size="16M")
        model = Model(self.SIZE, 4)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 100)
        good = model.snapshot()
        tokyo.mark("app", "good")
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 100)
        bad = model.snapshot()
        left = tokyo.cli("restore", "app", "--to", "good")["from"]["log_id"]
        tokyo.mark("app", "restored", "--wait", "peer")
        self.assertHolds(osaka, "app/db", good)
        tokyo.cli("restore", "app", "--to", f"log:{left}")
        tokyo.mark("app", "undone", "--wait", "peer")
        self.assertHolds(osaka, "app/db", bad)
        self.assertHolds(osaka, "app/db@good", good)

    def test_suspended_the_secondary_restores_itself_and_resync_brings_it_back(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "one", "--wait", "peer")
        tokyo.write("app/db", 0, b"2" * BLOCK)
        tokyo.mark("app", "two", "--wait", "peer")
        tokyo.cli("pair", "suspend", "app")
        self.wait_for_state(tokyo, "PSUS")
        osaka.cli("restore", "app", "--to", "one")
        self.assertEqual(osaka.read("app/db", 0, 1), b"1")
        osaka.write("app/db", BLOCK, b"o" * BLOCK)
        tokyo.write("app/db", 0, b"3" * BLOCK)
        self.assertEqual(tokyo.read("app/db", 0, 1), b"3")
        self.assertRefused(tokyo.refused("pair", "resync", "app"), "refused")
        tokyo.cli("pair", "resync", "app", "--from", "primary")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "again", "--wait", "peer")
        self.assertHolds(osaka, "app/db", b"3" * BLOCK + bytes(self.SIZE - BLOCK))

    def test_while_suspended_the_secondary_keeps_its_moment(self):
        tokyo, osaka = self.pair("db", size="16M")
        model = Model(self.SIZE, 5)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 60)
        then = model.snapshot()
        tokyo.mark("app", "then", "--wait", "peer")
        tokyo.cli("pair", "suspend", "app")
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 200)
        self.assertHolds(osaka, "app/db", then)
        tokyo.cli("pair", "resync", "app")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "after", "--wait", "peer")
        self.assertHolds(osaka, "app/db", model.bytes)
        self.assertHolds(osaka, "app/db@then", then)

    def test_a_lost_peer_does_not_stop_the_primary_and_is_caught_up_with(self):
        tokyo, osaka = self.pair("db", size="16M")
        model = Model(self.SIZE, 6)
        for stop in (osaka.kill, osaka.stop):
            stop()
            self.wait_for_link(tokyo, False)
            with Connection(tokyo, "app/db") as handle:
                model.scribble(handle, 100)
                handle.flush()
            self.assertEqual(tokyo.cli("pair", "status", "app")["state"], "PAIR")
            osaka.start()
            self.wait_for_link(tokyo, True)
            tokyo.mark("app", None, "--wait", "peer")
            self.assertHolds(osaka, "app/db", model.bytes)

    def test_the_primary_killed_and_started_again_goes_on_with_its_peer(self):
        tokyo, osaka = self.pair("db", size="16M")
        model = Model(self.SIZE, 7)
        for _ in range(3):
            with Connection(tokyo, "app/db") as handle:
                model.scribble(handle, 100)
                handle.flush()
            tokyo.kill()
            tokyo.start()
            self.wait_for_link(tokyo, True)

            def writable():
                try:
                    with Connection(tokyo, "app/db") as handle:
                        return not handle.is_read_only()
                except nbd.Error:
                    return False

            wait_until(writable, "tokyo serves writes again")
            self.assertHolds(tokyo, "app/db", model.bytes)
        tokyo.mark("app", "end", "--wait", "peer")
        self.assertHolds(osaka, "app/db", model.bytes)

    def test_the_primary_is_gone_and_the_secondary_goes_on_in_an_epoch_of_its_own(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "one", "--wait", "peer")
        tokyo.kill()
        self.wait_for_link(osaka, False)
        osaka.cli("pair", "suspend", "app")
        osaka.cli("restore", "app", "--to", "head")
        self.assertEqual(osaka.cli("pair", "status", "app")["state"], "SSWS")
        osaka.write("app/db", BLOCK, b"2" * BLOCK)
        osaka.mark("app", "two")
        expected = b"1" * BLOCK + b"2" * BLOCK + bytes(self.SIZE - 2 * BLOCK)
        self.assertHolds(osaka, "app/db", expected)
        # Started again, osaka still serves what it took; tokyo learns that osaka went on, and takes no writes.
        osaka.kill()
        osaka.start()
        self.assertHolds(osaka, "app/db", expected)
        tokyo.start()
        self.wait_for_state(tokyo, "SSWS")
        with Connection(tokyo, "app/db") as handle:
            self.assertTrue(handle.is_read_only())
        tokyo.cli("pair", "resync", "app", "--from", "primary")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.write("app/db", 2 * BLOCK, b"3" * BLOCK)
        tokyo.mark("app", "joined", "--wait", "peer")
        joined = b"1" * BLOCK + bytes(BLOCK) + b"3" * BLOCK + bytes(self.SIZE - 3 * BLOCK)
        self.assertHolds(tokyo, "app/db", joined)
        self.assertHolds(osaka, "app/db", joined)
        # What osaka took in between is a branch there: not applied, and not lost.
        self.assertHolds(osaka, "app/db@two", expected)
        self.assertEqual(osaka.cli("pair", "status", "app")["role"], "secondary")

    def test_a_peer_that_is_away_is_behind_and_a_mark_says_that_it_waits(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.mark("app", "one", "--wait", "peer")
        osaka.kill()
        self.wait_for_link(tokyo, False)
        tokyo.write("app/db", 0, b"1" * 4 * BLOCK)
        status = tokyo.cli("pair", "status", "app")
        self.assertGreaterEqual(status["lag_entries"], 1)
        self.assertGreaterEqual(status["lag_bytes"], 4 * BLOCK)
        refusal = tokyo.refused("--timeout", "1s", "mark", "create", "app", "--wait", "peer")
        self.assertEqual((refusal.status, refusal.code), (3, "timeout"))
        last = tokyo.cli("mark", "list", "app")["marks"][-1]["id"]
        for word in (f"mark '{last}' is durable here", "has not received it", f"tidemark mark show app {last}"):
            self.assertIn(word, refusal.message)
        tokyo.cli("pair", "suspend", "app")
        suspended = tokyo.cli("pair", "status", "app")
        self.assertGreaterEqual(suspended["lag_entries"], 2)
        self.assertGreaterEqual(suspended["lag_seconds"], 1, "the mark alone waited for as long")
        refusal = tokyo.refused("group", "delete", "app")
        self.assertRefused(refusal, "refused", "a pair with osaka", "1 volume", "--force")

    def test_a_secondary_says_where_to_make_changes(self):
        tokyo, osaka = self.pair("db", size="4M")
        tokyo.mark("app", "one", "--wait", "peer")
        for command in (("volume", "create", "app/x", "--size", "1M"), ("volume", "delete", "app/db"),
                        ("journal", "start", "app"), ("mark", "hold", "app", "one"),
                        ("mark", "release", "app", "one")):
            self.assertRefused(osaka.refused(*command), "refused", "say it on the primary, tokyo")

    def test_what_cannot_be_paired(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="4M")
        refusal = tokyo.refused("pair", "create", "app", "--peer", "nonsense")
        self.assertIn(refusal.code, ("invalid", ""))
        self.assertEqual(tokyo.refused("pair", "create", "nope", "--peer", f"unix:{osaka.folder}/replication.sock").code,
                         "not-found")
        self.assertEqual(tokyo.refused("pair", "suspend", "app").status, 1)
        for service in ("nbd", "control"):
            refusal = tokyo.refused("pair", "create", "app", "--peer", f"unix:{osaka.folder}/{service}.sock")
            self.assertIn("no tidemarkd replication service answers there", refusal.message)
            self.assertIn(f"{service}.sock", refusal.message)
        osaka.create("app", "other", size="4M")
        refusal = tokyo.refused("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock")
        self.assertEqual(refusal.status, 1)
        self.assertEqual([volume["volume"] for volume in osaka.cli("volume", "list")["volumes"]], ["other"])


if __name__ == "__main__":
    main()
