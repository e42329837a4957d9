#!/usr/bin/python3
"""The host's own table of marks: what is noted, when the node is away, and how it compares with the nodes'."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import unittest

from tidemark_testing import BLOCK, MIB, PROGRAMS, TidemarkTest, main, run, wait_until


def read_request(client):
    """A whole HTTP request: who closes before its end breaks the client's writing of it."""
    request = client.recv(65536)
    while b"\r\n\r\n" not in request:
        request += client.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


class Proxy:
    """Passes one request on to a node's control socket, and keeps the answer to itself."""

    def __init__(self, path, node):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        self.node = node
        self.thread = threading.Thread(target=self.swallow_one_answer, daemon=True)
        self.thread.start()

    def swallow_one_answer(self):
        client, _ = self.listener.accept()
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.connect(os.path.join(self.node.folder, "control.sock"))
            server.sendall(read_request(client))
            while server.recv(65536):
                pass  # the node has done it; nobody will hear
        self.listener.close()


class Refuser:
    """A node that answers one request with an error."""

    def __init__(self, path, code):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        self.answer = json.dumps({"version": 1, "error": {"code": code, "message": f"it is {code}"}}).encode()
        self.thread = threading.Thread(target=self.refuse_once, daemon=True)
        self.thread.start()

    def refuse_once(self):
        client, _ = self.listener.accept()
        with client:
            read_request(client)
            client.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(self.answer), self.answer))
        self.listener.close()


