#!/usr/bin/python3
"""How a node is started, and how it says that it cannot be."""

import os
import socket
import subprocess

from tidemark_testing import BLOCK, PROGRAMS, Node, TidemarkTest, main, run, wait_until


class Configuration(TidemarkTest):
    def fails(self, *arguments, status=None):
        """What tidemarkd says on standard error when it does not start."""
        done = subprocess.run([f"{PROGRAMS}/tidemarkd", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60, check=False, text=True)
        self.assertIn(done.returncode, (1, 2) if status is None else (status,), done)
        self.assertNotIn("ready", done.stdout)
        self.assertTrue(done.stderr.strip())
        return done.stderr

    def write(self, text):
        path = self.path("node.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_a_data_folder_is_used_by_one_node_at_a_time(self):
        tokyo = self.node()
        self.assertIn(tokyo.folder, self.fails("--data", tokyo.folder))
        self.assertEqual(tokyo.cli("status")["node"], "tokyo")
        tokyo.kill()
        tokyo.start()  # a dead owner does not keep it

    def test_a_folder_that_cannot_be_used(self):
        with open(self.path("file"), "w", encoding="utf-8") as file:
            file.write("not a folder")
        self.assertIn(self.path("file"), self.fails("--data", self.path("file")))
        self.fails("--data", "/proc/nowhere")

    def test_the_command_line_is_checked(self):
        self.fails()
        self.fails("--data", self.path("x"), "--nonsense")
        self.fails("--data", self.path("x"), "--name", "no name")
        self.fails("--data", self.path("x"), "--nbd", "nonsense:1")
        self.fails("--data", self.path("x"), "--cache-size", "lots")
        missing = self.path("nothing.toml")
        self.assertIn(f"configuration file '{missing}' cannot be read: No such file or directory",
                      self.fails("--config", missing, status=2))
        self.assertIn("Is a directory", self.fails("--config", self.folder, status=2))

    def test_what_cannot_be_is_refused_before_anything_is_made(self):
        for option, value, word in (("--cache-size", "1M", "at least 16 MiB"),
                                    ("--disk-size", "1M", "at least 64 MiB"),
                                    ("--nbd", "nonsense:1", "unix:PATH or tcp:HOST:PORT"),
                                    ("--nbd", "unix:/" + 120 * "x", "107 bytes"),
                                    ("--control", "tcp:192.0.2.1:80", "loopback"),
                                    ("--control", "tcp:127.0.0.1", "port"),
                                    ("--replication", "tcp:192.0.2.1:80", "loopback")):
            with self.subTest(option=option, value=value):
                said = self.fails("--data", self.path("x"), option, value, status=2)
                self.assertIn(word, said)
                self.assertIn(option, said)
                self.assertFalse(os.path.exists(self.path("x")))
        config = self.write(f'data = "{self.path("x")}"\ncache-size = "1M"\n')
        self.assertIn("cache-size", self.fails("--config", config, status=2))
        self.assertFalse(os.path.exists(self.path("x")))

    def test_every_line_of_the_log_is_an_event_with_fields(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="1M")
        tokyo.cli("volume", "resize", "app/db", "--size", "2M")
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(tokyo.nbd_socket)
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while stranger.recv(100):
                pass
        tokyo.cli("volume", "delete", "app/db")
        tokyo.cli("group", "delete", "app")
        wait_until(lambda: " nbd-end " in tokyo.log(), "the stranger's end is logged")
        tokyo.stop()
        lines = tokyo.log(100).splitlines()
        field = r'[a-z_]+=([^ "=]+|"([^"\\]|\\.)*")'
        for line in lines:
            self.assertRegex(line, rf"^\d{{4}}-\S+Z [a-z-]+( {field})*$")
        events = [line.split()[1] for line in lines]
        for event in ("disk", "ready", "group-create", "volume-create", "volume-resize", "volume-delete",
                      "group-delete", "nbd-end", "stopping", "stopped"):
            self.assertIn(event, events)

    def test_a_damaged_label_is_made_good_and_told_until_the_next_start(self):
        tokyo = self.node()
        tokyo.create("app", "db", size="1M")
        tokyo.stop()
        with open(os.path.join(tokyo.folder, "disk"), "r+b") as disk:
            disk.write(os.urandom(BLOCK))
        tokyo.start()
        problems = tokyo.cli("status")["problems"]
        self.assertEqual(len(problems), 1)
        self.assertIn("copy 0 of the disk's label", problems[0]["text"])
        self.assertIn("disk-damage", tokyo.log())
        tokyo.kill()
        tokyo.start()
        self.assertEqual(tokyo.cli("status").get("problems", []), [])

    def test_a_configuration_file_is_checked_with_line_and_key(self):
        self.assertIn("node.toml", self.fails("--config", self.write("this is = = not toml")))
        for letter in "\u00e9\ufefe\u3042":
            said = self.fails("--config", self.write(f'# {letter}\n{letter} = 1\n'), status=2)
            self.assertIn("line 2", said)
        for brackets in ("[=]", "[[#", "[\x0f", "a = 1\n[ {"):  # what toml++ itself asserts
            self.assertIn("node.toml", self.fails("--config", self.write(brackets), status=2))
        self.assertIn("colour", self.fails("--config", self.write(f'data = "{self.path("d")}"\ncolour = "blue"\n')))
        self.assertIn("name", self.fails("--config", self.write(f'data = "{self.path("d")}"\nname = 7\n')))
        said = self.fails("--config", self.write(f'data = "{self.path("d")}"\ncache-size = "lots"\n'))
        for word in ("node.toml", "line 2", "cache-size", "lots"):
            self.assertIn(word, said)

    def test_a_configuration_file_is_followed(self):
        path = self.write(f'data = "{self.path("d")}"\nname = "kyoto"\n')
        node = Node(self.path("d"), "kyoto")
        self.nodes.append(node)
        node.start("--config", path)
        self.assertEqual(node.cli("status")["node"], "kyoto")

    def test_it_listens_where_it_is_told_also_on_tcp(self):
        socket_path = self.path("other.sock")
        tokyo = self.node("tokyo", "--nbd", f"unix:{socket_path}", "--nbd", "tcp:127.0.0.1:0")
        tokyo.create("app", "db", size="1M")
        run("nbdinfo", "--size", f"nbd+unix:///app/db?socket={socket_path}")
        tcp = [address for address in tokyo.cli("status")["nbd_addresses"] if address.startswith("tcp:")][0]
        port = tcp.rsplit(":", 1)[1]
        self.assertNotEqual(port, "0")
        self.assertEqual(run("nbdinfo", "--size", f"nbd://127.0.0.1:{port}/app/db").strip(), str(1 << 20))

    def test_an_address_in_use_is_an_error_that_names_it(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertIn(str(port), self.fails("--data", self.path("x"), "--nbd", f"tcp:127.0.0.1:{port}"))

    def test_sockets_left_by_a_killed_node_do_not_stop_the_next(self):
        tokyo = self.node()
        tokyo.kill()
        self.assertTrue(os.path.exists(tokyo.nbd_socket))
        tokyo.start()
        self.assertEqual(tokyo.cli("status")["node"], "tokyo")


if __name__ == "__main__":
    main()
