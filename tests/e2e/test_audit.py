"""The audit log: who asked the node for what change, and how it ended."""

import os
import stat

from tidemark_testing import TidemarkTest, main


class Audit(TidemarkTest):
    def audit(self, node):
        try:
            with open(os.path.join(node.folder, "audit.log"), encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def last_line(self, node, count):
        """The newest line, of `count`: it is there before the answer."""
        lines = self.audit(node)
        self.assertEqual(len(lines), count, lines)
        return lines[-1]

    def test_every_change_leaves_one_line_and_questions_leave_none(self):
        tokyo = self.node("tokyo")
        tokyo.cli("group", "create", "app")
        line = self.last_line(tokyo, 1)
        for word in ("client=unix", f"uid={os.getuid()} ", "pid=", "operation=group_create",
                     'request="POST /v1/groups', "app", "outcome=done"):
            self.assertIn(word, line)
        tokyo.cli("volume", "create", "app/db", "--size", "4M")
        tokyo.mark("app", "one")
        line = self.last_line(tokyo, 3)
        self.assertIn("operation=mark_create", line)
        for question in (("status",), ("group", "show", "app"), ("mark", "list", "app"), ("volume", "list")):
            tokyo.cli(*question)
        tokyo.cli("restore", "app", "--to", "one")
        self.assertIn("operation=restore", self.last_line(tokyo, 4))
        tokyo.stop()
        tokyo.start()
        tokyo.cli("mark", "delete", "app", "one")
        line = self.last_line(tokyo, 5)
        self.assertIn('request="DELETE /v1/groups/app/marks/one', line)
        mode = stat.S_IMODE(os.stat(os.path.join(tokyo.folder, "audit.log")).st_mode)
        self.assertEqual(mode, 0o600)

    def test_what_was_refused_leaves_a_line_with_the_reason(self):
        tokyo = self.node("tokyo")
        tokyo.create("app", "db", size="4M")
        before = len(self.audit(tokyo))
        tokyo.refused("restore", "app", "--to", "nonsense")
        line = self.last_line(tokyo, before + 1)
        self.assertIn("operation=restore", line)
        self.assertIn("outcome=not-found reason=", line)
        self.assertEqual(tokyo.api("DELETE", "/v1/nothing")[0], 404)
        self.assertIn("outcome=not-found", self.last_line(tokyo, before + 2))
        self.assertEqual(tokyo.api("PUT", "/v1/groups")[0], 415)
        self.assertIn("outcome=invalid", self.last_line(tokyo, before + 3))
        self.assertEqual(tokyo.api("PUT", "/v1/groups", {})[0], 405)
        self.assertIn("outcome=invalid", self.last_line(tokyo, before + 4))
        self.assertEqual(tokyo.api("POST", "/v1/groups", {"group": "bad\nname\x1b[31m"})[0], 400)
        line = self.last_line(tokyo, before + 5)
        self.assertIn("outcome=invalid", line)
        self.assertNotIn("\x1b", line)


if __name__ == "__main__":
    main()