class HostMarks(TidemarkTest):
    def lose_an_answer(self, node, *arguments):
        path = self.path("swallows.sock")
        Proxy(path, node)
        lost = subprocess.run([f"{PROGRAMS}/tidemark", "--node", path, "mark", "create", "app", *arguments],
                              capture_output=True, text=True, check=False)
        os.unlink(path)
        self.assertNotEqual(lost.returncode, 0)

    def here(self, node, *arguments):
        return node.cli("mark", "list", "--here", *arguments)["marks"]

    def reconcile(self, node, *arguments):
        """(exit status, answer)"""
        status, out, err = node.try_cli("mark", "reconcile", *arguments)
        self.assertIn(status, (0, 1), err)
        return status, json.loads(out)

    def findings(self, answer):
        return {(mark["id"], mark["node"].rsplit("/", 2)[-2]): mark["finding"] for mark in answer["marks"]}

    def test_every_mark_is_noted_with_what_became_of_it(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        made = tokyo.mark("app", "one", "--note", "release 7")
        self.assertRefused(tokyo.refused("mark", "create", "nowhere", "two"), "not-found", "nowhere")
        rows = self.here(tokyo)
        self.assertEqual([(row["group"], row["id"], row["state"]) for row in rows],
                         [("app", "one", "made"), ("nowhere", "two", "failed")])
        self.assertEqual(rows[0]["log_id"], made["log_id"])
        self.assertEqual(rows[0]["timer"], made["timer"])
        self.assertEqual(rows[0]["host_time"], made["host_time"])
        self.assertEqual(rows[0]["host"], socket.gethostname())
        self.assertEqual(rows[0]["note"], "release 7")
        self.assertIn("tidemark mark create", rows[0]["program"])
        self.assertIn("nowhere", rows[1]["outcome"])
        self.assertEqual(len(self.here(tokyo, "app")), 1)
        # It is plain SQLite.
        with sqlite3.connect(self.host_table) as table:
            self.assertEqual(table.execute("SELECT mark_id, log_id FROM host_mark WHERE state = 'made'").fetchall(),
                             [("one", made["log_id"])])
        self.assertEqual(os.stat(self.host_table).st_mode & 0o777, 0o600)

    def test_the_same_request_twice_makes_one_mark_when_the_first_answer_was_lost(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        Proxy(self.path("proxy.sock"), tokyo)
        lost = subprocess.run([f"{PROGRAMS}/tidemark", "--node", self.path("proxy.sock"), "mark", "create", "app", "m"],
                              capture_output=True, text=True, check=False)
        self.assertNotEqual(lost.returncode, 0)
        self.assertIn("tidemark mark create app m", lost.stderr)
        self.assertEqual(self.here(tokyo)[0]["state"], "unknown")
        before = tokyo.cli("mark", "show", "app", "m")
        tokyo.write("app/db", 0, b"x" * BLOCK)
        again = tokyo.mark("app", "m")
        self.assertEqual((again["log_id"], again["host_time"]), (before["log_id"], before["host_time"]))
        rows = self.here(tokyo)
        self.assertEqual([(row["id"], row["state"], row["log_id"]) for row in rows], [("m", "made", before["log_id"])])
        # Once it has its answer, the id is taken for everybody.
        self.assertRefused(tokyo.refused("mark", "create", "app", "m"), "exists", "m")

    def test_a_refusal_of_a_later_try_says_nothing_of_an_earlier_one(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        self.lose_an_answer(tokyo, "m", "--note", "release 7")
        Refuser(self.path("refuses.sock"), "busy")
        refused = subprocess.run([f"{PROGRAMS}/tidemark", "--node", self.path("refuses.sock"), "mark", "create", "app",
                                  "m"], capture_output=True, text=True, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("it is busy", refused.stderr)
        self.assertEqual([row["state"] for row in self.here(tokyo)], ["unknown"])
        made = tokyo.mark("app", "m")
        self.assertEqual(made["note"], "release 7")
        self.assertEqual([(row["state"], row["host_time"]) for row in self.here(tokyo)], [("made", made["host_time"])])
        self.assertEqual(len(tokyo.cli("mark", "list", "app")["marks"]), 1)

    def test_only_the_same_request_is_a_try_of_it(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        self.lose_an_answer(tokyo, "m", "--note", "release 7")
        before = tokyo.cli("mark", "show", "app", "m")
        self.assertRefused(tokyo.refused("mark", "create", "app", "m", "--note", "release 8"), "exists", "m")
        self.assertEqual([row["state"] for row in self.here(tokyo)], ["unknown", "failed"])
        self.assertEqual(tokyo.mark("app", "m", "--note", "release 7")["log_id"], before["log_id"])
        self.assertEqual([row["state"] for row in self.here(tokyo)], ["made", "failed"])

    def test_a_mark_that_the_peer_cannot_get_is_not_noted_as_not_made(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        status, _, err = tokyo.say("mark", "create", "app", "m", "--wait", "peer")
        self.assertEqual(status, 1)
        self.assertIn("not known whether mark 'm' was made", err)
        self.assertEqual([row["state"] for row in self.here(tokyo)], ["unknown"])
        before = tokyo.cli("mark", "show", "app", "m")
        self.assertEqual(tokyo.mark("app", "m")["log_id"], before["log_id"])
        self.assertEqual([row["state"] for row in self.here(tokyo)], ["made"])

    def test_a_node_that_is_away_is_an_error_with_a_way_to_ask_again(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        tokyo.stop()
        status, _, err = tokyo.say("mark", "create", "app", "evening")
        self.assertEqual(status, 1)
        self.assertIn("tidemark mark create app evening", err)
        asked = self.here(tokyo)[0]
        self.assertEqual(asked["state"], "unknown")
        tokyo.start()
        made = tokyo.mark("app", "evening")
        self.assertEqual(made["host_time"], asked["host_time"])
        self.assertEqual(len(self.here(tokyo)), 1)

    def test_an_unanswered_id_that_another_host_took_meanwhile_is_no_mark_of_ours(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        tokyo.stop()
        tokyo.say("mark", "create", "app", "m")
        tokyo.start()
        status, _ = tokyo.api("POST", "/v1/groups/app/marks", {"id": "m", "host": "elsewhere"})
        self.assertEqual(status, 200)
        self.assertRefused(tokyo.refused("mark", "create", "app", "m"), "exists", "m")
        self.assertEqual(self.here(tokyo)[0]["state"], "failed")

    def test_a_command_that_is_killed_leaves_a_row_that_says_so(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        tokyo.process.send_signal(signal.SIGSTOP)
        asking = subprocess.Popen([f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "mark", "create", "app", "m"])
        wait_until(lambda: os.path.exists(self.host_table) and self.here(tokyo), "the row is there")
        asking.kill()
        asking.wait()
        tokyo.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.here(tokyo)[0]["state"], "pending")
        tokyo.mark("app", "m")
        self.assertEqual([row["state"] for row in self.here(tokyo)], ["made"])

    def test_a_table_that_cannot_be_written_costs_no_mark(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        for table in ("/dev/full/marks.db", self.path("not-a-database")):
            with open(self.path("not-a-database"), "w", encoding="utf-8") as file:
                file.write("x" * 5000)
            status, out, err = tokyo.say("--host-table", table, "mark", "create", "app")
            self.assertEqual(status, 0, err)
            self.assertIn("warning", err)
            self.assertIn(table.split("/")[1], err)
            self.assertIn(out.split()[0], [mark["id"] for mark in tokyo.cli("mark", "list", "app")["marks"]])
            self.assertEqual(tokyo.say("--host-table", table, "mark", "list", "--here")[0],
                             0 if table.startswith("/dev/full") else 1)

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small file system takes root")
    def test_a_full_disk_under_the_table_costs_no_mark(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        folder = self.path("small")
        os.mkdir(folder)
        run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
        try:
            table = f"{folder}/marks.db"
            tokyo.cli("--host-table", table, "mark", "create", "app", "one")
            with open(f"{folder}/filler", "wb", buffering=0) as filler:
                try:
                    while filler.write(b"x" * 4096):
                        pass
                except OSError:
                    pass  # full
            status, _, err = tokyo.say("--host-table", table, "mark", "create", "app", "two", "--note", "n" * 1000)
            self.assertEqual(status, 0, err)
            self.assertIn("warning", err)
            self.assertIn(table, err)
            self.assertEqual(tokyo.cli("mark", "show", "app", "two")["id"], "two")
            # What was there stays, and once there is room it goes on.
            os.unlink(f"{folder}/filler")
            tokyo.cli("--host-table", table, "mark", "create", "app", "three")
            rows = tokyo.cli("--host-table", table, "mark", "list", "--here")["marks"]
            self.assertEqual([row["id"] for row in rows], ["one", "three"])
        finally:
            run("umount", folder)

    def test_reconcile_names_what_is_on_one_side_only_and_why(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        for mark in ("kept", "deleted", "left"):
            tokyo.write("app/db", 0, mark.encode().ljust(BLOCK))
            tokyo.mark("app", mark)
        tokyo.cli("restore", "app", "--to", "kept")
        tokyo.cli("mark", "delete", "app", "deleted")
        host = socket.gethostname()
        tokyo.api("POST", "/v1/groups/app/marks", {"id": "stray", "host": host})
        tokyo.api("POST", "/v1/groups/app/marks", {"id": "theirs", "host": "elsewhere"})
        tokyo.stop()
        tokyo.say("mark", "create", "app", "lost")
        tokyo.say("mark", "create", "app", "stolen")
        status, answer = self.reconcile(tokyo)
        self.assertEqual(status, 1)
        self.assertIn("no node answers", answer["nodes"][0]["failure"])
        tokyo.start()
        tokyo.api("POST", "/v1/groups/app/marks", {"id": "stolen", "host": "elsewhere"})
        status, answer = self.reconcile(tokyo, "app")
        self.assertEqual(status, 1)
        self.assertFalse(answer["agrees"])
        self.assertEqual(self.findings(answer),
                         {("kept", "tokyo"): "both", ("deleted", "tokyo"): "deleted",
                          ("left", "tokyo"): "other-branch",
                          ("stray", "tokyo"): "only-on-node", ("lost", "tokyo"): "never-arrived",
                          ("stolen", "tokyo"): "different"})
        self.assertEqual(answer["nodes"][0]["of_other_hosts"], 2)
        self.assertIn("tidemark mark create app lost", tokyo.say("mark", "reconcile", "app")[1])

    def test_reconcile_tells_an_expired_mark_from_one_that_is_gone(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="32M", options=("--journal-size", "32M", "--retain", "0"))
        tokyo.mark("app", "early")
        tokyo.mark("app", "forgotten")
        tokyo.cli("mark", "delete", "app", "forgotten")

        def expired():
            tokyo.write("app/db", 0, os.urandom(8 * MIB))
            return not tokyo.cli("mark", "show", "app", "early")["restorable"]

        wait_until(expired, "the mark has expired")
        status, answer = self.reconcile(tokyo)
        self.assertEqual(status, 1)
        self.assertEqual(self.findings(answer), {("early", "tokyo"): "not-restorable", ("forgotten", "tokyo"): "deleted"})
        reasons = {mark["id"]: mark["reason"] for mark in answer["marks"]}
        self.assertIn("expired", reasons["early"])
        self.assertIn("deleted", reasons["forgotten"])
        # What only has expired is no disagreement.
        with sqlite3.connect(self.host_table) as table:
            table.execute("DELETE FROM host_mark WHERE mark_id = 'forgotten'")
        self.assertEqual(self.reconcile(tokyo)[0], 0)

    def test_old_rows_are_removed_but_for_those_without_an_answer(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        tokyo.mark("app", "old")
        tokyo.refused("mark", "create", "nowhere", "refused")
        tokyo.stop()
        tokyo.say("mark", "create", "app", "open")
        tokyo.start()
        self.assertEqual(tokyo.refused("mark", "prune").status, 2)
        self.assertEqual(tokyo.cli("mark", "prune", "--older-than", "1h")["removed"], 0)
        would = tokyo.cli("mark", "prune", "--older-than", "1ms", "--dry-run")
        self.assertEqual((would["removed"], would["kept_open"], would["dry_run"]), (2, 1, True))
        self.assertEqual(len(self.here(tokyo)), 3)
        self.assertEqual(tokyo.cli("mark", "prune", "app", "--older-than", "1ms")["removed"], 1)
        self.assertEqual([row["id"] for row in self.here(tokyo)], ["refused", "open"])
        # The mark is there as before, and that it has no row any more is no news.
        tokyo.mark("app", "new")
        status, answer = self.reconcile(tokyo, "app")
        self.assertEqual(self.findings(answer), {("open", "tokyo"): "never-arrived", ("new", "tokyo"): "both"})
        self.assertEqual(answer["nodes"][0]["pruned"], 1)
        status, out, _ = tokyo.say("mark", "prune", "--older-than", "1ms", "--open")
        self.assertEqual(status, 0)
        self.assertIn("3 rows", out)
        self.assertEqual(self.here(tokyo), [])
        self.assertEqual(self.reconcile(tokyo, "app")[0], 0)

    def test_reconcile_completes_a_row_whose_answer_was_lost(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        Proxy(self.path("proxy.sock"), tokyo)
        subprocess.run([f"{PROGRAMS}/tidemark", "--node", self.path("proxy.sock"), "mark", "create", "app", "m"],
                       capture_output=True, check=False)
        status, answer = self.reconcile(tokyo)
        self.assertEqual((status, answer["agrees"]), (0, True))
        self.assertEqual([(row["state"], row["log_id"]) for row in self.here(tokyo)],
                         [("made", tokyo.cli("mark", "show", "app", "m")["log_id"])])

    def test_reconcile_tells_the_rest_when_a_row_cannot_be_completed(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        tokyo.mark("app", "good")
        self.lose_an_answer(tokyo, "m")
        with sqlite3.connect(self.host_table) as table:
            table.execute("CREATE TRIGGER no_update BEFORE UPDATE ON host_mark BEGIN SELECT RAISE(ABORT, 'full'); END")
        status, answer = self.reconcile(tokyo)
        self.assertEqual((status, self.findings(answer)), (0, {("good", "tokyo"): "both", ("m", "tokyo"): "both"}))
        self.assertIn("full", answer["marks"][1]["reason"])

    def test_reconcile_with_the_secondary_also_when_the_primary_is_gone(self):
        tokyo, osaka = self.pair("db", size="16M")
        tokyo.mark("app", "both", "--wait", "peer")
        osaka.stop()
        tokyo.mark("app", "late")
        tokyo.kill()
        osaka.start()
        osaka.mark("app", "given-there")
        status, answer = self.reconcile(tokyo, "app", "--with", osaka.folder)
        self.assertEqual(status, 1)
        self.assertEqual([bool(node["failure"]) for node in answer["nodes"]], [True, False])
        self.assertEqual(self.findings(answer), {("both", "osaka"): "both", ("late", "osaka"): "not-yet-received",
                                                 ("given-there", "osaka"): "provisional"})
        tokyo.start()
        self.wait_for_link(tokyo, True)

        def agrees():
            _, said = self.reconcile(tokyo, "app", "--with", osaka.folder)
            return said["agrees"] and set(self.findings(said).values()) == {"both"}

        wait_until(agrees, "all three are on both nodes")
        status, answer = self.reconcile(tokyo, "--with", osaka.folder)
        self.assertEqual((status, [node["agreeing"] for node in answer["nodes"]]), (0, [3, 3]))


if __name__ == "__main__":
    main()
