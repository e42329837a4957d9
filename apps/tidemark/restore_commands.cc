#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "table.h"

namespace tidemark::cli {
namespace {

std::string optional_size(const std::optional<std::uint64_t>& bytes) {
  return bytes ? format_size(*bytes) : "-";
}

std::string counted(std::uint64_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

void show_changes(const control::RestoreReply& reply) {
  if (reply.volumes.empty()) return;
  std::printf("\n");
  // Only a dry run looks for what differs, without reading it: what was written with the same content counts.
  std::vector<std::string> columns{"VOLUME", ">SIZE NOW", ">SIZE THEN"};
  if (reply.dry_run) columns.insert(columns.end(), {">BLOCKS DIFFERING, AT MOST", ">BYTES, AT MOST"});
  Table table(columns);
  for (const control::VolumeChange& change : reply.volumes) {
    std::vector<std::string> row{change.volume, optional_size(change.size_bytes_now),
                                 optional_size(change.size_bytes_target)};
    if (reply.dry_run) {
      row.push_back(change.blocks_differing ? std::to_string(*change.blocks_differing) : "-");
      row.push_back(optional_size(change.bytes_differing));
    }
    table.row(std::move(row));
  }
  table.print();
}

void show_restore(const control::RestoreRequest& request, const control::RestoreReply& reply) {
  Facts facts;
  facts.add(reply.dry_run ? "would restore" : "restored",
            request.group + " to " + request.point + (request.before ? " (just before)" : ""));
  facts.add("point", point_text(reply.target));
  facts.add("leaves", point_text(reply.from));
  if (reply.new_epoch) facts.add("new epoch", std::to_string(*reply.new_epoch));
  if (reply.from_peer) {
    std::uint64_t bytes = 0;
    for (const control::VolumeChange& change : reply.volumes) bytes += change.bytes_differing.value_or(0);
    facts.add(reply.dry_run ? "would come from the peer" : "came from the peer", format_size(bytes));
  }
  facts.add("left on the old branch", counted(reply.entries_left, "entry", "entries") + ", " +
                                          counted(reply.marks_left, "mark", "marks"));
  std::string marks;
  for (const std::string& id : reply.marks_left_ids) marks += (marks.empty() ? "" : ", ") + id;
  facts.add_known("marks left", marks);
  for (const std::string& writer : reply.writers) facts.add("connected writer", writer);
  facts.print();
  show_changes(reply);
  std::fflush(stdout);  // what follows on standard error comes after it
  const std::string group = printable(request.group);
  if (reply.dry_run) {
    std::fprintf(stderr, "nothing was changed%s\n",
                 reply.writers.empty() ? "" : "; disconnect the writers first, or use --force");
    return;
  }
  std::fprintf(stderr, "to undo it: tidemark restore %s --to log:%s\n", group.c_str(),
               reply.from.log_id.to_string().c_str());
  if (reply.exports_closed) {
    std::fprintf(stderr,
                 "exports are closed; when no host holds old data in its cache: tidemark group open %s\n",
                 group.c_str());
  }
}

void add_restore(CLI::App& app, Cli& cli) {
  auto request = std::make_shared<control::RestoreRequest>();
  auto from = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "restore", "Bring a group back to a point",
                  "Brings all volumes of a group back to exactly what they were at a point. "
                  "It costs one log entry, whatever the size, "
                  "and is undone by restoring to the point that was left. It is refused "
                  "while a writer is connected; --force "
                  "disconnects writers and keeps the exports closed until `group open`. "
                  "--dry-run says what would change. On a primary in PAIR, a point that only "
                  "the secondary can still show is restored from there: the blocks that differ "
                  "come over the link, and a restore that is cut off leaves what was there. "
                  "--from peer asks for that by name, --from here refuses it.",
                  "tidemark restore app --to before-upgrade --dry-run");
  add_group(command, request->group);
  add_text(command, "--to", request->point, "The point").required().shown_as("POINT");
  add_flag(command, "--before", request->before, "The state just before that entry, not just after");
  add_flag(command, "--dry-run", request->dry_run,
           "Only say what would change, what would be left and who is connected");
  add_flag(command, "--force", request->force, "Disconnect writers");
  add_text(command, "--from", *from, "peer: with the blocks of the other node of the pair; here: never")
      .shown_as("NODE");
  on_chosen(cli, command, [&cli, request, from]() -> Result<void> {
    if (!from->empty() && *from != "peer" && *from != "here") {
      return cli.usage_error("--from takes peer or here, not '" + printable(*from) + "'");
    }
    if (!from->empty()) request->from_peer = *from == "peer";
    return cli.ask(*request, [&](const control::RestoreReply& reply) { show_restore(*request, reply); });
  });
}

void add_diff(CLI::App& app, Cli& cli) {
  struct Options {
    VolumeTarget target;
    control::DiffRequest request;
    std::optional<std::uint64_t> offset_bytes;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "diff", "Which bytes differ between two points",
                  "Lists the runs of bytes of a volume that differ between two points, in order.",
                  "tidemark diff app/db --from before-upgrade --to head");
  add_volume(command, options->target);
  add_text(command, "--from", options->request.from, "The first point").required().shown_as("POINT");
  add_text(command, "--to", options->request.to, "The second point (head)").shown_as("POINT");
  add_size(command, "--offset", options->offset_bytes, "Begin at this offset");
  add_limit(command, options->request.limit, "runs");
  on_chosen(cli, command, [&cli, options] {
    control::DiffRequest& request = options->request;
    request.group = options->target.group;
    request.volume = options->target.volume;
    request.offset_bytes = options->offset_bytes.value_or(0);
    return cli.ask(request, [](const control::DiffReply& reply) {
      Table table({">OFFSET", ">LENGTH"});
      for (const control::ByteRun& run : reply.runs) {
        table.row({std::to_string(run.offset_bytes), std::to_string(run.length_bytes)});
      }
      table.print();
      if (reply.next) {
        std::fprintf(stderr, "there is more: --offset %llu\n", static_cast<unsigned long long>(*reply.next));
      }
    });
  });
}

}  // namespace

void add_restore_commands(CLI::App& app, Cli& cli) {
  add_restore(app, cli);
  add_diff(app, cli);
}

}  // namespace tidemark::cli
