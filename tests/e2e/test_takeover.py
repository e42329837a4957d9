#!/usr/bin/python3
"""Takeover of the secondary, the old primary that comes back, and roles that are swapped under a writing host."""

import os
import threading
import time

import nbd

from tidemark_testing import BLOCK, MIB, Connection, Model, TidemarkTest, main, wait_until


class Takeover(TidemarkTest):
    SIZE = 16 * MIB

    def status(self, node):
        return node.cli("pair", "status", "app")

    def wait_for(self, node, **wanted):
        def holds():
            status = self.status(node)
            return all(status[name] == value for name, value in wanted.items())

        wait_until(holds, f"{node.name} is {wanted}")

    def test_an_old_primary_that_wrote_on_for_too_long_is_copied_anew(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.cli("group", "create", "app", "--journal-size", "32M", "--retain", "0")
        tokyo.cli("volume", "create", "app/db", "--size", "16M")
        tokyo.cli("pair", "create", "app", "--peer", f"unix:{osaka.folder}/replication.sock", "--wait")
        tokyo.write("app/db", 0, b"b" * BLOCK)
        tokyo.mark("app", "both", "--wait", "peer")
        tokyo.kill()
        osaka.cli("pair", "takeover", "app", "--force")
        osaka.write("app/db", BLOCK, b"o" * BLOCK)
        osaka.kill()
        # Nobody tells it that it was taken over.
        tokyo.start()
        tokyo.cli("group", "serve", "app", "--alone")
        for lap in range(6):
            tokyo.write("app/db", 0, bytes([lap + 1]) * self.SIZE)
        osaka.start()
        for node in (osaka, tokyo):
            refusal = node.refused("pair", "resync", "app", "--swap")
            self.assertRefused(refusal, "refused", "--swap --give-up-window", "osaka")
            self.assertEqual(tokyo.read("app/db", 0, BLOCK), bytes([6]) * BLOCK)
        self.assertRefused(tokyo.refused("pair", "resync", "app", "--swap", "--give-up-window"), "refused", "on osaka")
        osaka.cli("pair", "resync", "app", "--swap", "--give-up-window")
        self.wait_for(osaka, role="primary", state="PAIR", link_up=True)
        osaka.mark("app", "joined", "--wait", "peer")
        self.assertEqual(tokyo.read("app/db@joined", 0, 2 * BLOCK), b"b" * BLOCK + b"o" * BLOCK)
        self.assertFalse(any(osaka.read("app/db", 2 * BLOCK, MIB)))

    def test_the_primary_is_lost_comes_back_and_follows(self):
        tokyo, osaka = self.pair("db", size="16M")
        model = Model(self.SIZE, 11)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 100)
        tokyo.mark("app", "both", "--wait", "peer")
        both = model.snapshot()
        # What tokyo takes while osaka is away is its tail.
        osaka.kill()
        self.wait_for(tokyo, link_up=False)
        tokyo.write("app/db", 0, b"t" * BLOCK)
        tokyo.mark("app", "tail")
        tail = tokyo.read("app/db", 0, self.SIZE)
        tokyo.kill()
        osaka.start()

        began = time.monotonic()
        taken = osaka.cli("pair", "takeover", "app")
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertTrue(taken["may_be_behind"])
        self.assertEqual(taken["pair"]["state"], "SSWS")
        self.assertHolds(osaka, "app/db", both)
        with Connection(osaka, "app/db") as handle:
            model.scribble(handle, 100)
        osaka.mark("app", "after")

        # Said twice it is the same takeover; on the primary it is refused.
        self.assertEqual(osaka.cli("pair", "takeover", "app")["new_epoch"], taken["new_epoch"])
        tokyo.start()
        self.wait_for(tokyo, state="SSWS")
        self.assertRefused(tokyo.refused("pair", "takeover", "app"), "refused")
        with Connection(tokyo, "app/db") as handle:
            self.assertTrue(handle.is_read_only())
            handle.set_strict_mode(0)
            with self.assertRaises(nbd.Error):
                handle.pwrite(b"x" * BLOCK, 0)
        self.assertRefused(tokyo.refused("mark", "create", "app", "late"), "read-only")
        problems = " ".join(problem["text"] for problem in tokyo.cli("status")["problems"])
        self.assertIn("has taken over", problems)
        self.assertRefused(tokyo.refused("pair", "resync", "app"), "refused")

        tokyo.cli("pair", "resync", "app", "--swap")
        self.wait_for(osaka, role="primary", state="PAIR", link_up=True)
        self.wait_for(tokyo, role="secondary", state="PAIR")
        osaka.mark("app", "joined", "--wait", "peer")
        self.assertHolds(tokyo, "app/db", model.bytes)
        self.assertHolds(tokyo, "app/db@after", model.bytes)
        # The tail is not applied and not lost: listed, viewed, compared, exported.
        held = [branch for branch in tokyo.cli("branch", "list", "app")["branches"] if branch["held"]]
        self.assertEqual(len(held), 1)
        self.assertHolds(tokyo, "app/db@tail", tail)
        runs = tokyo.cli("diff", "app/db", "--from", "both", "--to", "tail")["runs"]
        self.assertEqual([(run["offset_bytes"], run["length_bytes"]) for run in runs], [(0, BLOCK)])
        image = os.path.join(self.folder, "tail.raw")
        tokyo.cli("export", "app/db@tail", image)
        with open(image, "rb") as file:
            self.assertEqual(file.read(), tail)

        # And back, planned; both may be killed and started again.
        osaka.cli("pair", "resync", "app", "--swap")
        self.wait_for(tokyo, role="primary", state="PAIR", link_up=True)
        tokyo.kill()
        osaka.kill()
        osaka.start()
        tokyo.start()
        self.wait_for(tokyo, role="primary", state="PAIR", link_up=True)
        tokyo.write("app/db", BLOCK, b"n" * BLOCK)
        tokyo.mark("app", "back", "--wait", "peer")
        self.assertEqual(osaka.read("app/db", BLOCK, BLOCK), b"n" * BLOCK)

    def test_a_primary_that_starts_waits_for_its_peer_or_is_told_to_go_on_alone(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.mark("app", "one", "--wait", "peer")
        osaka.kill()
        tokyo.kill()
        tokyo.start()
        self.assertEqual(tokyo.cli("group", "show", "app")["state"], "waiting")
        refused = tokyo.refused("mark", "create", "app", "early")
        self.assertRefused(refused, "busy")
        self.assertRefused(tokyo.refused("group", "serve", "app"), "busy")
        tokyo.cli("group", "serve", "app", "--alone")
        tokyo.write("app/db", 0, b"a" * BLOCK)
        # It was alone before it stopped, so it need not be told again.
        tokyo.kill()
        tokyo.start()
        tokyo.write("app/db", BLOCK, b"b" * BLOCK)
        osaka.start()
        self.wait_for(tokyo, link_up=True)
        tokyo.mark("app", "two", "--wait", "peer")
        self.assertEqual(osaka.read("app/db", 0, 2 * BLOCK), b"a" * BLOCK + b"b" * BLOCK)

    def test_a_planned_swap_under_a_host_that_connects_again_loses_no_write(self):
        tokyo, osaka = self.pair("db", size="16M")
        acknowledged = {}
        total = [0]  # of acknowledged writes
        stop = threading.Event()
        failures = []

        def host():
            number = 0
            while not stop.is_set():
                for node in (tokyo, osaka):
                    try:
                        with Connection(node, "app/db") as handle:
                            while not handle.is_read_only() and not stop.is_set():
                                place = number % 1000
                                handle.pwrite(number.to_bytes(8, "little") * (BLOCK // 8), place * BLOCK)
                                acknowledged[place] = number
                                number += 1
                                total[0] = number
                    except nbd.Error as error:
                        # Cut off or not taken yet: the write was not acknowledged, the next one asks anew.
                        if "read-only" in str(error):
                            failures.append(str(error))
                stop.wait(0.01)  # before it connects again

        thread = threading.Thread(target=host)
        thread.start()
        try:
            primary, secondary = tokyo, osaka
            for _ in range(4):
                before = total[0]
                wait_until(lambda: total[0] > before + 100, f"the host writes to {primary.name}")
                primary.cli("pair", "resync", "app", "--swap")
                self.wait_for(secondary, role="primary", state="PAIR", link_up=True)
                primary, secondary = secondary, primary
        finally:
            stop.set()
            thread.join()
        self.assertEqual(failures, [])
        primary.mark("app", "end", "--wait", "peer")
        for node in (primary, secondary):
            content = node.read("app/db", 0, 1000 * BLOCK)
            for place, number in acknowledged.items():
                found = int.from_bytes(content[place * BLOCK : place * BLOCK + 8], "little")
                # A write that was cut off may have come in after the last acknowledged one.
                self.assertIn(found, (number, number + 1000), f"block {place} on {node.name}")


if __name__ == "__main__":
    main()
