#!/usr/bin/env python3
"""Reads what `tidemark journal export` wrote; docs/formats/journal-export.md describes the file.

  read_journal_export.py list   FILE                     what lies in it, entry by entry
  read_journal_export.py verify FILE                     every checksum and count
  read_journal_export.py redo   FILE VOLUME IMAGE        a raw image of the first point becomes one of the last
  read_journal_export.py undo   FILE VOLUME IMAGE        and back

Needs Python 3.8 and nothing else: no node, no library. FILE may be - for list and verify.
"""

import argparse
import collections
import errno
import json
import os
import struct
import sys

BEGIN = b"tidemark-journal-export 1\n"
TEXT_BYTES_MAX = 1 << 20
DATA_BYTES_MAX = 64 << 20


class BadFile(Exception):
    """What is wrong with an export, for a person."""


POLYNOMIAL = 0x82F63B78  # CRC32C (Castagnoli); the lowest bit is the highest power of x


def _constants():
    """The CRC32C of each byte, and x**(2**j + 32) modulo the polynomial for each j."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)

    def times(a, b):
        product = 0
        for bit in range(32):
            if a >> (31 - bit) & 1:
                product ^= b
            b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
        return product

    square, powers = 1 << 30, []  # x
    for _ in range(40):
        powers.append(times(square, POLYNOMIAL))  # x**32 is the polynomial without its highest power
        square = times(square, square)
    return table, [[bit for bit in range(32) if power >> bit & 1] for power in powers]


_TABLE, _POWERS = _constants()


def crc32c(data, crc=0):
    """The CRC32C of `data` behind bytes that have `crc`.

    Python knows CRC-32 only, and takes bytes one by one slowly. So the data are one large number, a polynomial over
    GF(2), whose upper half is folded onto the lower one again and again: some 100 MB/s.
    """
    bits = 8 * len(data) + 32
    number = int.from_bytes(data, "little") ^ crc ^ 0xFFFFFFFF
    for j in range(bits.bit_length(), 5, -1):
        left = (1 << j) + 32
        if bits <= left:
            continue
        upper = number & (1 << bits - left) - 1
        number >>= bits - left
        product = 0
        for bit in _POWERS[j]:
            product ^= upper << bit
        number ^= product << 2 * left - bits - 31
        bits = left
    crc = 0
    for byte in (number & (1 << bits - 32) - 1).to_bytes(bits // 8 - 4, "little"):
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ number >> bits - 32 ^ 0xFFFFFFFF


class Entry:
    """One record: an entry, or more of the one before it."""

    def __init__(self, text, data, position):
        self.text = text
        self.entry = text["entry"]
        self.continued = text["continued"]
        self.data = data
        self.position = position

    def pieces(self, side):
        """(offset in the volume, bytes) of each piece of one side; what none gives is zeroes."""
        at = 0
        for piece in self.text["pieces"]:
            length = piece["length_bytes"]
            if piece["side"] == side:
                yield piece["offset_bytes"], self.data[at:at + length]
            at += length


class Export:
    """A file, read from its beginning to its end: `for entry in export`. Afterwards it was whole."""

    def __init__(self, file):
        self.file = file
        begin = self._take(len(BEGIN), "its first line")
        if begin != BEGIN:
            raise BadFile(f"it does not begin with {BEGIN.decode().strip()!r}")
        self._before = begin[-4:]
        self.position = len(BEGIN)
        kind, text, _ = self._record()
        if kind != b"HEAD":
            raise BadFile("its first record is no HEAD")
        self.head = text
        self.end = None

    def _take(self, count, what):
        data = self.file.read(count)
        if len(data) != count:
            raise BadFile(f"it is cut off in {what}: its end is missing")
        return data

    def _record(self, check=True):
        what = f"the record at offset {self.position}"
        begin = self._take(12, what)
        kind, text_length, data_length = struct.unpack("<4sII", begin)
        if text_length > TEXT_BYTES_MAX or data_length > DATA_BYTES_MAX:
            raise BadFile(f"{what} has a length that none has")
        text = self._take(text_length, what)
        data = self._take(data_length, what)
        checksum = self._take(4, what)
        if check:
            crc = crc32c(data, crc32c(text, crc32c(self._before + begin)))
            if struct.pack("<I", crc) != checksum:
                raise BadFile(f"{what} does not match its checksum")
        self._before = checksum
        self.position += 16 + text_length + data_length
        return kind, json.loads(text), data

    def __iter__(self):
        records = entries = data_bytes = 0
        last = None
        while True:
            position = self.position
            kind, text, data = self._record()
            if kind == b"TAIL":
                self.end = text
                break
            if kind != b"ENTR":
                raise BadFile(f"the record at offset {position} is of an unknown kind: {kind!r}")
            record = Entry(text, data, position)
            if sum(piece["length_bytes"] for piece in text["pieces"]) != len(data):
                raise BadFile(f"the record at offset {position} has more or less data than its pieces")
            if record.continued and record.entry["log_id"] != last:
                raise BadFile(f"the record at offset {position} continues an entry that is not there")
            records, entries = records + 1, entries + (not record.continued)
            data_bytes, last = data_bytes + len(data), record.entry["log_id"]
            yield record
        told = (self.end["records"], self.end["entries"], self.end["data_bytes"], self.end.get("last"))
        if told != (records, entries, data_bytes, last):
            raise BadFile(f"its end tells of other records than it holds: {told}")
        if self.file.read(1):
            raise BadFile("something lies behind its end")

    def again(self, position):
        """The record at a position, once the whole was verified."""
        self.file.seek(position)
        self.position = position
        _, text, data = self._record(check=False)
        return Entry(text, data, position)


def show(export):
    head = export.head
    print(f"group {head['group']} of node {head['node']}, entries after log:{head['from']['log_id']} "
          f"up to log:{head['to']['log_id']}, data: {head['data']}")
    for volume in head["volumes"]:
        sizes = [str(volume.get(key, "none")) for key in ("size_bytes_from", "size_bytes_to")]
        print(f"volume {volume['volume']} (number {volume['number']}): {sizes[0]} bytes, then {sizes[1]}")
    for record in export:
        if record.continued:
            continue
        entry = record.entry
        place = f"{entry['volume']} {entry['offset_bytes']}+{entry['length_bytes']}" if entry["length_bytes"] else entry["volume"]
        words = [entry["log_id"], entry["timer"]["time"], entry["kind"], "*" if entry["mark"] else "-", place,
                 entry["mark_id"], entry["host"], entry.get("host_time", {}).get("time", ""), entry["note"]]
        print("  ".join(word for word in words if word))


def zero(image, begin, end):
    """Zeroes, without filling the holes of a sparse image."""
    while begin < end:
        try:
            data = os.lseek(image, begin, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole up to the end
            raise
        if data >= end:
            return
        hole = min(os.lseek(image, data, os.SEEK_HOLE), end)
        begin = data
        while begin < hole:
            count = min(1 << 20, hole - begin)
            os.pwrite(image, bytes(count), begin)
            begin += count


def put(image, records, side):
    """The place of one entry, as it was on one side of it."""
    at = records[0].entry["offset_bytes"]
    end = at + records[0].entry["length_bytes"]
    for record in records:
        for offset, data in record.pieces(side):
            zero(image, at, offset)
            os.pwrite(image, data, offset)
            at = offset + len(data)
    zero(image, at, end)


def apply(export, name, path, forward):
    side = "after" if forward else "before"
    head = export.head
    if head["data"] not in (side, "both"):
        raise BadFile(f"it holds only the data {head['data']} each entry; for this the data {side} are needed")
    known = [volume for volume in head["volumes"] if volume["volume"] == name]
    if not known:
        raise BadFile(f"it holds nothing of a volume {name!r}; see list")
    key_now, key_then = ("size_bytes_from", "size_bytes_to") if forward else ("size_bytes_to", "size_bytes_from")
    volume = next((one for one in known if key_now in one), None)
    if volume is None or key_then not in volume:
        raise BadFile(f"volume {name!r} does not exist at both points")
    # All is verified before anything is changed. An entry and what continues it go together.
    groups = collections.OrderedDict()
    sizes = {}
    size = volume["size_bytes_from"]
    for record in export:
        entry = record.entry
        if entry.get("volume_number") != volume["number"]:
            continue
        if entry["kind"] in ("volume-create", "volume-delete"):
            raise BadFile(f"volume {name!r} was made or deleted in between, at log:{entry['log_id']}")
        groups.setdefault(entry["log_id"], []).append(record.position)
        if entry["kind"] == "volume-resize":
            sizes[entry["log_id"]] = (size, entry["size_bytes"])
            size = entry["size_bytes"]
    image = os.open(path, os.O_RDWR)
    try:
        if os.fstat(image).st_size != volume[key_now]:
            raise BadFile(f"the image has {os.fstat(image).st_size} bytes, the volume had {volume[key_now]}: "
                          "it is none of that point")
        for log_id in groups if forward else reversed(groups):
            records = [export.again(position) for position in groups[log_id]]
            if log_id in sizes:
                os.ftruncate(image, sizes[log_id][1 if forward else 0])
            elif records[0].entry["length_bytes"]:
                put(image, records, side)
        os.fsync(image)
    finally:
        os.close(image)
    print(f"{'redone' if forward else 'undone'}: {len(groups)} entries of {name}; {path} is as of "
          f"log:{head['to' if forward else 'from']['log_id']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("list", "verify", "redo", "undo"):
        command = commands.add_parser(name)
        command.add_argument("file", metavar="FILE")
        if name in ("redo", "undo"):
            command.add_argument("volume", metavar="VOLUME")
            command.add_argument("image", metavar="IMAGE")
    arguments = parser.parse_args()
    try:
        with open(0 if arguments.file == "-" else arguments.file, "rb") as file:
            export = Export(file)
            if arguments.command == "list":
                show(export)
            elif arguments.command == "verify":
                for _ in export:
                    pass
                print(f"whole: {export.end['entries']} entries, {export.end['data_bytes']} bytes of data")
            else:
                apply(export, arguments.volume, arguments.image, arguments.command == "redo")
    except (BadFile, OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{arguments.file}: {error}")


if __name__ == "__main__":
    main()
