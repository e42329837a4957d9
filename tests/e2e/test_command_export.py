#!/usr/bin/python3
"""GROUP/.command: marks and restores with nothing but an NBD client, on both nodes."""

import json
import os

import nbd

from tidemark_testing import BLOCK, PROGRAMS, Connection, TidemarkTest, main, run


def ask(handle, **members):
    handle.pwrite(json.dumps(members).encode().ljust(BLOCK, b"\0"), 0)
    return json.loads(bytes(handle.pread(BLOCK, 0)).rstrip(b"\0"))


class CommandExport(TidemarkTest):
    def test_marks_and_a_restore_by_blocks_on_both_nodes(self):
        tokyo, osaka = self.pair("db", size="16M")
        with Connection(tokyo, "app/db") as data, Connection(tokyo, "app/.command") as command:
            data.pwrite(b"1" * BLOCK, 0)
            good = ask(command, command="mark", id="good", note="by block", wait="peer")
            data.pwrite(b"2" * BLOCK, 0)
            self.assertEqual(ask(command, command="restore", point="good")["error"]["code"], "busy")
        self.assertEqual(tokyo.cli("mark", "show", "app", "good")["log_id"], good["log_id"])
        self.assertEqual(tokyo.read("app/db@good", 0, 1), b"1")
        with Connection(osaka, "app/.command") as command:
            self.assertEqual(ask(command, command="mark", id="there")["id"], "there")
            self.assertIn("'when'", ask(command, command="mark", when="now")["error"]["message"])
        self.assertEqual(tokyo.cli("mark", "show", "app", "there")["id"], "there")
        with Connection(tokyo, "app/.command") as command:
            self.assertIn("new_epoch", ask(command, command="restore", point="good"))
            self.assertEqual(ask(command, command="suspend")["state"], "PSUS")
        self.assertEqual(tokyo.read("app/db", 0, 1), b"1")
        with open(os.path.join(tokyo.folder, "audit.log"), encoding="utf-8") as file:
            lines = [line for line in file if "app/.command" in line]
        self.assertEqual([(line.split("operation=")[1].split()[0], line.split("outcome=")[1].split()[0])
                          for line in lines],
                         [("mark_create", "done"), ("restore", "busy"), ("restore", "done"), ("pair_suspend", "done")])

    def test_with_nothing_but_nbdsh(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        script = ("h.pwrite(b'{\"command\": \"mark\", \"id\": \"by-nbdsh\"}'.ljust(4096), 0); "
                  "print(h.pread(4096, 0).decode().strip(chr(0)))")
        said = run("nbdsh", "-u", tokyo.uri("app/.command"), "-c", script)
        self.assertEqual(json.loads(said)["id"], "by-nbdsh")

    def test_over_tcp_a_command_needs_a_token_with_its_role(self):
        tokens = self.path("tokens")
        secret = run(f"{PROGRAMS}/tidemark", "token", "create", "ops", "--role", "operator", "--file", tokens).strip()
        tokyo = self.node("tokyo", "--nbd", "tcp:127.0.0.1:0", "--control-tokens", tokens)
        tokyo.create("app", "db", size="16M")
        port = int(tokyo.cli("status")["nbd_addresses"][0].rsplit(":", 1)[1])
        handle = nbd.NBD()
        handle.set_export_name("app/.command")
        handle.connect_tcp("127.0.0.1", str(port))
        for token, command, code in (({}, "mark", "denied"), ({"token": "wrong"}, "mark", "denied"),
                                     ({"token": secret}, "restore", "denied")):
            point = {"point": "head"} if command == "restore" else {}
            self.assertEqual(ask(handle, command=command, **token, **point)["error"]["code"], code)
        self.assertEqual(ask(handle, command="mark", id="m", token=secret)["id"], "m")
        # What anybody can send does not wash the log out.
        for _ in range(100):
            ask(handle, command="mark", token="wrong")
            ask(handle, command="nonsense")
        handle.shutdown()
        with open(os.path.join(tokyo.folder, "audit.log"), encoding="utf-8") as file:
            text = file.read()
        self.assertIn("token=ops", text)
        self.assertNotIn(secret, text)
        self.assertLess(len(text.splitlines()), 40)
        self.assertIn("none of this node's", text)


if __name__ == "__main__":
    main()
