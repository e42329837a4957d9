// A group's state as it comes from a snapshot, or from a peer with the first message of a copy. What decodes
// must also answer every question that the group asks of its state, and end: a tree of epochs that runs in a
// circle would hang the node.
#include "format/records.h"
#include "fuzz/fuzz.h"
#include "group/state.h"

namespace tidemark::group {
namespace {

void ask_everything(const GroupState& state) {
  const index::EpochTree& epochs = state.epochs();
  (void)state.sizes_max();
  (void)state.last_mark();
  for (const auto& [number, info] : epochs.all()) {
    (void)state.shape_at(info.last);
    (void)state.volume_may_be_read(VolumeId{1}, info.last);
    (void)epochs.branches(info.last);
    if (epochs.is_ancestor(info.parent, info.last)) (void)epochs.path(info.last, info.parent);
    for (const auto& [id, mark] : state.marks()) {
      (void)epochs.is_ancestor(mark.at, info.last);
      (void)epochs.common_ancestor(mark.at, info.last);
    }
  }
}

void try_decode(Bytes bytes) {
  Epoch live{};
  const auto state = GroupState::decode(bytes, &live);
  if (!state.ok()) return;
  TM_ASSERT(state->epochs().find(live) != nullptr);
  ask_everything(*state);
  const std::vector<std::byte> encoded = state->encode(live);
  Epoch live_again{};
  const auto again = GroupState::decode(encoded, &live_again);
  TM_ASSERT(again.ok() && live_again == live);
  TM_ASSERT(again->encode(live) == encoded);
}

// Two epochs, a volume that grew, a mark and a name for a past point.
std::vector<std::byte> example_state() {
  GroupState state;
  const auto apply = [&state](LogId id, const format::ControlRecord& record) {
    TM_ASSERT(state.apply(id, WallTime{5}, record).ok());
    state.epochs().extend(id, WallTime{5});
  };
  const LogId root(Epoch{1}, 0);
  apply(LogId(Epoch{1}, 1), format::EpochOpened{.identity = {{1}}, .parent = root});
  apply(LogId(Epoch{1}, 2), format::VolumeCreated{VolumeId{1}, "disk", 1 << 20});
  apply(LogId(Epoch{1}, 3), format::VolumeResized{VolumeId{1}, 2 << 20});
  apply(LogId(Epoch{1}, 4), format::PointNamed{{.id = "before"}, LogId(Epoch{1}, 2)});
  apply(LogId(Epoch{2}, 1), format::EpochOpened{{{2}}, LogId(Epoch{1}, 3), format::EpochReason::kRestore});
  TM_ASSERT(state.apply_mark(LogId(Epoch{2}, 2), WallTime{6}, {.id = "m", .host = "h", .note = "n"}).ok());
  return state.encode(Epoch{2});
}

}  // namespace
}  // namespace tidemark::group

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  static const std::vector<std::byte> example = tidemark::group::example_state();
  tidemark::group::try_decode(input);
  tidemark::group::try_decode(tidemark::fuzz::laid_over(example, input));
  return 0;
}
