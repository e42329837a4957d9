#!/usr/bin/python3
"""Commands on a pair that go on for a while: `pair status --watch`, and `--wait` with its progress."""

import os
import pty
import re
import signal
import subprocess

from tidemark_testing import (BLOCK, COMMAND_SECONDS_MAX, MIB, PROGRAMS, Connection, TidemarkTest, main,
                              wait_until)


def read_all(descriptor):
    """What comes from a terminal until its last writer has gone."""
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux says EIO at the end of a terminal
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(descriptor)
    return b"".join(pieces).decode(errors="replace")


class Watch(TidemarkTest):
    def command(self, node, *arguments, **streams):
        return subprocess.Popen([f"{PROGRAMS}/tidemark", "--node", node.folder, *arguments], stdin=subprocess.DEVNULL,
                                **streams)

    def test_a_watch_shows_block_after_block_and_ends_in_order_when_interrupted(self):
        tokyo, osaka = self.pair("db", size="16M")
        out = self.path("watch.out")
        with open(out, "wb") as file:
            watching = self.command(tokyo, "pair", "status", "app", "--watch", "--interval", "200ms", stdout=file,
                                    stderr=subprocess.DEVNULL)

        def blocks():
            with open(out, encoding="utf-8") as file:
                return file.read().split("\n\n")

        wait_until(lambda: len(blocks()) >= 3, "three blocks")
        # It stays while the node is away, and goes on when it is back.
        tokyo.stop()
        osaka.stop()
        self.assertIsNone(watching.poll())
        osaka.start()
        tokyo.start()
        seen = len(blocks())
        wait_until(lambda: len(blocks()) > seen + 1, "it goes on")
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(COMMAND_SECONDS_MAX), 0)
        for block in blocks():
            self.assertRegex(block, r"state: +PAIR")
            self.assertNotIn("\033", block)

    def test_on_a_terminal_a_watch_is_in_place(self):
        tokyo, _ = self.pair("db", size="16M")
        master, slave = pty.openpty()
        watching = self.command(tokyo, "pair", "status", "app", "--watch", "--interval", "100ms", stdout=slave,
                                stderr=slave)
        os.close(slave)
        seen = b""
        while seen.count(b"\033[H\033[J") < 3:
            seen += os.read(master, 65536)
        watching.send_signal(signal.SIGINT)
        rest = read_all(master)
        self.assertEqual(watching.wait(COMMAND_SECONDS_MAX), 0)
        self.assertIn("app", seen.decode(errors="replace") + rest)

    def test_a_copy_is_waited_for_with_its_progress_on_a_terminal_alone(self):
        tokyo, osaka = self.node("tokyo"), self.node("osaka")
        tokyo.create("app", "db", size="256M")
        data = os.urandom(MIB)
        with Connection(tokyo, "app/db") as handle:
            for place in range(192):
                handle.pwrite(data, place * MIB)
            handle.flush()
        master, slave = pty.openpty()
        peer = f"unix:{osaka.folder}/replication.sock"
        copying = self.command(tokyo, "pair", "create", "app", "--peer", peer, "--wait", stdout=subprocess.DEVNULL,
                               stderr=slave)
        os.close(slave)
        shown = read_all(master)
        self.assertEqual(copying.wait(COMMAND_SECONDS_MAX), 0)
        self.assertEqual(tokyo.cli("pair", "status", "app")["state"], "PAIR")
        self.assertRegex(shown, r"copying \[[#-]{24}\] +\d+%  \d+ MiB/s  [0-9:?]+ left")
        # The line is taken away at the end.
        self.assertTrue(shown.endswith("\r\033[K"), repr(shown[-40:]))
        tokyo.cli("pair", "suspend", "app")
        tokyo.write("app/db", 0, b"n" * BLOCK)
        quiet = self.command(tokyo, "pair", "resync", "app", "--wait", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        told, said = quiet.communicate(timeout=COMMAND_SECONDS_MAX)
        self.assertEqual((quiet.returncode, said), (0, b""))
        self.assertTrue(re.search(rb"state: +PAIR", told), told)
        self.assertEqual(osaka.read("app/db", 0, BLOCK), b"n" * BLOCK)

    def test_waiting_ends_with_the_reason_when_the_pair_is_suspended_and_when_interrupted(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.cli("pair", "suspend", "app")
        tokyo.write("app/db", 0, b"n" * BLOCK)
        tokyo.cli("pair", "resync", "app")
        osaka.kill()
        self.wait_for_link(tokyo, False)
        tokyo.write("app/db", 0, b"m" * BLOCK)
        waiting, master = self.waiting(tokyo)
        waiting.send_signal(signal.SIGINT)
        self.assertIn("no longer waited for", read_all(master))
        self.assertEqual(waiting.wait(COMMAND_SECONDS_MAX), 1)
        waiting, master = self.waiting(tokyo)
        tokyo.cli("pair", "suspend", "app")
        self.assertIn("PSUS", read_all(master))
        self.assertEqual(waiting.wait(COMMAND_SECONDS_MAX), 1)

    def waiting(self, node):
        """A resync that waits, which its progress tells, and the terminal that shows it."""
        master, slave = pty.openpty()
        command = self.command(node, "pair", "resync", "app", "--wait", stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        shown = b""
        while b"catching up" not in shown:
            shown += os.read(master, 65536)
        return command, master



if __name__ == "__main__":
    main()
