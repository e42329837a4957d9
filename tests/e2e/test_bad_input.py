#!/usr/bin/python3
"""What people type wrong is refused with a sentence that says what, where and what to do; nothing changes."""

import os
import subprocess

from tidemark_testing import PROGRAMS, TidemarkTest, main


class BadInput(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.tokyo = self.node()
        self.tokyo.create("app", "db", size="16M")
        self.tokyo.mark("app", "good")

    def test_unknown_points_are_refused_by_name_and_change_nothing(self):
        head = self.tokyo.head("app")
        self.assertRefused(self.tokyo.refused("restore", "app", "--to", "nonsense"), "not-found", "nonsense")
        self.assertRefused(self.tokyo.refused("restore", "app", "--to", "log:1.999999"), "not-received")
        for point in ("time:yesterday", "log:x.y", "log:1", "time:", "a b", "log:99999999999.1"):
            refusal = self.tokyo.refused("restore", "app", "--to", point)
            self.assertIn(refusal.status, (1, 2), (point, refusal))
            self.assertIn(refusal.code, ("invalid", "not-found", ""), (point, refusal))
        self.assertEqual(self.tokyo.head("app"), head)

    def test_names_that_are_no_names(self):
        for name in ("", "-x", ".hidden", "a/b/c", "a b", "head", "floor", "x" * 65, "na\x1b[31mme", "größe"):
            with self.subTest(name=name):
                refusal = self.tokyo.refused("group", "create", "--", name)
                self.assertIn(refusal.status, (1, 2), refusal)
                self.assertNotIn("\x1b", refusal.message)
        self.assertEqual([group["group"] for group in self.tokyo.cli("group", "list")["groups"]], ["app"])

    def test_what_exists_and_what_does_not(self):
        self.assertRefused(self.tokyo.refused("group", "create", "app"), "exists", "app")
        self.assertRefused(self.tokyo.refused("volume", "create", "app/db", "--size", "1M"), "exists", "db")
        self.assertRefused(self.tokyo.refused("mark", "create", "app", "good"), "exists", "good")
        self.assertRefused(self.tokyo.refused("mark", "create", "nope", "x"), "not-found", "nope")
        self.assertRefused(self.tokyo.refused("volume", "create", "nope/db", "--size", "1M"), "not-found", "nope")
        self.assertRefused(self.tokyo.refused("volume", "show", "app/nope"), "not-found", "nope")
        self.assertRefused(self.tokyo.refused("table", "nope"), "not-found", "nope")

    def test_sizes(self):
        for size in ("0", "-1", "1", "4097", "abc", "1Q", "", "99999999999999999999", "2E"):
            with self.subTest(size=size):
                refusal = self.tokyo.refused("volume", "create", "app/other", f"--size={size}")
                self.assertIn(refusal.status, (1, 2), refusal)
        self.assertEqual(len(self.tokyo.cli("volume", "list")["volumes"]), 1)
        self.assertEqual(self.tokyo.refused("volume", "resize", "app/db", "--size", "1M").status, 1)

    def test_a_wrong_command_line_ends_with_status_2_and_tells_on_standard_error(self):
        for arguments in (["frobnicate"], ["group", "create"], ["restore", "app"], ["mark", "create"],
                          ["status", "--nonsense"], ["volume", "create", "app/x"]):
            with self.subTest(arguments=arguments):
                status, out, err = self.tokyo.try_cli(*arguments)
                self.assertEqual(status, 2, (out, err))
                self.assertTrue(err or out)

    def test_an_endless_busy_wait_is_refused(self):
        osaka = self.node("osaka", start=False)
        osaka.start("--spin", "1h", wait=False)
        self.assertEqual(osaka.process.wait(10), 2)
        self.assertIn("--spin: '1h' is longer than 10ms", osaka.log())

    def test_a_node_that_is_not_there(self):
        for address in (self.path("nowhere"), "unix:" + self.path("no.sock"), "tcp:127.0.0.1:1", "nonsense:"):
            done = subprocess.run([f"{PROGRAMS}/tidemark", "--node", address, "status"], capture_output=True,
                                  timeout=60, check=False, text=True)
            self.assertIn(done.returncode, (1, 2), (address, done))
            self.assertEqual(done.stdout, "")
            self.assertTrue(done.stderr.strip(), address)

    def test_the_api_refuses_what_it_does_not_know(self):
        status, answer = self.tokyo.api("POST", "/v1/groups", {"group": "x", "colour": "blue"})
        self.assertEqual((status, answer["error"]["code"]), (400, "invalid"))
        self.assertIn("colour", answer["error"]["message"])
        status, answer = self.tokyo.api("POST", "/v1/groups", {"group": 7})
        self.assertEqual((status, answer["error"]["code"]), (400, "invalid"))
        status, _ = self.tokyo.api("GET", "/v1/nonsense")
        self.assertEqual(status, 404)

    def test_help_and_version_need_no_node(self):
        for program in ("tidemark", "tidemarkd"):
            for option in ("--help", "--version"):
                done = subprocess.run([os.path.join(PROGRAMS, program), option], capture_output=True, timeout=60,
                                      check=False, text=True)
                self.assertEqual(done.returncode, 0, (program, option, done.stderr))
                self.assertTrue(done.stdout.strip())


if __name__ == "__main__":
    main()
