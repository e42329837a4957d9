#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "show.h"
#include "transfer.h"

namespace tidemark::cli {
namespace {

struct CreateOptions {
  VolumeTarget target;
  std::optional<std::uint64_t> size_bytes;
  std::optional<std::string> raid;
  std::string image;
  std::string image_format;
};

// Fills the new volume; takes it away again when that fails, since nobody else has used it yet.
Result<void> fill_from_image(Cli& cli, const CreateOptions& options, const std::string& format) {
  const std::string name = options.target.group + "/" + options.target.volume;
  TM_TRY_ASSIGN(const control::NodeStatus status, cli.call(control::NodeStatusRequest{}));
  Result<std::string> uri = nbd_uri(status, name);
  Result<void> filled = uri.ok() ? import_image(options.image, format, *uri) : Result<void>(uri.error());
  if (filled.ok()) return filled;
  const Result<control::Done> removed =
      cli.call(control::VolumeDeleteRequest{options.target.group, options.target.volume, true});
  return fail(filled.error().code,
              filled.error().message + "; the volume " + name +
                  (removed.ok() ? " was removed again" : " is left half filled, delete it"));
}

Result<void> create(Cli& cli, const CreateOptions& options) {
  control::VolumeCreateRequest request;
  request.group = options.target.group;
  request.volume = options.target.volume;
  request.size_bytes = options.size_bytes.value_or(0);
  request.raid = options.raid;
  ImageInfo image;
  if (options.image.empty()) {
    if (!options.size_bytes) return cli.usage_error("how large? Give --size, or --from IMAGE");
  } else {
    TM_TRY_ASSIGN(image, inspect_image(options.image, options.image_format));
    const std::uint64_t needed = (image.size_bytes + kBlockSizeBytes - 1) / kBlockSizeBytes * kBlockSizeBytes;
    if (!options.size_bytes) request.size_bytes = needed;
    if (request.size_bytes < needed) {
      return fail(ErrorCode::kInvalid, "the image needs " + format_size(needed) + ", more than --size " +
                                           format_size(request.size_bytes));
    }
  }
  TM_TRY_ASSIGN(control::VolumeInfo volume, cli.call(request));
  if (!options.image.empty()) {
    TM_TRY(fill_from_image(cli, options, image.format));
    TM_TRY_ASSIGN(volume, cli.call(control::VolumeShowRequest{request.group, request.volume}));
  }
  if (cli.json()) {
    cli.print_json(volume);
  } else {
    show_volume(volume);
  }
  return Result<void>{};
}

void add_create(CLI::App& family, Cli& cli) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* command =
      add_command(family, "create", "Create a volume",
                  "Creates a volume in a group, full of zeros, or filled from an image file of any format "
                  "that qemu-img reads; its size "
                  "is then the image's unless --size asks for more. Space is taken as it is written.",
                  "tidemark volume create app/db --size 10G");
  add_volume(command, options->target);
  add_size(command, "--size", options->size_bytes, "Its size, for example 10G; a multiple of 4 KiB",
           control::kVolumeSizeRule);
  add_text(command, "--raid", options->raid, "The RAID group that it lies on (that of the group's volumes)")
      .shown_as("NAME");
  add_existing_path(command, "--from", options->image, "Fill it from this image").shown_as("IMAGE");
  add_text(command, "--from-format", options->image_format,
           "The image's format (recognised); give it for images you do not trust")
      .shown_as("FORMAT");
  on_chosen(cli, command, [&cli, options] { return create(cli, *options); });
}

void add_list(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::VolumeListRequest>();
  CLI::App* command =
      add_command(family, "list", "List volumes",
                  "Lists the volumes of one group or of all, with their sizes, cache hits and dirty bytes.",
                  "tidemark volume list app");
  add_text(command, "GROUP", request->group, "Only this group's").shown_as("");
  on_chosen(cli, command, [&cli, request] {
    return cli.ask(*request, [](const control::VolumeListReply& reply) { show_volume_table(reply.volumes); });
  });
}

void add_show(CLI::App& family, Cli& cli) {
  auto target = std::make_shared<VolumeTarget>();
  CLI::App* command =
      add_command(family, "show", "Show one volume",
                  "Shows a volume's number, logical unit, sizes, connections and cache counters.",
                  "tidemark volume show app/db");
  add_volume(command, *target);
  on_chosen(cli, command, [&cli, target] {
    return cli.ask(control::VolumeShowRequest{target->group, target->volume}, show_volume);
  });
}

void add_resize(CLI::App& family, Cli& cli) {
  struct Options {
    VolumeTarget target;
    std::optional<std::uint64_t> size_bytes;
    bool shrink = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(family, "resize", "Change a volume's size",
                  "Makes a volume larger, or with --shrink smaller. The change is an entry in the log like "
                  "a write: restoring to a point before it brings the old size and content back.",
                  "tidemark volume resize app/db --size 20G");
  add_volume(command, options->target);
  add_size(command, "--size", options->size_bytes, "The new size", control::kVolumeSizeRule).required();
  add_flag(command, "--shrink", options->shrink, "Allow it to become smaller");
  on_chosen(cli, command, [&cli, options] {
    const control::VolumeResizeRequest request{options->target.group, options->target.volume,
                                               *options->size_bytes, options->shrink};
    return cli.ask(request, show_volume);
  });
}

void show_address(const control::VolumeAddress& address) {
  std::printf("%s/%s at %llu\n", printable(address.group).c_str(), printable(address.volume).c_str(),
              static_cast<unsigned long long>(address.offset_bytes));
  std::printf("  LU %u at %llu\n", address.lu_number,
              static_cast<unsigned long long>(address.lu_address_bytes));
  if (!address.allocated) {
    std::printf("  nothing was destaged there yet\n");
    return;
  }
  if (address.raid_address_bytes.has_value() && !address.raid_group.empty()) {
    std::printf("  RAID group %s at %llu\n", printable(address.raid_group).c_str(),
                static_cast<unsigned long long>(*address.raid_address_bytes));
  }
  for (const control::DiskPlace& place : address.places) {
    std::printf("  %-8s disk %s at %llu\n", std::string(control::word(place.kind)).c_str(),
                printable(place.disk, 300).c_str(), static_cast<unsigned long long>(place.address_bytes));
  }
}

void add_address(CLI::App& family, Cli& cli) {
  struct Options {
    VolumeTarget target;
    std::optional<std::uint64_t> offset_bytes{};
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(family, "address", "Where a byte of a volume lies",
                                  "Follows a byte of a volume's base down: from the address that a host "
                                  "names to the logical unit, the RAID "
                                  "group, and the disk or disks, with the parity that covers it. What was "
                                  "written lately lies in the journal, and "
                                  "not in the base yet.",
                                  "tidemark volume address app/db 1048576");
  add_volume(command, options->target);
  add_size(command, "OFFSET", options->offset_bytes, "From the begin of the volume, in bytes or as 1M")
      .required();
  on_chosen(cli, command, [&cli, options] {
    const control::VolumeAddressRequest request{options->target.group, options->target.volume,
                                                options->offset_bytes.value_or(0)};
    return cli.ask(request, show_address);
  });
}

void add_delete(CLI::App& family, Cli& cli) {
  struct Options {
    VolumeTarget target;
    bool force = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(family, "delete", "Delete a volume",
                  "Deletes a volume. It is refused while a host can write to it, unless forced. Points "
                  "before the deletion stay readable as long as the retention says.",
                  "tidemark volume delete app/db");
  add_volume(command, options->target);
  add_flag(command, "--force", options->force, "Even while a writer is connected");
  on_chosen(cli, command, [&cli, options] {
    const control::VolumeDeleteRequest request{options->target.group, options->target.volume, options->force};
    return cli.ask(request, show_done("deleted"));
  });
}

}  // namespace

void add_volume_commands(CLI::App& app, Cli& cli) {
  CLI::App* family = add_family(app, "volume", "Volumes: what hosts see as disks",
                                "tidemark volume create app/db --size 10G");
  add_create(*family, cli);
  add_list(*family, cli);
  add_show(*family, cli);
  add_address(*family, cli);
  add_resize(*family, cli);
  add_delete(*family, cli);
}

}  // namespace tidemark::cli
