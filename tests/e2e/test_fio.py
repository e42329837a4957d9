#!/usr/bin/python3
"""fio writes with checksums of its own and reads everything back."""

import os

from tidemark_testing import TidemarkTest, main, run


class Fio(TidemarkTest):
    def verify(self, node, export, *options):
        run("fio", "--name=verify", "--ioengine=nbd", f"--uri={node.uri(export)}", "--verify=crc32c",
            "--verify_fatal=1", "--do_verify=1", "--size=48M", *options, cwd=self.folder)

    def test_random_writes_of_mixed_sizes_verify(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="64M")
        self.verify(tokyo, "app/db", "--rw=randwrite", "--bsrange=4k-128k", "--blockalign=4k", "--iodepth=16",
                    "--fsync=64")

    def test_unaligned_writes_verify(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="64M")
        self.verify(tokyo, "app/db", "--rw=randwrite", "--bs=1536", "--iodepth=8", "--io_size=4M")

    def test_a_journal_smaller_than_the_writes_verifies(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="64M", options=("--journal-size", "64M", "--retain", "0"))
        for _ in range(3):
            self.verify(tokyo, "app/db", "--rw=write", "--bs=256k", "--iodepth=8")

    def test_on_a_pair_both_sides_hold_what_fio_wrote(self):
        tokyo, osaka = self.pair("db", size="64M")
        self.verify(tokyo, "app/db", "--rw=randwrite", "--bs=4k", "--iodepth=16", "--io_size=24M")
        tokyo.mark("app", "end", "--wait", "peer")
        run("nbdcopy", tokyo.uri("app/db"), self.path("tokyo.img"))
        run("nbdcopy", osaka.uri("app/db@end"), self.path("osaka.img"))
        run("cmp", self.path("tokyo.img"), self.path("osaka.img"))
        os.unlink(self.path("tokyo.img"))


if __name__ == "__main__":
    main()
