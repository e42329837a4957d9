#!/usr/bin/python3
"""Log entries: what each says, and the data before and after it."""

import base64

from tidemark_testing import BLOCK, TidemarkTest, main


class Journal(TidemarkTest):
    def test_every_entry_has_its_id_timer_kind_and_place(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.write("app/db", 8192, b"1" * BLOCK)
        mark = tokyo.mark("app", "m", "--note", "said")
        entries = tokyo.cli("journal", "show", "app", "--limit", "1000")["entries"]
        timers = [entry["timer"] for entry in entries]
        self.assertEqual(len(set(entry["log_id"] for entry in entries)), len(entries))
        self.assertTrue(all(timers))
        write = [entry for entry in entries if entry["kind"] == "write"][-1]
        self.assertEqual((write["volume"], write["offset_bytes"], write["length_bytes"], write["mark"]),
                         ("db", 8192, BLOCK, False))
        last = entries[-1]
        self.assertEqual((last["kind"], last["mark"], last["mark_id"], last["note"], last["log_id"]),
                         ("mark", True, "m", "said", mark["log_id"]))

    def test_data_before_and_after_an_entry_can_be_asked_for(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.write("app/db", 0, b"1" * BLOCK)
        tokyo.write("app/db", 0, b"2" * BLOCK)
        entry = [entry for entry in tokyo.cli("journal", "show", "app", "--limit", "1000")["entries"]
                 if entry["kind"] == "write"][-1]
        for side, expected in (("before", b"1"), ("after", b"2")):
            status, answer = tokyo.api("GET", f"/v1/groups/app/journal/entries/{entry['log_id']}/data?side={side}")
            self.assertEqual(status, 200, answer)
            self.assertEqual(base64.b64decode(answer["data"]), expected * BLOCK)

    def test_differences_between_points_are_told(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        tokyo.mark("app", "one")
        tokyo.write("app/db", 4 * BLOCK, b"x" * (2 * BLOCK))
        tokyo.mark("app", "two")
        runs = tokyo.cli("diff", "app/db", "--from", "one", "--to", "two")["runs"]
        self.assertEqual([(run["offset_bytes"], run["length_bytes"]) for run in runs], [(4 * BLOCK, 2 * BLOCK)])
        self.assertEqual(tokyo.cli("diff", "app/db", "--from", "two", "--to", "two")["runs"], [])


if __name__ == "__main__":
    main()
