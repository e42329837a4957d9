#!/usr/bin/python3
"""MariaDB on a volume: a mark while it works, one with its tables locked, the past read from a view, and the way back.
docs/postgresql.md has it among the other databases."""

import contextlib
import os
import shutil
import subprocess
import threading
import unittest

from mounts import device, mounted, mounts_are_possible
from tidemark_testing import COMMAND_SECONDS_MAX, PROGRAMS, TidemarkTest, die_with_parent, main, run, wait_until

SETTINGS = ("--no-defaults", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=8M")
SERVER = shutil.which("mariadbd", path="/usr/sbin:/usr/libexec:/usr/bin")


def can_run():
    return "TIDEMARK_LONG" in os.environ and mounts_are_possible() and SERVER and shutil.which("mariadb") and shutil.which("mariadb-install-db")


class Server:
    """A MariaDB on the data of `folder`; its socket and log lie in `place`."""

    def __init__(self, folder, place):
        self.folder, self.place, self.process = folder, place, None
        os.makedirs(place, exist_ok=True)
        shutil.chown(place, "mysql")

    def create(self):
        os.mkdir(self.folder)
        shutil.chown(self.folder, "mysql")
        run("mariadb-install-db", *SETTINGS, f"--datadir={self.folder}", "--user=mysql", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--skip-name-resolve")
        return self

    def start(self):
        with open(f"{self.place}/log", "wb") as log:
            self.process = subprocess.Popen(
                [SERVER, *SETTINGS, "--user=mysql", f"--datadir={self.folder}", f"--socket={self.place}/socket",
                 f"--pid-file={self.place}/pid", "--skip-networking", f"--tmpdir={self.place}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        wait_until(lambda: self.process.poll() is not None or self.answers(), "it answers")
        if self.process.poll() is not None:
            with open(f"{self.place}/log", encoding="utf-8", errors="replace") as log:
                raise AssertionError(log.read())
        return self

    def answers(self):
        return subprocess.run(self.client("-e", "SELECT 1"), capture_output=True, check=False).returncode == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(COMMAND_SECONDS_MAX)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def client(self, *arguments):
        return ["mariadb", "--no-defaults", f"--socket={self.place}/socket", "-u", "root", "-N", "-B", *arguments]

    def sql(self, text):
        return run(*self.client("-e", text)).strip()

    def rows(self, table):
        return self.sql(f"SELECT concat(count(*), ' to ', ifnull(max(id), 0)) FROM test.{table}")


def insert(table, begin, end):
    return f"INSERT INTO test.{table} SELECT seq FROM test.n WHERE seq >= {begin} AND seq < {end}"


class Transfers:
    """Transactions without end, each of which writes to two tables."""

    def __init__(self, server):
        self.process = subprocess.Popen(server.client(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        preexec_fn=die_with_parent)
        self.thread = threading.Thread(target=self.write)
        self.thread.start()

    def write(self):
        number = 0
        try:
            while True:
                number += 1
                self.process.stdin.write(f"BEGIN; INSERT INTO test.debit VALUES ({number}); INSERT INTO test.credit VALUES "
                                         f"({number}); COMMIT;\n".encode())
        except (OSError, ValueError):
            pass  # it is over

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        with contextlib.suppress(OSError):
            self.process.stdin.close()


@unittest.skipUnless(can_run(), "needs TIDEMARK_LONG=1, root, FUSE, loop devices, nbdfuse, mkfs.ext4 and MariaDB")
class MariaDb(TidemarkTest):
    def assertBalanced(self, server):
        debit, credit = server.rows("debit"), server.rows("credit")
        self.assertEqual(debit, credit, "a transaction is there in part")
        self.assertNotEqual(debit, "0 to 0")

    def test_a_dropped_table_is_read_in_a_view_and_brought_back(self):
        os.chmod(self.folder, 0o755)
        tokyo = self.node()
        tokyo.create("app", "db", size="384M")
        with device(tokyo, "app/db", "live") as loop:
            run("mkfs.ext4", "-q", loop)
            with mounted(loop, self.path("mnt")) as folder:
                os.chmod(folder, 0o755)
                self.work_and_lose_the_table(tokyo, folder)
        tokyo.cli("restore", "app", "--to", "locked")
        with device(tokyo, "app/db", "live") as loop:
            with mounted(loop, self.path("mnt")) as folder:
                server = Server(f"{folder}/data", self.path("live.run")).start()
                try:
                    self.assertEqual((server.rows("orders"), server.rows("notes")), ("150 to 150", "150 to 150"))
                    self.assertIn("OK", server.sql("CHECK TABLE test.notes"))
                    self.assertBalanced(server)
                finally:
                    server.stop()

    def work_and_lose_the_table(self, tokyo, folder):
        server = Server(f"{folder}/data", self.path("live.run")).create().start()
        transfers = None
        try:
            server.sql("CREATE DATABASE test; USE test; CREATE TABLE n SELECT seq FROM seq_1_to_200; "
                       "CREATE TABLE orders(id INT PRIMARY KEY); CREATE TABLE debit(id INT PRIMARY KEY); "
                       "CREATE TABLE credit(id INT PRIMARY KEY); CREATE TABLE notes(id INT) ENGINE=MyISAM")
            transfers = Transfers(server)
            wait_until(lambda: int(server.rows("debit").split()[0]) > 50, "it is at work")
            server.sql(insert("orders", 1, 101))
            tokyo.mark("app", "plain")
            server.sql(insert("orders", 101, 151) + "; " + insert("notes", 1, 151))
            # The session holds the lock while the mark is made; it goes with the session, whatever happens.
            run(*server.client("-e", "FLUSH TABLES WITH READ LOCK; \\! "
                               f"{PROGRAMS}/tidemark --node {tokyo.folder} mark create app locked --freeze {folder}"))
            server.sql(insert("orders", 151, 161) + "; " + insert("notes", 151, 161) + "; DROP TABLE test.orders")
            with device(tokyo, "app/db@plain+rw", "view") as loop:
                with mounted(loop, self.path("view")) as past:
                    view = Server(f"{past}/data", self.path("view.run")).start()
                    try:
                        self.assertEqual(view.rows("orders"), "100 to 100")
                        self.assertBalanced(view)
                    finally:
                        view.kill()
            # Of the tables that were locked and a file system at rest, the read-only view is enough.
            with device(tokyo, "app/db@locked", "view") as loop:
                run("e2fsck", "-fn", loop)
        finally:
            if transfers is not None:
                transfers.stop()
            server.kill()


if __name__ == "__main__":
    main()
