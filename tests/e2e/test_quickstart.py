#!/usr/bin/python3
"""The product's front door works, in both of its forms, and leaves nothing behind."""

import glob
import os
import unittest

from tidemark_testing import PROGRAMS, ROOT, TidemarkTest, main, run


class Quickstart(TidemarkTest):
    def quickstart(self, *arguments):
        out = run(os.path.join(ROOT, "quickstart"), *arguments, seconds=220,
                  env=dict(os.environ, TMPDIR=self.folder, TIDEMARK_PROGRAMS=PROGRAMS))
        self.assertIn("Done in", out)
        self.assertEqual(glob.glob(os.path.join(self.folder, "tidemark.*")), [])
        with open("/proc/mounts", encoding="utf-8") as mounts:
            self.assertNotIn(self.folder, mounts.read())

    def test_as_an_ordinary_user_would_run_it(self):
        self.quickstart("--no-root")

    @unittest.skipUnless(os.getuid() == 0 and os.path.exists("/dev/fuse"), "mounting takes root and FUSE")
    def test_with_mounts(self):
        self.quickstart()


if __name__ == "__main__":
    main()
