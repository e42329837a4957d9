#!/usr/bin/python3
"""Log entries: what each says, and the data before and after it."""

import base64
import json
import os
import signal
import subprocess
import sys

from tidemark_testing import (BLOCK, MIB, PROGRAMS, ROOT, Connection, Model, TidemarkTest, damage_block,
                              first_difference, main, nbd, wait_until)

READER = os.path.join(ROOT, "examples/read_journal_export.py")


class Journal(TidemarkTest):
    def test_every_entry_has_its_id_timer_kind_and_place(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.write("app/db", 8192, b"1" * BLOCK)
        mark = tokyo.mark("app", "m", "--note", "said")
        entries = tokyo.cli("journal", "show", "app", "--limit", "1000")["entries"]
        timers = [entry["timer"] for entry in entries]
        self.assertEqual(len(set(entry["log_id"] for entry in entries)), len(entries))
        self.assertTrue(all(timers))
        write = [entry for entry in entries if entry["kind"] == "write"][-1]
        self.assertEqual((write["volume"], write["offset_bytes"], write["length_bytes"], write["mark"]),
                         ("db", 8192, BLOCK, False))
        last = entries[-1]
        self.assertEqual((last["kind"], last["mark"], last["mark_id"], last["note"], last["log_id"]),
                         ("mark", True, "m", "said", mark["log_id"]))

    def test_data_before_and_after_an_entry_can_be_asked_for(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.write("app/db", 0, b"2" * BLOCK)
        entry = [entry for entry in tokyo.cli("journal", "show", "app", "--limit", "1000")["entries"]
                 if entry["kind"] == "write"][-1]
        for side, expected in (("before", b"1"), ("after", b"2")):
            status, answer = tokyo.api("GET", f"/v1/groups/app/journal/entries/{entry['log_id']}/data?side={side}")
            self.assertEqual(status, 200, answer)
            self.assertEqual(base64.b64decode(answer["data"]), expected * BLOCK)

    def test_differences_between_points_are_told(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.mark("app", "one")
        tokyo.write("app/db", 4 * BLOCK, b"x" * (2 * BLOCK))
        tokyo.mark("app", "two")
        runs = tokyo.cli("diff", "app/db", "--from", "one", "--to", "two")["runs"]
        self.assertEqual([(run["offset_bytes"], run["length_bytes"]) for run in runs], [(4 * BLOCK, 2 * BLOCK)])
        self.assertEqual(tokyo.cli("diff", "app/db", "--from", "two", "--to", "two")["runs"], [])

    # ---- export

    def reader(self, *arguments, status=0):
        """What the reader of exports says; it has no node."""
        done = subprocess.run([sys.executable, READER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stderr

    def image(self, name, contents):
        with open(self.path(name), "wb") as file:
            file.write(contents)
        return self.path(name)

    def assertImage(self, name, contents):
        with open(self.path(name), "rb") as file:
            difference = first_difference(bytes(contents), file.read())
        self.assertIsNone(difference, f"{name}: {difference}")

    def scribbled(self, tokyo, count=150):
        """A group with random writes between marks "one" and "two"; the contents at both."""
        tokyo.create("app", "db", size="8M")
        model = Model(8 * MIB, seed=7)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 60)
            tokyo.mark("app", "one", "--note", "the first")
            one = model.snapshot()
            model.scribble(handle, count)
            tokyo.mark("app", "two")
        return one, model.snapshot()

    def test_an_export_takes_an_image_of_one_point_to_the_other_and_back(self):
        tokyo = self.node()
        one, two = self.scribbled(tokyo)
        tokyo.cli("journal", "export", "app", "--from", "one", "--to", "two", self.path("x"))
        self.assertIn("whole: ", self.reader("verify", self.path("x")))
        self.image("image", one)
        self.reader("redo", self.path("x"), "db", self.path("image"))
        self.assertImage("image", two)
        self.reader("undo", self.path("x"), "db", self.path("image"))
        self.assertImage("image", one)
        # With one side only one way is left.
        tokyo.cli("journal", "export", "app", "--from", "one", "--to", "two", "--data", "after", self.path("after"))
        self.reader("redo", self.path("after"), "db", self.path("image"))
        self.assertImage("image", two)
        self.assertIn("data before are needed", self.reader("undo", self.path("after"), "db", self.path("image"),
                                                            status=1))
        listed = self.reader("list", self.path("x"))
        self.assertRegex(listed, r"\n[0-9.]+  20\S+Z  mark  \*  two")
        self.assertRegex(listed, r"\n[0-9.]+  20\S+Z  write  -  db \d+\+\d+")

    def test_an_export_goes_on_a_branch_that_was_left(self):
        tokyo = self.node()
        one, two = self.scribbled(tokyo)
        tokyo.cli("restore", "app", "--to", "one")
        tokyo.write("app/db", 0, b"z" * BLOCK)
        tokyo.cli("journal", "export", "app", "--from", "one", "--to", "two", self.path("x"))
        self.image("image", one)
        self.reader("redo", self.path("x"), "db", self.path("image"))
        self.assertImage("image", two)
        self.assertRefused(tokyo.refused("journal", "export", "app", "--from", "two", self.path("y")), "invalid",
                           "is not on the way to")
        self.assertFalse(os.path.exists(self.path("y")))

    def test_volumes_are_told_apart_and_sizes_change(self):
        tokyo = self.node()
        tokyo.create("app", "db", "logs", size="4M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.mark("app", "one")
        tokyo.write("app/logs", 0, b"2" * BLOCK)
        tokyo.cli("volume", "resize", "app/db", "--size", "6M")
        tokyo.write("app/db", 5 * MIB, b"3" * BLOCK)
        tokyo.cli("volume", "resize", "app/db", "--size", "5M", "--shrink")
        tokyo.mark("app", "two")
        tokyo.cli("journal", "export", "app", "--from", "one", "--to", "two", "--volume", "db", self.path("x"))
        self.assertNotIn("logs", self.reader("list", self.path("x")))
        self.image("image", tokyo.read("app/db@one"))
        self.reader("redo", self.path("x"), "db", self.path("image"))
        self.assertImage("image", tokyo.read("app/db@two"))
        self.reader("undo", self.path("x"), "db", self.path("image"))
        self.assertImage("image", tokyo.read("app/db@one"))
        self.assertIn("it is none of that point", self.reader("undo", self.path("x"), "db", self.path("image"), status=1))
        self.assertIn("nothing of a volume 'logs'", self.reader("redo", self.path("x"), "logs", self.path("image"),
                                                                status=1))

    def test_an_export_that_is_cut_or_changed_is_recognised(self):
        tokyo = self.node()
        self.scribbled(tokyo, count=20)
        done = subprocess.run([f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "journal", "export", "app", "-"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        whole = done.stdout
        self.image("x", whole)
        self.reader("verify", self.path("x"))
        for cut in (10, 40, len(whole) // 2, len(whole) - 200, len(whole) - 1):
            self.image("x", whole[:cut])
            self.assertIn("cut off", self.reader("verify", self.path("x"), status=1))
        for at in (100, len(whole) // 2, len(whole) - 30):
            self.image("x", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            self.assertRegex(self.reader("verify", self.path("x"), status=1), "does not match its checksum|cut off|length")
        self.image("x", whole + b"x")
        self.assertIn("behind its end", self.reader("verify", self.path("x"), status=1))

    def test_a_file_is_not_written_over_nor_left_half(self):
        tokyo = self.node()
        self.scribbled(tokyo, count=5)
        self.image("x", b"mine")
        self.assertRefused(tokyo.refused("journal", "export", "app", self.path("x")), "exists", "--force")
        self.assertImage("x", b"mine")
        tokyo.cli("journal", "export", "app", "--force", self.path("x"))
        self.reader("verify", self.path("x"))
        # A node that dies half way.
        tokyo.process.send_signal(signal.SIGSTOP)
        client = subprocess.Popen([f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "journal", "export", "app",
                                   self.path("y")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        tokyo.kill()
        _, said = client.communicate()
        self.assertNotEqual(client.returncode, 0, said)
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("y")], [])

    # ---- verify

    def test_a_sound_group_verifies_and_its_status_says_when(self):
        tokyo = self.node()
        self.scribbled(tokyo)
        self.assertNotIn("verified", tokyo.cli("journal", "status", "app"))
        found = tokyo.cli("journal", "verify", "app")
        self.assertEqual((found["state"], found["damages"]), ("good", 0))
        self.assertGreater(found["entries"], 200)
        self.assertEqual(found["done_bytes"], found["total_bytes"])
        tokyo.stop()
        tokyo.start()
        self.assertEqual(tokyo.cli("journal", "verify", "app", "--status")["state"], "never")
        verified = tokyo.cli("journal", "status", "app")["verified"]
        self.assertEqual((verified["damages"], verified["base"], verified["last"]), (0, True, found["last"]))
        self.assertRefused(tokyo.refused("journal", "verify", "app", "--stop"), "refused", "is not being verified")

    def test_damage_is_told_exactly_and_never_served(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="8M")
        tokyo.write("app/db", 4 * BLOCK, b"here lies the damage" + b"x" * (BLOCK - 20))
        bad = tokyo.head("app")
        tokyo.mark("app", "shows-it")
        tokyo.write("app/db", 4 * BLOCK, b"y" * BLOCK)
        tokyo.mark("app", "does-not")
        damage_block(tokyo, b"here lies the damage")
        status, out, _ = tokyo.try_cli("journal", "verify", "app", "--rate", "50M")
        found = json.loads(out)
        self.assertEqual((status, found["state"], found["damages"]), (1, "damaged", 1), out)
        damage = found["damage"][0]
        self.assertEqual((damage["volume"], damage["offset_bytes"], damage["length_bytes"], damage["live"]),
                         ("db", 4 * BLOCK, BLOCK, False))
        self.assertEqual((damage["first"], damage["last"], damage["affected_from"], damage["marks"]),
                         (bad, bad, bad, ["shows-it"]))
        said = subprocess.run([f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "journal", "verify", "app"],
                              stdout=subprocess.PIPE, check=False, text=True)
        self.assertEqual(said.returncode, 1)
        self.assertIn(f"app/db {4 * BLOCK}+{BLOCK}: what log:{bad} wrote does not match its checksum", said.stdout)
        self.assertIn("(mark shows-it)", said.stdout)
        tokyo.stop()
        tokyo.start()
        self.assertEqual(tokyo.cli("journal", "status", "app")["verified"]["damages"], 1)
        self.assertTrue(any("verification" in problem["text"] for problem in tokyo.cli("status")["problems"]))
        with self.assertRaises(nbd.Error):
            tokyo.read("app/db@shows-it")
        self.assertEqual(tokyo.read("app/db@does-not", 4 * BLOCK, BLOCK), b"y" * BLOCK)
        self.assertEqual(tokyo.read("app/db", 4 * BLOCK, BLOCK), b"y" * BLOCK)
        # An export does not pass it on either.
        self.assertRefused(tokyo.refused("journal", "export", "app", self.path("x")), "damaged", "checksum")
        self.assertFalse(os.path.exists(self.path("x")))
        tokyo.cli("journal", "export", "app", "--from", "does-not", self.path("x"))

    def test_both_nodes_of_a_pair_verify_whatever_became_of_it(self):
        tokyo, osaka = self.pair("db", size="8M")
        model = Model(8 * MIB, seed=11)

        def scribble(node, count):
            with Connection(node, "app/db") as handle:
                model.scribble(handle, count)
                handle.flush()

        scribble(tokyo, 40)
        tokyo.mark("app", "one", "--wait", "peer")
        scribble(tokyo, 40)
        tokyo.cli("restore", "app", "--to", "one", "--force")
        tokyo.cli("group", "open", "app")
        scribble(tokyo, 20)
        tokyo.mark("app", "two", "--wait", "peer")
        for node in (tokyo, osaka):
            self.assertEqual(node.cli("journal", "verify", "app")["state"], "good")
        # Both go on by themselves, and one of them is chosen.
        tokyo.cli("pair", "suspend", "app")
        scribble(tokyo, 20)
        osaka.cli("restore", "app", "--to", "one")
        osaka.write("app/db", 0, b"o" * BLOCK)
        tokyo.cli("pair", "resync", "app", "--from", "primary")
        self.wait_for_state(tokyo, "PAIR")
        tokyo.mark("app", "three", "--wait", "peer")
        osaka.kill()
        osaka.start()
        for node in (tokyo, osaka):
            found = node.cli("journal", "verify", "app")
            self.assertEqual((found["state"], found["damage"]), ("good", []))

    def test_a_verification_goes_on_under_writes_and_can_be_stopped(self):
        tokyo = self.node()
        self.scribbled(tokyo)
        begun = tokyo.cli("journal", "verify", "app", "--no-wait", "--rate", "64K")
        self.assertEqual(begun["state"], "running")
        tokyo.write("app/db", 0, b"w" * BLOCK)
        self.assertEqual(tokyo.read("app/db", 0, BLOCK), b"w" * BLOCK)
        tokyo.cli("journal", "verify", "app", "--stop")
        wait_until(lambda: json.loads(tokyo.try_cli("journal", "verify", "app", "--status")[1])["state"] == "stopped",
                   "the verification has stopped")
        self.assertEqual(tokyo.cli("journal", "verify", "app")["state"], "good")


if __name__ == "__main__":
    main()
