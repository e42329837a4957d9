#!/usr/bin/python3
"""One node: groups, volumes and what NBD clients of all kinds make of them."""

import json
import os

import nbd

from tidemark_testing import BLOCK, MIB, PROGRAMS, Connection, Model, TidemarkTest, main, run


class SingleNode(TidemarkTest):
    def test_status_tells_name_addresses_and_groups(self):
        tokyo = self.node()
        tokyo.create("app", "db", "files")
        status = tokyo.cli("status")
        self.assertEqual(status["node"], "tokyo")
        self.assertTrue(any(tokyo.nbd_socket in address for address in status["nbd_addresses"]), status)
        self.assertEqual([group["group"] for group in status["groups"]], ["app"])
        self.assertEqual(sorted(volume["volume"] for volume in status["groups"][0]["volumes"]), ["db", "files"])
        self.assertIn("app", run(f"{PROGRAMS}/tidemark", "--node", tokyo.folder, "status"))  # and for a person

    def test_nbdinfo_sees_size_flags_and_list(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="64M")
        info = json.loads(run("nbdinfo", "--json", tokyo.uri("app/db")))["exports"][0]
        self.assertEqual(info["export-size"], 64 * MIB)
        self.assertFalse(info["is_read_only"])
        for flag in ("can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"):
            self.assertTrue(info[flag], flag)
        listed = json.loads(run("nbdinfo", "--list", "--json", tokyo.uri("")))["exports"]
        self.assertIn("app/db", [export["export-name"] for export in listed])
        run("nbdinfo", tokyo.uri("app/nothing"), status=1)

    def test_nbdcopy_in_and_out_gives_the_same_image(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="32M")
        with open(self.path("in.img"), "wb") as image:
            for _ in range(16):
                image.write(os.urandom(MIB) + bytes(MIB))
        run("nbdcopy", "--flush", self.path("in.img"), tokyo.uri("app/db"))
        run("nbdcopy", tokyo.uri("app/db"), self.path("out.img"))
        run("cmp", self.path("in.img"), self.path("out.img"))

    def test_qemu_io_writes_and_reads_patterns(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        uri = tokyo.uri("app/db")
        run("qemu-io", "-f", "raw", "-d", "unmap", uri,
            "-c", "write -P 0x5a 4096 65536", "-c", "write -P 0xa5 100 512", "-c", "write -f -P 0x11 1M 4k",
            "-c", "write -z 8192 4096", "-c", "discard 16k 4k", "-c", "flush")
        out = run("qemu-io", "-f", "raw", uri,
                  "-c", "read -P 0x5a 4096 4096", "-c", "read -P 0 8192 4096", "-c", "read -P 0x5a 12288 4096",
                  "-c", "read -P 0 16384 4096", "-c", "read -P 0xa5 100 512", "-c", "read -P 0 0 100",
                  "-c", "read -P 0 612 3484", "-c", "read -P 0x11 1M 4k")
        self.assertNotIn("verification failed", out)
        self.assertIn("raw", run("qemu-img", "info", uri))

    def test_nbdsh_runs_a_script(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        out = run("nbdsh", "-u", tokyo.uri("app/db"), "-c", "h.pwrite(b'tidemark' * 512, 8192)",
                  "-c", "h.flush()", "-c", "print(h.pread(8, 8192))")
        self.assertIn("tidemark", out)

    def test_random_writes_of_all_shapes_read_back(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        model = Model(16 * MIB, seed=1)
        with Connection(tokyo, "app/db") as handle:
            model.scribble(handle, 1500)
            handle.flush()
        self.assertHolds(tokyo, "app/db", model.bytes)

    def test_block_status_tells_holes_from_data(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="16M")
        extents = []
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(b"x" * MIB, 4 * MIB)

            def collect(_context, offset, entries, _error):
                for length, flags in zip(entries[0::2], entries[1::2]):
                    extents.append((offset, length, flags))
                    offset += length

            position = 0
            while position < 16 * MIB:
                handle.block_status(16 * MIB - position, position, collect)
                position = extents[-1][0] + extents[-1][1]
        for offset, length, flags in extents:
            has_data = offset < 5 * MIB and offset + length > 4 * MIB
            if not has_data:
                self.assertTrue(flags & nbd.STATE_ZERO, (offset, length, flags))
        written = [entry for entry in extents if entry[0] <= 4 * MIB < entry[0] + entry[1]]
        self.assertFalse(written[0][2] & nbd.STATE_ZERO)

    def test_two_connections_see_each_others_writes(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        with Connection(tokyo, "app/db") as one, Connection(tokyo, "app/db") as two:
            one.pwrite(b"1" * BLOCK, 0)
            self.assertEqual(bytes(two.pread(BLOCK, 0)), b"1" * BLOCK)
            two.pwrite(b"2" * 10, 5)
            self.assertEqual(bytes(one.pread(20, 0)), b"1" * 5 + b"2" * 10 + b"1" * 5)

    def test_requests_outside_the_volume_fail_and_the_connection_lives_on(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="1M")
        with Connection(tokyo, "app/db") as handle:
            handle.set_strict_mode(0)  # let libnbd send what it knows to be wrong
            for attempt in (lambda: handle.pread(BLOCK, MIB), lambda: handle.pwrite(b"x" * BLOCK, MIB - 1),
                            lambda: handle.trim(BLOCK, 1 << 62)):
                with self.assertRaises(nbd.Error):
                    attempt()
            handle.pwrite(b"y" * BLOCK, MIB - BLOCK)
            self.assertEqual(bytes(handle.pread(BLOCK, MIB - BLOCK)), b"y" * BLOCK)

    def test_resize_keeps_what_stays_and_zeroes_what_comes(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="1M")
        tokyo.write("app/db", 0, b"k" * MIB)
        tokyo.cli("volume", "resize", "app/db", "--size", "2M")
        self.assertHolds(tokyo, "app/db", b"k" * MIB + bytes(MIB))

    def test_cache_counters_grow_for_each_volume_by_itself(self):
        tokyo = self.node()
        tokyo.create("app", "db", "files")
        with Connection(tokyo, "app/db") as handle:
            handle.pwrite(b"x" * BLOCK * 8, 0)
            for _ in range(3):
                handle.pread(BLOCK * 8, 0)
        cache = tokyo.cli("volume", "show", "app/db")["cache"]
        # Reads and writes are counted as the host sent them, whatever their length.
        self.assertEqual(cache["read_hits"] + cache["read_misses"], 3)
        self.assertEqual(cache["read_hits"], 3)  # what was just written is in memory
        self.assertEqual(cache["write_hits"] + cache["write_misses"], 1)
        self.assertGreaterEqual(cache["dirty_bytes"], 8 * BLOCK)
        other = tokyo.cli("volume", "show", "app/files")["cache"]
        self.assertEqual([other[name] for name in ("read_hits", "read_misses", "write_hits", "write_misses")], [0] * 4)

    def test_a_volume_in_use_is_not_deleted(self):
        tokyo = self.node()
        tokyo.create("app", "db")
        with Connection(tokyo, "app/db"):
            refusal = tokyo.refused("volume", "delete", "app/db")
            self.assertEqual(refusal.status, 1)
        tokyo.cli("volume", "delete", "app/db", "--force")
        self.assertEqual(tokyo.cli("volume", "list")["volumes"], [])


if __name__ == "__main__":
    main()
