// What a node alone keeps of a group: the local record, and the record of its pair inside it. The checksum is
// the superblock's.
#include "fuzz/fuzz.h"
#include "group/local_record.h"
#include "replication/pair_record.h"

namespace {

using tidemark::Bytes;
using tidemark::group::LocalRecord;
using tidemark::replication::PairRecord;

void try_decode(Bytes bytes) {
  const auto encode = [](const auto& record) { return record.encode(); };
  tidemark::fuzz::check_stable(bytes, LocalRecord::decode, encode);
  tidemark::fuzz::check_stable(bytes, PairRecord::decode, encode);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try_decode(input);
  LocalRecord local;
  local.name = "app";
  local.pair.resize(9);
  try_decode(tidemark::fuzz::laid_over(local.encode(), input));
  PairRecord pair;
  pair.peer_address = "unix:/run/p";
  pair.peer_group = "app";
  pair.peer_name = "osaka";
  pair.reason = "full";
  try_decode(tidemark::fuzz::laid_over(pair.encode(), input));
  pair.sync = tidemark::format::SyncTerms();
  try_decode(tidemark::fuzz::laid_over(pair.encode(), input));
  return 0;
}
