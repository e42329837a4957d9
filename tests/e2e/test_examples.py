#!/usr/bin/python3
"""The scripts of examples/ that mark and restore, as a reader would run them."""

import os
import shutil
import subprocess
import sys
import unittest

from tidemark_testing import BLOCK, COMMAND_SECONDS_MAX, PROGRAMS, ROOT, TidemarkTest, main


class Examples(TidemarkTest):
    def setUp(self):
        super().setUp()
        self.tokyo = self.node()
        self.tokyo.create("app", "db", size="16M")
        self.tokyo.write("app/db", 0, b"good".ljust(BLOCK))
        # The change: it writes, and ends with the status that is asked for.
        self.change = self.path("change")
        with open(self.change, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nnbdsh -u '{self.tokyo.uri('app/db')}' -c 'h.pwrite(b\"changed\".ljust(4096), 0)' && "
                       "exit $1\n")
        os.chmod(self.change, 0o755)

    def check(self, *script):
        def run(*command):
            return subprocess.run(
                [*script, *command], capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
                env=dict(os.environ, PATH=f"{PROGRAMS}:{os.environ['PATH']}"))

        failed = run(self.change, "7")
        self.assertEqual(failed.returncode, 7, failed.stderr)
        self.assertEqual(self.tokyo.read("app/db", 0, 4), b"good")
        back = failed.stderr.rsplit("log:", 1)[1].strip()
        self.assertEqual(self.tokyo.read(f"app/db@log:{back}", 0, 7), b"changed")
        done = run(self.change, "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tokyo.read("app/db", 0, 7), b"changed")
        self.assertEqual(len(self.tokyo.cli("mark", "list", "app")["marks"]), 2)
        self.tokyo.stop()
        self.assertEqual(run("touch", self.path("touched")).returncode, 1)
        self.assertFalse(os.path.exists(self.path("touched")))

    @unittest.skipUnless(shutil.which("jq"), "needs jq")
    def test_the_shell_script_marks_and_takes_back(self):
        self.check(f"{ROOT}/examples/mark_and_restore.sh", self.tokyo.folder, "app")

    def test_the_python_script_marks_and_takes_back(self):
        self.check(sys.executable, f"{ROOT}/examples/mark_and_restore.py", f"{self.tokyo.folder}/control.sock", "app")


if __name__ == "__main__":
    main()
