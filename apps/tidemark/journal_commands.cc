#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "control/export_file.h"
#include "output_file.h"
#include "progress.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

void add_start(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::JournalStartRequest>();
  CLI::App* command = add_command(
      family, "start", "Acquire the log, and suspend the duplex",
      "From here on every update is kept as log until `journal stop`, however long that is: the retention "
      "and a "
      "full journal take nothing of it. On the primary of a pair in PAIR the secondary acquires the log: the "
      "copies there that are in duplex stay as they are at this moment, and whatever is written later lies "
      "beside them. Streaming goes on. On a node alone the log is kept there. What lacks room then is a new "
      "write (alone) or the pair (the secondary suspends it), never the log.",
      "tidemark journal start app");
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_journal); });
}

void add_stop(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::JournalStopRequest>();
  CLI::App* command = add_command(
      family, "stop", "Cease to acquire the log",
      "What was kept since `journal start` is history like any other again, and the copies on the "
      "secondary follow.",
      "tidemark journal stop app");
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_journal); });
}

void add_status(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::JournalStatusRequest>();
  CLI::App* command =
      add_command(family, "status", "Show a journal's extent and use",
                  "Shows the window of readable points (floor to head), how full the journal is, its log "
                  "volumes, what keeps the floor from rising, and when it was verified last.",
                  "tidemark journal status app");
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_journal); });
}

void add_add_volume(CLI::App& family, Cli& cli) {
  struct Options {
    control::JournalVolumeAddRequest request;
    std::optional<std::uint64_t> size_bytes;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "add-volume", "Add a log volume to a journal",
      "The journal goes on there too, so that it keeps longer history, or a full one has room again; hosts "
      "notice nothing. The log volume is on the RAID group of the first one, or on another with --raid. Its "
      "size is rounded up to whole segments of the journal. A group has at most 16.",
      "tidemark journal add-volume app --size 64G --raid backup");
  add_group(command, options->request.group);
  add_size(command, "--size", options->size_bytes, "How large it is", control::kJournalSizeRule).required();
  add_text(command, "--raid", options->request.raid, "The RAID group that it lies on (that of the first one)")
      .shown_as("NAME");
  on_chosen(cli, command, [&cli, options] {
    options->request.size_bytes = *options->size_bytes;
    return cli.ask(options->request, show_journal);
  });
}

void add_remove_volume(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::JournalVolumeRemoveRequest>();
  CLI::App* command = add_command(
      family, "remove-volume", "Remove a log volume from a journal",
      "Nothing more is written to it, and what it holds stays readable as long as the window reaches there. "
      "Then it goes by itself, and its space is the RAID group's again: `journal status` shows it as leaving "
      "until then. A shorter `group set --retain` hastens it, a held mark delays it. The group's first log "
      "volume stays as long as the group.",
      "tidemark journal remove-volume app 12");
  add_group(command, request->group);
  add_number(command, "LOG-VOLUME", request->lu_number, 1, UINT32_MAX,
             "Its number, as `journal status` shows it")
      .required()
      .shown_as("");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_journal); });
}

void show_entries(const control::JournalShowReply& reply) {
  Table table({">LOG ID", "TIMER", "KIND", "MARK", "VOLUME", ">OFFSET", ">LENGTH", "MARK ID", "NOTE"});
  for (const control::JournalEntry& entry : reply.entries) {
    const bool placed = !entry.volume.empty();
    table.row({entry.log_id.to_string(), format_time(entry.timer), std::string(control::word(entry.kind)),
               entry.mark ? "*" : "", entry.volume, placed ? std::to_string(entry.offset_bytes) : "",
               placed ? std::to_string(entry.length_bytes) : "", entry.mark_id, entry.note});
  }
  table.print();
  if (reply.next) std::fprintf(stderr, "there is more: --from log:%s\n", reply.next->to_string().c_str());
}

// 16 bytes a line, as `hexdump -C` does.
void print_hex(std::uint64_t offset, const std::string& bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    std::string hex, text;
    for (std::size_t i = at; i < std::min(at + 16, bytes.size()); ++i) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      char digits[8];
      std::snprintf(digits, sizeof digits, "%02x ", byte);
      hex += digits;
      text.push_back(byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.');
    }
    std::printf("%010llx  %-48s |%s|\n", static_cast<unsigned long long>(offset) + at, hex.c_str(),
                text.c_str());
  }
}

