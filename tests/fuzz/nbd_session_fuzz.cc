#include <cstddef>
#include <cstdint>

#include "fuzz/nbd_session.h"

// One NBD session fed with anything. The first byte chooses how: from the first byte of the connection on, or
// behind a handshake that succeeded; in large pieces or in small ones; with a target that takes writes at
// once or not. The target asserts what BlockTarget promises it; the session must end and leave nothing
// behind.

namespace tidemark::nbd::test {
namespace {

constexpr std::uint64_t kSizeBytes = 64 << 10;

void run_session(Bytes input) {
  const auto mode = input.empty() ? 0u : static_cast<unsigned>(input.front());
  if (!input.empty()) input = input.subspan(1);
  sim::World world(mode);
  MemoryDirectory directory(world);
  MemoryExport& disk = directory.add("disk", kSizeBytes);
  disk.map = {{4096, true, true}, {kSizeBytes, false, false}};
  disk.takes_writes_at_once = (mode & 2) != 0;
  disk.info.read_only = (mode & 4) != 0;
  Script script(world);
  if ((mode & 1) != 0) script.say_handshake("disk");
  if ((mode & 8) != 0) script.piece_bytes_max = 1 + (mode >> 4);
  script.input.insert(script.input.end(), input.begin(), input.end());
  hear_out(world, directory, disk, script);
}

}  // namespace
}  // namespace tidemark::nbd::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tidemark::nbd::test::run_session({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
