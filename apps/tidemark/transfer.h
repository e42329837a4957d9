#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "control/types.h"

// Whole volumes travel over NBD, by programs that do it well: nbdcopy and qemu-img.
namespace tidemark::cli {

// The URI of an export of the node, for a client on this machine where it has the choice:
// "nbd://host:port/app/db", "nbd+unix:///app/db?socket=...". kNotFound: the node serves no NBD.
Result<std::string> nbd_uri(const control::NodeStatus& status, const std::string& export_name);
// One for each address.
std::vector<std::string> nbd_uris(const control::NodeStatus& status, const std::string& export_name);

// Writes what `uri` holds into the new file `path`, sparse, complete or not at all: it is written beside the
// path and then renamed. `format` is "raw" or "qcow2". With `overwrite` an existing file is replaced, a block
// device written. A progress bar on standard error if that is a terminal.
Result<void> export_image(const std::string& uri, const std::string& path, const std::string& format,
                          bool overwrite);

struct ImageInfo {
  std::string format;
  std::uint64_t size_bytes = 0;
};
// `format` empty: recognised by qemu-img.
Result<ImageInfo> inspect_image(const std::string& path, const std::string& format);

// Writes an image into an export that holds zeros. Flushed when it returns ok.
Result<void> import_image(const std::string& path, const std::string& format, const std::string& uri);

}  // namespace tidemark::cli