// All the bytes of an entry, page by page: to a terminal as hex, elsewhere as they are.
Result<void> write_data(Cli& cli, control::JournalDataRequest request) {
  const bool as_hex = ::isatty(STDOUT_FILENO) == 1;
  for (;;) {
    TM_TRY_ASSIGN(const control::JournalDataReply reply, cli.call(request));
    if (as_hex) {
      print_hex(reply.entry.offset_bytes + reply.offset_bytes, reply.data.bytes);
    } else if (std::fwrite(reply.data.bytes.data(), 1, reply.data.bytes.size(), stdout) !=
               reply.data.bytes.size()) {
      return fail(ErrorCode::kIo, "cannot write to standard output; is the disk full?");
    }
    if (!reply.next) return Result<void>{};
    if (*reply.next <= request.offset_bytes)
      return fail(ErrorCode::kDamaged, "the node's pages do not advance");
    request.offset_bytes = *reply.next;
  }
}

void add_show(CLI::App& family, Cli& cli) {
  struct Options {
    control::JournalShowRequest list;
    std::optional<control::DataSide> side;
    std::string log_id;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(family, "show", "Show log entries, or the bytes of one",
                                  "Lists log entries from a point on: mark flag, log id, timer value and "
                                  "place of each; marks with their id and note. "
                                  "With --data and --id it writes the bytes at the place of one entry, just "
                                  "before or just after it, to standard "
                                  "output: as hex on a terminal, raw into a file or pipe.",
                                  "tidemark journal show app --id 1.42 --data before > before.bin");
  add_group(command, options->list.group);
  add_text(command, "--from", options->list.from, "Begin after this point (floor)").shown_as("POINT");
  add_limit(command, options->list.limit, "entries");
  const Argument data =
      add_word(command, "--data", options->side, "Write the bytes before or after the entry --id");
  const Argument id =
      add_text(command, "--id", options->log_id, "The entry for --data").shown_as("EPOCH.SEQ");
  data.goes_with(id);
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    if (!options->side) return cli.ask(options->list, show_entries);
    control::JournalDataRequest request;
    request.group = options->list.group;
    request.side = *options->side;
    const std::string& text = options->log_id;
    const Result<LogId> log_id = control::parse_log_id(text.starts_with("log:") ? text.substr(4) : text);
    if (!log_id.ok()) return cli.usage_error(log_id.error().message);
    request.log_id = *log_id;
    if (cli.json()) return cli.ask(request, [](const control::JournalDataReply&) {});
    return write_data(cli, request);
  });
}

// Writes the entries of one page, and checks that the page says what the file has to.
Result<void> write_page(const control::JournalExportPage& page, control::ExportFileWriter& writer,
                        OutputFile& file) {
  std::string_view data = page.data.bytes;
  for (const control::ExportedEntry& entry : page.entries) {
    std::uint64_t length = 0;
    for (const control::ExportedPiece& piece : entry.pieces) length += piece.length_bytes;
    if (length > data.size()) return fail(ErrorCode::kDamaged, "the node's answer lacks data of its entries");
    TM_TRY(file.write(writer.entry(entry, data.substr(0, length))));
    data.remove_prefix(length);
  }
  if (!data.empty()) return fail(ErrorCode::kDamaged, "the node's answer has data that belong to no entry");
  return {};
}

Result<void> write_entries(Cli& cli, const control::JournalExportInfo& info,
                           control::ExportFileWriter& writer, OutputFile& file) {
  Progress progress("exporting");
  TM_TRY(file.write(writer.begin(info)));
  control::JournalExportReadRequest request;
  request.group = info.group;
  request.id = info.id;
  for (;;) {
    if (InterruptsNoted::interrupted()) return fail(ErrorCode::kClosed, "interrupted before the end");
    TM_TRY_ASSIGN(const control::JournalExportPage page, cli.call(request));
    TM_TRY(write_page(page, writer, file));
    progress.show(page.entries_done, info.entries, writer.so_far().data_bytes);
    if (!page.next_after) break;
    const std::uint64_t within = page.next_within.value_or(0);
    if (page.next_after == request.after && within <= request.within_bytes)
      return fail(ErrorCode::kDamaged, "the node's pages do not advance");
    request.after = page.next_after;
    request.within_bytes = within;
  }
  TM_TRY(file.write(writer.end()));
  return file.finish();
}

