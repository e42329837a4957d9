#!/usr/bin/python3
"""Synchronous pairs with real hosts: what was flushed is on the secondary, and what happens when that is lost."""

import os
import signal
import threading
import time

import nbd

from tidemark_testing import BLOCK, Connection, TidemarkTest, main, wait_until


class Sync(TidemarkTest):
    def sync_pair(self, *options):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.cli("pair", "set", "app", "--mode", "sync", *options)
        self.wait_in_sync(tokyo, osaka)
        return tokyo, osaka

    def status(self, node):
        return node.cli("pair", "status", "app")

    def wait_in_sync(self, *nodes):
        wait_until(lambda: all(self.status(node).get("in_sync") for node in nodes), "the pair is in sync")

    def test_what_was_flushed_is_there_after_the_primary_was_killed_and_the_takeover_says_so(self):
        tokyo, osaka = self.sync_pair("--on-peer-loss", "wait")
        flushed = {}
        stop = threading.Event()

        def host():
            number = 0
            with Connection(tokyo, "app/db") as handle:
                while not stop.is_set():
                    place = number % 500
                    number += 1
                    try:
                        handle.pwrite(number.to_bytes(8, "little") * (BLOCK // 8), place * BLOCK)
                        handle.flush()
                    except nbd.Error:
                        return
                    flushed[place] = number

        thread = threading.Thread(target=host)
        thread.start()
        wait_until(lambda: len(flushed) > 100, "the host writes")
        tokyo.kill()
        stop.set()
        thread.join()
        wait_until(lambda: not self.status(osaka)["link_up"], "the link is down")
        taken = osaka.cli("pair", "takeover", "app")
        self.assertFalse(taken["may_be_behind"])
        data = osaka.read("app/db", 0, 500 * BLOCK)
        for place, number in flushed.items():
            found = int.from_bytes(data[place * BLOCK : place * BLOCK + 8], "little")
            self.assertGreaterEqual(found, number, f"block {place}")
        # The old primary follows, and the mode went over with the roles.
        tokyo.start()
        osaka.cli("pair", "resync", "app", "--swap")
        self.wait_in_sync(tokyo, osaka)
        self.assertEqual(self.status(osaka)["role"], "primary")
        self.assertEqual(self.status(osaka)["on_peer_loss"], "wait")

    def test_a_secondary_that_hangs_is_gone_on_without_and_comes_back_by_itself(self):
        tokyo, osaka = self.sync_pair("--peer-loss-after", "2s")
        os.kill(osaka.process.pid, signal.SIGSTOP)
        try:
            with Connection(tokyo, "app/db") as handle:
                handle.pwrite(b"a" * BLOCK, 0)
                began = time.monotonic()
                handle.flush()
                self.assertGreater(time.monotonic() - began, 1.0)
                # No other request waits for it.
                began = time.monotonic()
                for place in range(20):
                    handle.pwrite(b"b" * BLOCK, place * BLOCK)
                    handle.flush()
                self.assertLess(time.monotonic() - began, 1.9)
            self.assertFalse(self.status(tokyo)["in_sync"])
            problems = " ".join(problem["text"] for problem in tokyo.cli("status")["problems"])
            self.assertIn("goes on as asynchronous", problems)
            self.assertIn("pair-not-in-sync", tokyo.log(400))
        finally:
            os.kill(osaka.process.pid, signal.SIGCONT)
        self.wait_in_sync(tokyo, osaka)
        self.assertHolds(osaka, "app/db", b"b" * (20 * BLOCK) + tokyo.read("app/db", 20 * BLOCK))

    def test_fail_gives_the_host_an_error_and_wait_ends_with_the_node(self):
        tokyo, osaka = self.sync_pair("--on-peer-loss", "fail", "--peer-loss-after", "1s")
        osaka.kill()
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(b"a" * BLOCK, 0)
            with self.assertRaises(nbd.Error) as refused:
                handle.flush()
            self.assertIn("Input/output error", str(refused.exception))
        self.assertEqual(self.status(tokyo)["on_peer_loss"], "fail")
        tokyo.cli("pair", "set", "app", "--on-peer-loss", "wait")
        ended = threading.Event()

        def host():
            handle = tokyo.connect("app/db")
            try:
                handle.pwrite(b"c" * BLOCK, 0)
                handle.flush()
            except nbd.Error:
                ended.set()

        thread = threading.Thread(target=host)
        thread.start()
        wait_until(lambda: self.status(tokyo)["flushes_waiting"] > 0, "a FLUSH waits")
        began = time.monotonic()
        tokyo.stop()
        self.assertLess(time.monotonic() - began, 10)
        thread.join()
        self.assertTrue(ended.is_set())
        osaka.start()
        tokyo.start()
        # In sync it is as soon as both are there: nothing that was flushed was ever missing. The rest comes after.
        tokyo.mark("app", "after", "--wait", "peer")
        self.assertEqual(osaka.read("app/db", 0, BLOCK), b"c" * BLOCK)


if __name__ == "__main__":
    main()
