#!/usr/bin/python3
"""`mark create --freeze`, and the commands around a mark."""

import os
import signal
import sqlite3
import subprocess
import unittest

from mounts import device, mounted, mounts_are_possible
from tidemark_testing import COMMAND_SECONDS_MAX, PROGRAMS, TidemarkTest, main, run, wait_until


def append(path):
    """A process that writes to `path` and ends; while the file system is frozen it cannot."""
    return subprocess.Popen(["sh", "-c", f"echo x >>{path}"])


def is_held_up(process, seconds=0.5):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


class Hooks(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.tokyo = self.node()
        self.tokyo.create("app", "db", size="16M")

    def marks(self):
        return [mark["id"] for mark in self.tokyo.cli("mark", "list", "app")["marks"]]

    def lines(self):
        with open(self.path("log"), encoding="utf-8") as file:
            return file.read().splitlines()

    def test_commands_run_before_and_after_and_know_the_mark(self):
        log = self.path("log")
        made = self.tokyo.mark("app", "m", "--before", f"echo before $TIDEMARK_GROUP $TIDEMARK_MARK | tee {log}",
                               "--after", f"echo after $TIDEMARK_MARK $TIDEMARK_RESULT >>{log}")
        self.assertEqual(made["id"], "m")  # and what they print is not in the answer
        self.assertEqual(self.lines(), ["before app m", "after m made"])

    def test_without_its_command_before_there_is_no_mark(self):
        log = self.path("log")
        refusal = self.tokyo.refused("mark", "create", "app", "m", "--before", "exit 3", "--after",
                                     f"echo $TIDEMARK_RESULT >{log}")
        self.assertRefused(refusal, "refused", "exit 3", "status 3", "no mark was made")
        self.assertEqual((self.marks(), self.lines()), ([], ["failed"]))
        refusal = self.tokyo.refused("mark", "create", "app", "m", "--before", "sleep 1000 & sleep 1000; true",
                                     "--hook-limit", "200ms")
        self.assertEqual((refusal.status, refusal.code), (3, "timeout"), refusal)
        self.assertEqual(self.marks(), [])
        # Its own command after is told of a node that makes no mark.
        refusal = self.tokyo.refused("mark", "create", "nowhere", "m", "--after", f"echo $TIDEMARK_RESULT >{log}")
        self.assertRefused(refusal, "not-found", "nowhere")
        self.assertEqual(self.lines(), ["failed"])

    def test_a_command_after_that_fails_is_said_and_the_mark_stays(self):
        refusal = self.tokyo.refused("mark", "create", "app", "m", "--after", "exit 4")
        self.assertRefused(refusal, "refused", "mark 'm' was made", "status 4")
        self.assertEqual(self.marks(), ["m"])

    def test_an_interrupt_ends_the_command_before_and_runs_the_one_after(self):
        log, ready = self.path("log"), self.path("ready")
        asking = subprocess.Popen(
            [f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, "mark", "create", "app", "m", "--before",
             f"touch {ready}; sleep 1000; true", "--after", f"echo $TIDEMARK_RESULT >{log}"],
            stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(ready), "it runs")
        asking.send_signal(signal.SIGINT)
        self.assertEqual(asking.wait(COMMAND_SECONDS_MAX), 1)
        self.assertEqual((self.marks(), self.lines()), ([], ["failed"]))

    def test_the_command_after_is_not_ended_by_a_signal_that_came_before(self):
        log, ready = self.path("log"), self.path("ready")
        self.tokyo.process.send_signal(signal.SIGSTOP)
        asking = subprocess.Popen(
            [f"{PROGRAMS}/tidemark", "--node", self.tokyo.folder, "mark", "create", "app", "m", "--before",
             f"touch {ready}", "--after", f"read word <{self.path('go')}; echo $TIDEMARK_RESULT >{log}"],
            stderr=subprocess.DEVNULL)
        os.mkfifo(self.path("go"))
        wait_until(lambda: os.path.exists(self.host_table) and
                   self.tokyo.cli("mark", "list", "--here")["marks"], "the node is asked")
        asking.send_signal(signal.SIGINT)
        self.tokyo.process.send_signal(signal.SIGCONT)
        with open(self.path("go"), "w", encoding="utf-8") as go:
            asking.send_signal(signal.SIGTERM)
            go.write("go\n")
        self.assertEqual(asking.wait(COMMAND_SECONDS_MAX), 0)
        self.assertEqual((self.marks(), self.lines()), (["m"], ["made"]))

    def test_a_mark_of_an_earlier_try_is_none_of_what_was_done_before_this_one(self):
        self.tokyo.stop()
        self.tokyo.say("mark", "create", "app", "m")
        self.tokyo.start()
        with sqlite3.connect(self.host_table) as table:
            row, = table.execute("SELECT host, host_time FROM host_mark").fetchall()
        self.tokyo.api("POST", "/v1/groups/app/marks", {"id": "m", "host": row[0], "host_time": row[1]})
        log = self.path("log")
        refusal = self.tokyo.refused("mark", "create", "app", "m", "--before", "true", "--after",
                                     f"echo $TIDEMARK_RESULT >{log}")
        self.assertRefused(refusal, "refused", "earlier try", "another id")
        self.assertEqual(self.lines(), ["failed"])

    def test_what_cannot_be_frozen_is_refused(self):
        self.assertRefused(self.tokyo.refused("mark", "create", "app", "--freeze", "/none"), "not-found", "/none")
        self.assertRefused(self.tokyo.refused("mark", "create", "app", "--freeze", "/"), "refused", "root file system")
        self.assertEqual(self.tokyo.refused("mark", "create", "app", "--freeze", "/", "--wait", "peer").status, 2)
        self.assertEqual(self.marks(), [])


@unittest.skipUnless(mounts_are_possible(), "mounting takes root, FUSE, loop devices, nbdfuse and mkfs.ext4")
class Freeze(TidemarkTest):
    def test_a_mark_of_a_frozen_file_system_needs_no_repair_and_has_what_was_written(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="64M")
        with device(tokyo, "app/db", "live") as loop:
            run("mkfs.ext4", "-q", loop)
            with mounted(loop, self.path("mnt")) as folder:
                with open(f"{folder}/orders", "w", encoding="utf-8") as file:
                    file.write("4711\n" * 1000)
                tokyo.mark("app", "frozen", "--freeze", folder)
                with open(f"{folder}/orders", "a", encoding="utf-8") as file:
                    file.write("it is thawed\n")
                tokyo.mark("app", "again", "--freeze", folder)
        with device(tokyo, "app/db@frozen", "view") as loop:
            run("e2fsck", "-fn", loop)
            with mounted(loop, self.path("view"), "-o", "ro,noload") as folder:
                with open(f"{folder}/orders", encoding="utf-8") as file:
                    self.assertEqual(file.read(), "4711\n" * 1000)

    def test_sqlite_with_a_checkpoint_before_needs_no_log_at_the_mark(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="64M")
        with device(tokyo, "app/db", "live") as loop:
            run("mkfs.ext4", "-q", loop)
            with mounted(loop, self.path("mnt")) as folder:
                database = sqlite3.connect(f"{folder}/orders.db", isolation_level=None)
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("CREATE TABLE orders(id INTEGER)")
                database.executemany("INSERT INTO orders VALUES (?)", [(1,), (2,)])
                tokyo.mark("app", "m", "--before",
                           f"sqlite3 {folder}/orders.db 'PRAGMA wal_checkpoint(TRUNCATE)'", "--freeze", folder)
                database.execute("DELETE FROM orders")
                database.close()
        with device(tokyo, "app/db@m", "view") as loop:
            with mounted(loop, self.path("view"), "-o", "ro,noload") as folder:
                self.assertEqual(os.path.getsize(f"{folder}/orders.db-wal"), 0)
                past = sqlite3.connect(f"file:{folder}/orders.db?immutable=1", uri=True)
                self.assertEqual(past.execute("PRAGMA integrity_check").fetchone()[0], "ok")
                self.assertEqual(past.execute("SELECT id FROM orders").fetchall(), [(1,), (2,)])
                past.close()

    def test_it_is_thawed_whatever_becomes_of_the_command(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        image = self.path("image")
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        loop = run("losetup", "-f", "--show", image).strip()
        self.addCleanup(run, "losetup", "-d", loop)
        run("mkfs.ext4", "-q", loop)
        # What somebody else thaws, and freezes again, is theirs.
        tokyo.process.send_signal(signal.SIGSTOP)
        with mounted(loop, self.path("mnt")) as folder:
            asking = subprocess.Popen(
                [f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "mark", "create", "app", "--freeze", folder,
                 "--freeze-limit", "600s"], stderr=subprocess.PIPE, text=True)
            writers = []
            wait_until(lambda: writers.append(append(f"{folder}/file")) or is_held_up(writers[-1]), "it is frozen")
            # Its switch, told to end as a whole service is, thaws.
            keeper, = subprocess.run(["pgrep", "-P", str(asking.pid)], stdout=subprocess.PIPE, text=True,
                                     check=True).stdout.split()
            os.kill(int(keeper), signal.SIGTERM)
            for writer in writers:
                self.assertEqual(writer.wait(COMMAND_SECONDS_MAX), 0)
            run("fsfreeze", "-f", folder)
            tokyo.process.send_signal(signal.SIGCONT)
            self.assertIn("not of a frozen file system", asking.communicate(timeout=COMMAND_SECONDS_MAX)[1])
            held = append(f"{folder}/file")
            self.assertTrue(is_held_up(held))
            run("fsfreeze", "-u", folder)
            held.wait(COMMAND_SECONDS_MAX)
        # One that answers nothing, so that the freeze lasts.
        tokyo.process.send_signal(signal.SIGSTOP)
        with mounted(loop, self.path("mnt")) as folder:
            for limit, kill in (("600s", signal.SIGKILL), ("1s", None)):
                asking = subprocess.Popen(
                    [f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "mark", "create", "app", "--freeze", folder,
                     "--freeze-limit", limit], stderr=subprocess.PIPE, text=True)
                writers = []

                def frozen():
                    writers.append(append(f"{folder}/file"))
                    return is_held_up(writers[-1])

                wait_until(frozen, "it is frozen")
                if kill is not None:
                    asking.send_signal(kill)
                for writer in writers:
                    self.assertEqual(writer.wait(COMMAND_SECONDS_MAX), 0)
                self.assertFalse(is_held_up(append(f"{folder}/file"), COMMAND_SECONDS_MAX))
                asking.communicate(timeout=COMMAND_SECONDS_MAX)
                self.assertNotEqual(asking.returncode, 0)
        tokyo.process.send_signal(signal.SIGCONT)


if __name__ == "__main__":
    main()
