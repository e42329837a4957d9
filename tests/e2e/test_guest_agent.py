#!/usr/bin/python3
"""examples/qemu_guest_agent.py around a mark, with an agent that is made up here. scripts/guest-test has the real one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

from tidemark_testing import COMMAND_SECONDS_MAX, ROOT, TidemarkTest, main, wait_until

SCRIPT = f"{ROOT}/examples/qemu_guest_agent.py"


class FakeAgent:
    """One client after the other, as at a guest's port. `answers` has bytes instead of the usual answer to a command;
    None is silence."""

    def __init__(self, path):
        self.path = path
        self.state = "thawed"
        self.asked = []
        self.answers = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            with client, client.makefile("rb") as lines:
                try:
                    for line in lines:
                        self.answer(client, line)
                except OSError:
                    pass  # it has gone

    def answer(self, client, line):
        request = json.loads(line.lstrip(b"\xff"))
        command = request["execute"]
        self.asked.append(command)
        answer = 1
        if command == "guest-sync-delimited":
            # Behind it what an earlier client did not wait for, and an answer to that one's own request.
            assert line.startswith(b"\xff")
            answer = request["arguments"]["id"]
            client.sendall(b'{"return": 4711}\n{"ret\xff{"return": -1}\n\xff' if command not in self.answers else b"")
        elif command == "guest-fsfreeze-status":
            answer = self.state
        elif command == "guest-fsfreeze-freeze":
            self.state = "frozen"
        elif command == "guest-fsfreeze-thaw":
            answer = int(self.state == "frozen")
            self.state = "thawed"
        client.sendall(self.answers.get(command, json.dumps({"return": answer}).encode() + b"\n") or b"")


class GuestAgent(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.agent = FakeAgent(self.path("agent"))
        self.options = []

    def script(self, command, **environment):
        """(exit status, what it said)"""
        done = subprocess.run([sys.executable, SCRIPT, *self.options, self.agent.path, command], capture_output=True,
                              text=True, timeout=COMMAND_SECONDS_MAX, check=False, env={**os.environ, **environment})
        return done.returncode, done.stderr + done.stdout

    def hooks(self):
        script = f"{sys.executable} {SCRIPT} {' '.join(self.options)} {self.agent.path}"
        return "--before", f"{script} freeze", "--after", f"{script} thaw"

    def wait_for_end(self):
        wait_until(lambda: not os.path.exists(self.agent.path + ".freeze"), "nothing stays behind")

    def keeper(self):
        pattern = f"qemu_guest_agent.py .*{self.agent.path} freeze"
        return int(subprocess.run(["pgrep", "-f", pattern], stdout=subprocess.PIPE, text=True, check=True).stdout)

    def test_a_mark_is_made_while_the_guest_is_frozen(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        freeze, thaw = self.hooks()[1::2]
        log = self.path("log")
        tokyo.mark("app", "m", "--before", f"{freeze} && {sys.executable} {SCRIPT} {self.agent.path} status >{log}",
                   "--after", thaw)
        with open(log, encoding="utf-8") as file:
            self.assertEqual(file.read(), "frozen\n")
        self.assertEqual(self.agent.state, "thawed")
        self.wait_for_end()
        # When no mark is made it is thawed as well.
        self.agent.asked.clear()
        self.assertRefused(tokyo.refused("mark", "create", "nowhere", "m", *self.hooks()), "not-found", "nowhere")
        self.assertEqual(self.agent.state, "thawed")
        self.assertEqual([each for each in self.agent.asked if "sync" not in each],
                         ["guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"])
        # Somebody else's freeze stays, and there is no mark.
        self.agent.state = "frozen"
        self.assertRefused(tokyo.refused("mark", "create", "app", "n", *self.hooks()), "refused", "no mark was made")
        self.assertEqual(self.agent.state, "frozen")
        self.assertIn("was not frozen until now", self.script("thaw")[1])
        self.assertEqual(self.agent.state, "frozen")
        # A guest that was thawed in between is no guest at rest.
        self.agent.state = "thawed"
        self.agent.answers = {"guest-fsfreeze-freeze": b'{"return": 3}\n', "guest-fsfreeze-thaw": b'{"return": 0}\n'}
        refusal = tokyo.refused("mark", "create", "app", "o", *self.hooks())
        self.assertRefused(refusal, "refused", "mark 'o' was made, but", "status 1")

    def test_a_guest_does_not_stay_frozen(self):
        # Nobody thaws it: the limit is over, or the process that stays is told to end.
        self.options += ["--freeze-limit", "0.3"]
        self.assertEqual(self.script("freeze"), (0, ""))
        wait_until(lambda: self.agent.state == "thawed", "the limit is over")
        self.wait_for_end()
        status, said = self.script("thaw")
        self.assertEqual(status, 1)
        self.assertIn("was not frozen until now", said)
        self.options[-1] = "600"
        self.assertEqual(self.script("freeze"), (0, ""))
        os.kill(self.keeper(), signal.SIGTERM)
        wait_until(lambda: self.agent.state == "thawed", "it thaws when it is told to end")
        self.wait_for_end()
        # It is killed: `thaw` sees to it.
        self.assertEqual(self.script("freeze"), (0, ""))
        os.kill(self.keeper(), signal.SIGKILL)
        self.assertEqual(self.script("thaw"), (0, ""))
        self.assertEqual(self.agent.state, "thawed")
        self.wait_for_end()

    def test_two_marks_do_not_thaw_each_others_guest(self):
        self.assertEqual(self.script("freeze", TIDEMARK_MARK="one"), (0, ""))
        status, said = self.script("freeze", TIDEMARK_MARK="two")
        self.assertEqual(status, 1)
        self.assertIn("`thaw` removes it", said)
        status, said = self.script("thaw", TIDEMARK_MARK="two", TIDEMARK_RESULT="failed")
        self.assertEqual(status, 1)
        self.assertIn("frozen for another mark, one", said)
        self.assertEqual(self.agent.state, "frozen")
        self.assertEqual(self.script("thaw", TIDEMARK_MARK="one", TIDEMARK_RESULT="made"), (0, ""))
        self.assertEqual(self.agent.state, "thawed")

    def test_an_agent_that_answers_wrongly_or_not_at_all_is_a_clear_error(self):
        refusal = json.dumps({"error": {"class": "GenericError", "desc": "it is disabled"}}).encode() + b"\n"
        for answers, words in (({"guest-sync-delimited": None}, "does not answer within 0.4 s"),
                               ({"guest-sync-delimited": b"\xff" + b"x" * (3 << 20)}, "says too much"),
                               ({"guest-fsfreeze-status": b"[]\n"}, "answers guest-fsfreeze-status with b'[]'"),
                               ({"guest-fsfreeze-freeze": refusal}, "refuses guest-fsfreeze-freeze: it is disabled"),
                               ({"guest-fsfreeze-freeze": b"\xfe{\n"}, "answers guest-fsfreeze-freeze with"),
                               ({"guest-fsfreeze-freeze": b'{"return": 0}\n'}, "no file system that can be frozen"),
                               # It has frozen, and nobody heard.
                               ({"guest-fsfreeze-freeze": None}, "does not answer")):
            self.agent.answers = answers
            self.options = ["--timeout", "0.4"] if None in answers.values() else []
            status, said = self.script("freeze")
            self.assertEqual(status, 1)
            self.assertIn(words, said)
            self.assertEqual(self.agent.state, "thawed", said)
            self.wait_for_end()
            self.assertEqual(self.script("thaw", TIDEMARK_RESULT="failed"), (0, ""))
        os.unlink(self.agent.path)
        status, said = self.script("freeze")
        self.assertEqual(status, 1)
        self.assertIn("No such file", said)
        self.wait_for_end()


if __name__ == "__main__":
    main()
