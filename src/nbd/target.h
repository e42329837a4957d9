#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "io/task.h"

namespace tidemark::nbd {

struct ExportInfo {
  std::string name;
  std::string description;
  std::uint64_t size_bytes = 0;  // a multiple of 4096
  bool read_only = false;
  bool multi_conn = false;  // a flush on one connection covers writes completed on all of them
};

// A run of `length_bytes` with the same answer to base:allocation.
struct AllocationExtent {
  std::uint64_t length_bytes = 0;
  bool hole = false;  // NBD_STATE_HOLE
  bool zero = false;  // NBD_STATE_ZERO
};

// One open export, as one connection uses it. Every request has been checked against info() before it
// arrives here: inside the export, not empty, no write to a read-only export. Requests run at once with each
// other; whoever wants order between two waits for the first. Destroying it closes the export; no operation
// is in flight then.
class BlockTarget {
 public:
  virtual ~BlockTarget() = default;
  virtual const ExportInfo& info() const = 0;
  // Fills all of `out`, which the caller allocated and owns alone.
  virtual io::Task<Result<void>> read(std::uint64_t offset, Buffer out) = 0;
  // Visible to every reader when it returns; durable only with `fua`. The buffer is kept as long as needed.
  virtual io::Task<Result<void>> write(std::uint64_t offset, Buffer data, bool fua) = 0;
  // The same, when it can be done without waiting, which is the usual case: true when it took effect.
  virtual bool write_now(std::uint64_t offset, const Buffer& data) = 0;
  virtual io::Task<Result<void>> flush() = 0;
  virtual io::Task<Result<void>> trim(std::uint64_t offset, std::uint64_t length, bool fua) = 0;
  virtual io::Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool no_hole,
                                              bool fua) = 0;
  virtual io::Task<Result<void>> cache(std::uint64_t offset, std::uint64_t length) = 0;
  // Runs from `offset` on that cover at least one byte and at most `length`, at most `extents_max` of them.
  virtual io::Task<Result<std::vector<AllocationExtent>>> block_status(std::uint64_t offset,
                                                                       std::uint64_t length,
                                                                       std::size_t extents_max) = 0;
};

// The exports that a server offers. Owned by the node; outlives the server.
class ExportDirectory {
 public:
  virtual ~ExportDirectory() = default;
  virtual io::Task<Result<std::vector<std::string>>> list() = 0;
  // What NBD_OPT_INFO tells, without opening anything.
  virtual io::Task<Result<ExportInfo>> describe(std::string name) = 0;
  // `client` is the connection's peer name, for status and logs. kNotFound, kExpired… are told to the client
  // with their message.
  virtual io::Task<Result<std::unique_ptr<BlockTarget>>> open(std::string name, std::string client) = 0;
};

}  // namespace tidemark::nbd
