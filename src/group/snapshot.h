#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "group/change_map.h"
#include "group/state.h"

namespace tidemark::group {

// What a node keeps in its journal so that older segments can be freed: the group's state, which both nodes
// share, and the map of changes, which is its own.
struct Snapshot {
  GroupState state{};
  Epoch live_epoch{};
  ChangeMap changes{};
};

// Without a map it is the state alone, as every version wrote it.
std::vector<std::byte> encode_snapshot(const GroupState& state, Epoch live_epoch, const ChangeMap& changes);
// kInvalid when the bytes are not a snapshot, kUnsupported for a newer version.
Result<Snapshot> decode_snapshot(Bytes bytes);

}  // namespace tidemark::group