Result<void> export_journal(Cli& cli, const control::JournalExportBeginRequest& request,
                            const std::string& path, bool overwrite) {
  if (path == "-" && ::isatty(STDOUT_FILENO) == 1)
    return cli.usage_error("FILE is '-', and standard output is a terminal; send it into a file or a pipe");
  if (path == "-" && cli.json())
    return cli.usage_error("FILE '-' leaves no room for -o json on standard output");
  const InterruptsNoted interrupts;
  TM_TRY_ASSIGN(OutputFile file, OutputFile::create(path, overwrite));
  TM_TRY_ASSIGN(const control::JournalExportInfo info, cli.call(request));
  control::ExportFileWriter writer;
  const Result<void> written = write_entries(cli, info, writer, file);
  // The node ends it by itself when it does not hear of it.
  (void)cli.call(control::JournalExportEndRequest{info.group, info.id});
  TM_TRY(written);
  const control::ExportFileEnd& end = writer.so_far();
  const std::string said = "exported " + std::to_string(end.entries) +
                           " entries after log:" + info.from.log_id.to_string() +
                           " up to log:" + info.to.log_id.to_string() + " (" + format_size(end.data_bytes) +
                           " of data) of " + info.group + " to " + path;
  if (cli.json()) {
    cli.print_json(control::Done{said});
  } else {
    std::fprintf(stderr, "%s\n", printable(said, 600).c_str());
  }
  return {};
}

void add_export(CLI::App& family, Cli& cli) {
  struct Options {
    control::JournalExportBeginRequest request;
    std::optional<control::ExportedData> data;
    std::string file;
    bool force = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(family, "export", "Write log entries with their data into a file",
                  "Writes the log entries after one point up to another into a file that needs no node to be "
                  "read: of each "
                  "the place, timer value, mark flag, mark id and note, and the data before and after it. "
                  "The way to --to "
                  "counts, so that a branch that was left can be exported too. The file is described in "
                  "docs/formats/journal-export.md; examples/read_journal_export.py lists it, verifies it, "
                  "and takes an image "
                  "of one point to the other and back. The points stay readable while the export runs, "
                  "unless the journal "
                  "is full and nothing else can go; then it fails. The file appears when it is complete.",
                  "tidemark journal export app --from before-upgrade --to head upgrade.tmj");
  add_group(command, options->request.group);
  add_text(command, "FILE", options->file, "The file to write; - is standard output").required().shown_as("");
  add_text(command, "--from", options->request.from, "Begin after this point (floor)").shown_as("POINT");
  add_text(command, "--to", options->request.to, "End with this one (head)").shown_as("POINT");
  add_word(command, "--data", options->data, "Which data come with the entries (both)");
  add_text(command, "--volume", options->request.volume,
           "Only the changes of this volume, and what concerns none: marks, epochs");
  add_flag(command, "--force", options->force, "Write over an existing file");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    if (options->data) options->request.data = *options->data;
    return export_journal(cli, options->request, options->file, options->force);
  });
}

// "shown by the points log:1.7 to log:1.9 (marks a, b)"
std::string affected_text(const control::DamageInfo& damage) {
  if (!damage.affected_from || !damage.affected_to) {
    return damage.traced ? "no readable point is known to show it"
                         : "which points show it was not looked for";
  }
  const std::string from = damage.affected_from->to_string();
  const std::string to = damage.affected_to->to_string();
  std::string text = from == to ? "affected is the point log:" + from
                                : "affected are the points log:" + from + " to log:" + to;
  std::string marks;
  for (const std::string& mark : damage.marks) marks += (marks.empty() ? "" : ", ") + mark;
  if (!marks.empty()) text += " (" + std::string(damage.marks.size() == 1 ? "mark " : "marks ") + marks + ")";
  if (damage.live) text += " and the live volume";
  if (!damage.traced) text += ", and perhaps others";
  return text;
}

void show_verification(const control::Verification& info) {
  if (info.state == control::VerifyState::kNever) {
    std::printf("%s was not verified since the node started\n", info.group.c_str());
    return;
  }
  for (const control::DamageInfo& damage : info.damage) {
    if (damage.repaired) {
      std::printf("repaired: %s\n", printable(damage.text, 600).c_str());
      continue;
    }
    std::printf("damaged: %s\n         %s\n", printable(damage.text, 600).c_str(),
                printable(affected_text(damage), 3000).c_str());
  }
  if (info.damages > info.damage.size())
    std::printf("damaged: %llu more\n", static_cast<unsigned long long>(info.damages - info.damage.size()));
  std::string text = info.group + ": " + std::string(control::word(info.state));
  if (!info.reason.empty()) text += " (" + info.reason + ")";
  if (info.damages > 0)
    text += ", " + std::to_string(info.damages) + (info.damages == 1 ? " damage" : " damages");
  if (info.repairs > 0 && info.repairs < info.damages)
    text += ", " + std::to_string(info.repairs) + " of them repaired";
  text += "; looked at " + std::to_string(info.entries) + " entries in " + std::to_string(info.batches) +
          " batches";
  if (info.first && info.last)
    text += ", log:" + info.first->to_string() + " to log:" + info.last->to_string();
  if (info.base) text += ", and " + format_size(info.base_bytes) + " of the base";
  if (info.begun && info.ended) {
    const double seconds = (*info.ended - *info.begun).to_seconds();
    char rate[64];
    std::snprintf(rate, sizeof rate, " (%s in %.1f s, %.0f MiB/s)",
                  format_size(info.done_bytes >> 20 << 20).c_str(), seconds,
                  seconds <= 0 ? 0.0 : static_cast<double>(info.done_bytes) / seconds / (1 << 20));
    text += rate;
  }
  std::printf("%s\n", printable(text, 2000).c_str());
}

