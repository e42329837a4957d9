"""What came of the runs of bench/compare: medians, ratios of medians, and the goals that they are judged by."""

import dataclasses
import statistics

MIB = 1 << 20
CACHED_READS_FROM_DISK_MAX = 0.01  # of what the host reads
PEERS = ("nbdkit", "qemu-nbd", "qemu-nbd writeback")  # on disk, and without history


class Summary:
    """Medians of the results, and ratios of medians. What was not measured is None."""

    def __init__(self, results):
        self.results = results

    def median(self, workload, subject, field):
        values = [result[field] for result in self.results
                  if (result["workload"], result["subject"]) == (workload, subject) and field in result]
        return statistics.median(values) if values else None

    def disk_bytes_per_host_byte(self, workload, subject):
        """Of all rounds together: destage comes in pieces that are larger than what a short run writes."""
        values = [result for result in self.results
                  if (result["workload"], result["subject"]) == (workload, subject) and
                  "server_written_bytes" in result]
        host = sum(result["host_written_bytes"] for result in values)
        return sum(result["server_written_bytes"] for result in values) / host if host else None

    def best_peer(self, workload, field):
        """The median of whichever peer was best."""
        values = [self.median(workload, peer, field) for peer in PEERS]
        return max((value for value in values if value is not None), default=None)

    def ratio(self, workload, subject, reference, field="iops"):
        value = self.median(workload, subject, field)
        other = (self.best_peer(workload, field) if reference == "best peer" else
                 self.median(workload, reference, field))
        return value / other if value is not None and other else None

    def sums(self, workload, subject):
        """Of all rounds: bytes that the host and the servers read; and the most that the host wrote in one."""
        values = [result for result in self.results
                  if (result["workload"], result["subject"]) == (workload, subject) and "server_read_bytes" in result]
        return (sum(result["host_read_bytes"] for result in values),
                sum(result["server_read_bytes"] for result in values),
                max((result["host_written_bytes"] for result in values), default=0))

    def all(self, subjects, workloads):
        return [{"workload": workload, "subject": subject,
                 "iops": self.median(workload, subject, "iops"),
                 "megabytes_per_second": self.median(workload, subject, "megabytes_per_second"),
                 "p99_us": self.median(workload, subject, "p99_us"),
                 "server_cpu_us_per_operation": self.median(workload, subject, "server_cpu_us_per_operation"),
                 "disk_bytes_per_host_byte": self.disk_bytes_per_host_byte(workload, subject),
                 "server_peak_bytes": self.median(workload, subject, "server_peak_bytes"),
                 "ratio_to_best_peer": self.ratio(workload, subject, "best peer"),
                 "ratio_to_raw_file": self.ratio(workload, subject, "raw file"),
                 "ratio_to_nbdkit_memory": self.ratio(workload, subject, "nbdkit memory")}
                for workload in workloads for subject in subjects]


def shown(value, width, digits):
    return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"


def table(rows):
    lines = [f"{'':20} {'':>9} {'':>8} {'':>9} {'CPU':>8} {'':>9} {'peak':>6} {'ratio to':>9}",
             f"{'':20} {'IOPS':>9} {'MB/s':>8} {'p99 us':>9} {'us/op':>8} {'disk/host':>9} {'MiB':>6} "
             f"{'best peer':>9} {'raw':>6} {'memory':>6}"]
    workload = None
    for row in rows:
        if row["workload"] != workload:
            workload = row["workload"]
            lines += ["", workload]
        peak = row["server_peak_bytes"]
        lines.append(" ".join([
            f"  {row['subject']:18}", shown(row["iops"], 9, 0), shown(row["megabytes_per_second"], 8, 1),
            shown(row["p99_us"], 9, 0), shown(row["server_cpu_us_per_operation"], 8, 1),
            shown(row["disk_bytes_per_host_byte"], 9, 2), shown(None if peak is None else peak / MIB, 6, 0),
            shown(row["ratio_to_best_peer"], 9, 2), shown(row["ratio_to_raw_file"], 6, 2),
            shown(row["ratio_to_nbdkit_memory"], 6, 2)]))
    return "\n".join(lines)


