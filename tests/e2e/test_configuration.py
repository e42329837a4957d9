#!/usr/bin/python3
"""How a node is started, and how it says that it cannot be."""

import os
import socket
import subprocess

from tidemark_testing import PROGRAMS, Node, TidemarkTest, main, run


class Configuration(TidemarkTest):
    def fails(self, *arguments):
        """What tidemarkd says on standard error when it does not start."""
        done = subprocess.run([f"{PROGRAMS}/tidemarkd", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60, check=False, text=True)
        self.assertIn(done.returncode, (1, 2), done)
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
        self.fails("--config", self.path("nothing.toml"))

    def test_a_configuration_file_is_checked_with_line_and_key(self):
        self.assertIn("node.toml", self.fails("--config", self.write("this is = = not toml")))
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
