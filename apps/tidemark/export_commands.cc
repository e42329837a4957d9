#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "transfer.h"

namespace tidemark::cli {
namespace {

std::string export_name(const VolumeTarget& target) {
  return target.group + "/" + target.volume + (target.point.empty() ? "" : "@" + target.point);
}

// Says what is wrong with the volume or the point in the node's words, which an NBD client would not show.
Result<void> check_target(Cli& cli, const VolumeTarget& target) {
  if (target.point.empty()) {
    control::VolumeShowRequest request{target.group, target.volume};
    TM_TRY(cli.call(request));
    return Result<void>{};
  }
  control::DiffRequest request;
  request.group = target.group;
  request.volume = target.volume;
  request.from = target.point;
  request.to = target.point;
  request.limit = 1;
  TM_TRY(cli.call(request));
  return Result<void>{};
}

void add_export(CLI::App& app, Cli& cli) {
  struct Options {
    VolumeTarget target;
    std::string file;
    std::string format = "raw";
    bool force = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "export", "Copy a volume, as it is or was, into a file",
                                  "Copies a volume into an image file: as it is now, or as it was at a "
                                  "point, which needs no pause and is consistent. "
                                  "Raw images are sparse. The data travel over NBD with nbdcopy or qemu-img; "
                                  "the file appears when it is complete.",
                                  "tidemark export app/db@before-upgrade db.qcow2 --format qcow2");
  add_volume(command, options->target, true);
  add_text(command, "FILE", options->file, "The image to write").required().shown_as("");
  add_choice(
      command, "--format", {"raw", "qcow2"}, [options](const std::string& word) { options->format = word; },
      "The image's format (raw)");
  add_flag(command, "--force", options->force, "Write over an existing file, or onto a block device");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    TM_TRY(check_target(cli, options->target));
    TM_TRY_ASSIGN(const control::NodeStatus status, cli.call(control::NodeStatusRequest{}));
    TM_TRY_ASSIGN(const std::string uri, nbd_uri(status, export_name(options->target)));
    TM_TRY(export_image(uri, options->file, options->format, options->force));
    if (cli.json()) {
      cli.print_json(control::Done{"exported " + export_name(options->target) + " to " + options->file});
    } else {
      std::fprintf(stderr, "exported %s to %s\n", printable(export_name(options->target), 300).c_str(),
                   printable(options->file, 300).c_str());
    }
    return Result<void>{};
  });
}

void add_uri(CLI::App& app, Cli& cli) {
  struct Options {
    VolumeTarget target;
    bool writable = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "uri", "The NBD URI of a volume or of a view",
                                  "Prints the NBD URI of a volume, live or as it was at a point, one line "
                                  "for each address of the node. Any NBD client "
                                  "takes it: nbd-client, qemu, libguestfs, nbdcopy. A view with --rw can be "
                                  "written; what is written goes with the last "
                                  "connection.",
                                  "qemu-img info \"$(tidemark uri app/db@before-upgrade | head -1)\"");
  add_volume(command, options->target, true);
  add_flag(command, "--rw", options->writable, "A writable view; needs a point");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    if (options->writable && options->target.point.empty()) {
      return cli.usage_error("--rw needs a point: GROUP/VOLUME@POINT; the live volume is writable anyway");
    }
    TM_TRY(check_target(cli, options->target));
    TM_TRY_ASSIGN(const control::NodeStatus status, cli.call(control::NodeStatusRequest{}));
    const std::vector<std::string> uris =
        nbd_uris(status, export_name(options->target) + (options->writable ? "+rw" : ""));
    if (uris.empty()) return fail(ErrorCode::kNotFound, "the node has no NBD address; start it with --nbd");
    if (cli.json()) {
      control::TableReply reply{"uri", {"uri"}, {}, {}};
      for (const std::string& uri : uris) reply.rows.push_back({uri});
      cli.print_json(reply);
    } else {
      for (const std::string& uri : uris) std::printf("%s\n", uri.c_str());
    }
    return Result<void>{};
  });
}

}  // namespace

void add_export_commands(CLI::App& app, Cli& cli) {
  add_export(app, cli);
  add_uri(app, cli);
}

}  // namespace tidemark::cli