# ---- Goals


@dataclasses.dataclass(frozen=True)
class Goal:
    """What Tidemark wants to reach: the ratio of a subject's field to the reference's."""

    workload: str
    subject: str
    reference: str  # "host": of the bytes to disk
    least: float = 0
    most: float = 0  # counts where it is not 0
    field: str = "iops"

    def ratio(self, summary):
        if self.field == "disk/host":
            return summary.disk_bytes_per_host_byte(self.workload, self.subject)
        return summary.ratio(self.workload, self.subject, self.reference, self.field)

    def note(self, summary, room_bytes):
        """What the ratio should not be read without; often nothing."""
        host_read, server_read, written_most = summary.sums(self.workload, self.subject)
        if self.reference == "nbdkit memory" and host_read and server_read > host_read * CACHED_READS_FROM_DISK_MAX:
            return f"not all from cache: {100 * server_read / host_read:.0f} % came from disk"
        if self.field == "disk/host" and self.subject == "tidemark" and written_most > room_bytes:
            return "with destage: a run outgrew its journal, give a larger --journal-size"
        return ""

    def met(self, ratio):
        return ratio <= self.most if self.most else ratio >= self.least

    def wanted(self):
        return f"<= {self.most:.2f}" if self.most else f">= {self.least:.2f}"


GOALS = [
    Goal("write 4k, depth 32", "tidemark", "best peer", least=2.0),
    Goal("write 4k, depth 32", "tidemark", "raw file", least=1.2),
    Goal("write 4k, depth 32", "tidemark pair", "best peer", least=1.0),
    Goal("write 4k, flush each", "tidemark", "best peer", least=1.5),
    Goal("write 4k, flush each", "tidemark", "raw file", least=0.85),
    Goal("read 4k, depth 32", "tidemark", "nbdkit memory", least=1.3),
    Goal("read 4k, depth 1", "tidemark", "nbdkit memory", least=1.2),
    Goal("write 128k, depth 8", "tidemark", "nbdkit", least=1.0),
    Goal("write 128k, depth 8", "tidemark mirror", "nbdkit", least=0.8),
    Goal("read 128k, depth 8", "tidemark", "raw file", least=1.0),
    Goal("write 4k, depth 32", "tidemark", "nbdkit", most=0.5, field="server_cpu_us_per_operation"),
    Goal("write 4k, depth 32", "tidemark", "host", most=1.05, field="disk/host"),
    Goal("write 4k, depth 32", "tidemark mirror", "host", most=2.3, field="disk/host"),
]
FIELD_WORDS = {"iops": "IOPS", "server_cpu_us_per_operation": "CPU/op", "disk/host": "bytes to disk"}


def goals(summary, room_bytes):
    """Each goal with the ratio that was seen (None: not measured). `room_bytes`: what a run may write into a journal
    before history goes."""
    seen = [(goal, goal.ratio(summary)) for goal in GOALS]
    return [{"workload": goal.workload, "subject": goal.subject, "field": goal.field, "reference": goal.reference,
             "ratio": ratio, "wanted": goal.wanted(), "met": None if ratio is None else goal.met(ratio),
             "note": "" if ratio is None else goal.note(summary, room_bytes)}
            for goal, ratio in seen]


def goal_table(rows):
    lines = ["Goals", f"  {'':20} {'':15} {'':>13} {'to':14} {'ratio':>6} {'goal':>8}"]
    for row in rows:
        verdict = {None: "not measured", True: "met", False: "missed"}[row["met"]]
        note = row["note"] and "; " + row["note"]
        lines.append(f"  {row['workload']:20} {row['subject']:15} {FIELD_WORDS[row['field']]:>13} "
                     f"{row['reference']:14} {shown(row['ratio'], 6, 2)} {row['wanted']:>8}  {verdict}{note}")
    lines += ["  Reads should come from caches, which hold the volume. Bytes to disk are those of a journal whose",
              "  segments have been used before: the first pass over a fresh journal writes each of them twice, once",
              "  with zeroes."]
    return "\n".join(lines)