Result<control::Verification> wait_for_verification(Cli& cli, control::Verification info) {
  const InterruptsNoted interrupts;
  Progress progress("verifying");
  while (info.state == control::VerifyState::kRunning) {
    progress.show(info.done_bytes, info.total_bytes, info.done_bytes,
                  info.damages == 0 ? "" : std::to_string(info.damages) + " damages");
    ::usleep(200'000);
    if (InterruptsNoted::interrupted()) {
      return fail(ErrorCode::kClosed,
                  "no longer waited for: the verification goes on in the node; `tidemark "
                  "journal verify " +
                      info.group + " --status` shows it, --stop ends it");
    }
    TM_TRY_ASSIGN(info, cli.call(control::JournalVerifyStatusRequest{info.group}));
  }
  return info;
}

void add_verify(CLI::App& family, Cli& cli) {
  struct Options {
    control::JournalVerifyRequest request;
    std::optional<std::uint64_t> rate;
    bool no_base = false;
    bool status = false;
    bool stop = false;
    bool no_wait = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "verify", "Prove what a group has on its disk",
      "Reads the journal from the oldest entry kept to what is durable now, and the base, from the disk, and "
      "holds them against their checksums: every frame, every block, the chain of batches along each branch, "
      "log ids that follow one another, timer values that do not go back, marks against the table. (The "
      "checksums of the base are those in memory where they are there.) The group serves meanwhile; "
      "--rate leaves more of the disk to it. Damage is told with its place and the points and marks that it "
      "affects: reads of those fail, and are never answered with other data. With --repair, of a group that "
      "has a "
      "pair, a damaged block of either is asked of the peer at the same entry, and written again when it "
      "matches the checksum that is here. Exit code 1 when any damage is left. "
      "`journal status` shows when it was done last.",
      "tidemark journal verify app --repair");
  add_group(command, options->request.group);
  add_flag(command, "--no-base", options->no_base, "The journal alone");
  add_size(command, "--rate", options->rate, "Read at most so much in a second");
  add_flag(command, "--repair", options->request.repair, "Write damaged blocks again as the peer has them");
  add_flag(command, "--no-wait", options->no_wait, "Begin it, and leave it to the node");
  add_flag(command, "--status", options->status,
           "Show the one that runs, or the last since the node started");
  add_flag(command, "--stop", options->stop, "Stop the one that runs");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    const std::string& group = options->request.group;
    if (options->stop) return cli.ask(control::JournalVerifyStopRequest{group}, show_done("stopped"));
    control::Verification info;
    if (options->status) {
      TM_TRY_ASSIGN(info, cli.call(control::JournalVerifyStatusRequest{group}));
    } else {
      options->request.base = !options->no_base;
      options->request.rate_bytes = options->rate.value_or(0);
      TM_TRY_ASSIGN(info, cli.call(options->request));
      if (!options->no_wait) {
        TM_TRY_ASSIGN(info, wait_for_verification(cli, info));
      }
    }
    const bool good =
        info.state == control::VerifyState::kGood || info.state == control::VerifyState::kRepaired ||
        info.state == control::VerifyState::kRunning || info.state == control::VerifyState::kNever;
    if (!good || info.damages > info.repairs) cli.exit_code = kExitFailed;
    if (cli.json()) {
      cli.print_json(info);
    } else {
      show_verification(info);
    }
    return {};
  });
}

}  // namespace

void add_journal_commands(CLI::App& app, Cli& cli) {
  CLI::App* family =
      add_family(app, "journal", "The journal: every update in order", "tidemark journal status app");
  add_start(*family, cli);
  add_stop(*family, cli);
  add_status(*family, cli);
  add_add_volume(*family, cli);
  add_remove_volume(*family, cli);
  add_show(*family, cli);
  add_export(*family, cli);
  add_verify(*family, cli);
}

}  // namespace tidemark::cli
