#!/usr/bin/python3
"""A real database on a volume: marks while it works, a table that is dropped, the past read on the secondary, and the
way back. docs/postgresql.md tells the same story.

Where mounts are not possible, the same with SQLite, whose file is brought to the volume block by block.
"""

import glob
import os
import shutil
import sqlite3
import subprocess
import unittest

from mounts import device, mounted, mounts_are_possible
from tidemark_testing import COMMAND_SECONDS_MAX, TidemarkTest, main, run, wait_until

SETTINGS = """
listen_addresses = ''
shared_buffers = 16MB
max_wal_size = 64MB
min_wal_size = 32MB
"""


def programs():
    """The newest PostgreSQL's folder; empty: there is none."""
    return max(glob.glob("/usr/lib/postgresql/*/bin"), default="", key=lambda path: int(path.split("/")[4]))


def can_run():
    return mounts_are_possible() and programs() and shutil.which("runuser") is not None


def as_postgres(*command, **options):
    return run("runuser", "-u", "postgres", "--", *command, **options)


class Server:
    """A PostgreSQL on the data of `folder`; its socket and log lie in `place`."""

    def __init__(self, folder, place):
        self.folder, self.place = folder, place
        os.makedirs(place, exist_ok=True)
        shutil.chown(place, "postgres")

    def create(self):
        shutil.chown(os.path.dirname(self.folder), "postgres")
        as_postgres(f"{programs()}/initdb", "-D", self.folder, "-A", "trust", "--wal-segsize=1", "-E", "UTF8", "--locale=C")
        with open(f"{self.folder}/postgresql.conf", "a", encoding="utf-8") as file:
            file.write(SETTINGS)
            file.flush()
            os.fsync(file.fileno())  # PostgreSQL's own data are as durable as they must be; this is ours
        return self

    def start(self):
        try:
            as_postgres(f"{programs()}/pg_ctl", "-D", self.folder, "-l", f"{self.place}/log", "-w", "-t", "60", "-o",
                        f"-k {self.place}", "start")
        except AssertionError as error:
            with open(f"{self.place}/log", encoding="utf-8") as log:
                raise AssertionError(f"{error}\n{log.read()}") from error
        return self

    def stop(self, mode="fast"):
        as_postgres(f"{programs()}/pg_ctl", "-D", self.folder, "-m", mode, "-w", "stop")

    def sql(self, text):
        return as_postgres("psql", "-h", self.place, "-At", "-v", "ON_ERROR_STOP=1", "-c", text, "postgres").strip()

    def rows(self):
        return self.sql("SELECT string_agg(id || ':' || what, ',' ORDER BY id) FROM orders")


def order_rows(begin, end):
    return ",".join(f"{number}:order {number}" for number in range(begin, end))


def insert(begin, end):
    return f"INSERT INTO orders SELECT n, 'order ' || n FROM generate_series({begin}, {end - 1}) n"


# Each transaction of pgbench adds one amount to an account, a teller, a branch and the history.
BALANCES = ("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), "
            "(SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)")


@unittest.skipUnless(can_run(), "needs root, FUSE, loop devices, nbdfuse, mkfs.ext4 and PostgreSQL")
class PostgreSql(TidemarkTest):
    def place(self, name):
        return self.path(name + ".run")

    def assertBalanced(self, server):
        sums = set(server.sql(BALANCES).split("|"))
        self.assertEqual(len(sums), 1, "a transaction is there in part")
        self.assertNotEqual(sums, {""})

    def dump_of_a_read_only_view(self, node, mark):
        """The table as SQL, from a copy of the data folder: PostgreSQL wants to write to its own."""
        with device(node, f"app/db@{mark}", "view") as loop:
            run("e2fsck", "-fn", loop)
            with mounted(loop, self.path("view"), "-o", "ro,noload") as folder:
                run("cp", "-a", f"{folder}/data", self.path("copy"))
        os.unlink(self.path("copy") + "/postmaster.pid")
        server = Server(self.path("copy"), self.place("copy")).start()
        try:
            self.assertBalanced(server)
            return as_postgres("pg_dump", "-h", server.place, "-t", "orders", "--inserts", "postgres")
        finally:
            server.stop("immediate")

    def rows_of_a_writable_view(self, node, mark):
        with device(node, f"app/db@{mark}+rw", "view") as loop:
            with mounted(loop, self.path("view")) as folder:
                os.unlink(f"{folder}/data/postmaster.pid")
                server = Server(f"{folder}/data", self.place("view")).start()
                try:
                    self.assertBalanced(server)
                    return server.rows()
                finally:
                    server.stop("immediate")

    def test_a_dropped_table_is_read_on_the_secondary_and_brought_back(self):
        os.chmod(self.folder, 0o755)
        tokyo, osaka = self.pair("db", size="384M")
        with device(tokyo, "app/db", "live") as loop:
            run("mkfs.ext4", "-q", loop)
            with mounted(loop, self.path("mnt")) as folder:
                self.work_and_lose_the_table(tokyo, osaka, folder)
        tokyo.cli("restore", "app", "--to", "frozen")
        with device(tokyo, "app/db", "live") as loop:
            with mounted(loop, self.path("mnt")) as folder:
                os.unlink(f"{folder}/data/postmaster.pid")
                server = Server(f"{folder}/data", self.place("live")).start()
                try:
                    self.assertEqual(server.rows(), order_rows(1, 151))
                    self.assertBalanced(server)
                finally:
                    server.stop()

    def work_and_lose_the_table(self, tokyo, osaka, folder):
        server = Server(f"{folder}/data", self.place("live")).create().start()
        pgbench = None
        try:
            as_postgres("pgbench", "-h", server.place, "-q", "-i", "postgres")
            server.sql("CREATE TABLE orders(id int PRIMARY KEY, what text)")
            pgbench = subprocess.Popen(
                ["runuser", "-u", "postgres", "--", "pgbench", "-h", server.place, "-c", "2", "-T", "600", "postgres"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: int(server.sql("SELECT count(*) FROM pgbench_history")) > 50, "pgbench is at work")
            server.sql(insert(1, 101))
            tokyo.mark("app", "checkpointed", "--before",
                       f"runuser -u postgres -- psql -q -h {server.place} -c CHECKPOINT postgres", "--wait", "peer")
            server.sql(insert(101, 151))
            tokyo.mark("app", "frozen", "--freeze", folder)
            server.sql(insert(151, 161))
            server.sql("DROP TABLE orders")
            self.wait_for_mark(osaka, "frozen")
            dump = self.dump_of_a_read_only_view(osaka, "frozen")
            self.assertEqual(dump.count("INSERT INTO public.orders"), 150)
            self.assertIn("VALUES (150, 'order 150')", dump)
            self.assertEqual(self.rows_of_a_writable_view(osaka, "checkpointed"), order_rows(1, 101))
            self.assertIsNone(pgbench.poll(), "pgbench went on all the while")
        finally:
            if pgbench is not None:
                pgbench.kill()
                pgbench.wait(COMMAND_SECONDS_MAX)
            server.stop("immediate")

    def wait_for_mark(self, node, mark):
        wait_until(lambda: any(known["id"] == mark for known in node.cli("mark", "list", "app")["marks"]),
                   f"{mark} has come to {node.name}")


class Sqlite(TidemarkTest):
    """SQLite's file at the begin of the volume; what lies behind it on the volume is none of SQLite's business."""

    def store(self, node):
        run("nbdcopy", self.path("orders.db"), node.uri("app/db"))

    def rows(self, node, export):
        copy = self.path("copy.db")
        if os.path.exists(copy):
            os.unlink(copy)
        run("nbdcopy", node.uri(export), copy)
        with sqlite3.connect(copy) as database:
            self.assertEqual(database.execute("PRAGMA integrity_check").fetchone()[0], "ok")
            return [row[0] for row in database.execute("SELECT id FROM orders ORDER BY id")]

    def change(self, *statements):
        with sqlite3.connect(self.path("orders.db")) as database:
            for statement in statements:
                database.execute(statement)

    def test_a_dropped_table_is_read_on_the_secondary_and_brought_back(self):
        tokyo, osaka = self.pair("db", size="4M")
        self.change("CREATE TABLE orders(id INTEGER PRIMARY KEY)", "INSERT INTO orders VALUES (1), (2)")
        self.store(tokyo)
        tokyo.mark("app", "good", "--wait", "peer")
        self.change("INSERT INTO orders VALUES (3)", "DROP TABLE orders")
        self.store(tokyo)
        with self.assertRaises(sqlite3.OperationalError):
            self.rows(tokyo, "app/db")
        self.assertEqual(self.rows(osaka, "app/db@good"), [1, 2])
        tokyo.cli("restore", "app", "--to", "good")
        self.assertEqual(self.rows(tokyo, "app/db"), [1, 2])


if __name__ == "__main__":
    main()
