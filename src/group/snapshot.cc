#include "group/snapshot.h"

#include "base/codec.h"

namespace tidemark::group {
namespace {

// Where a state alone has its version.
constexpr std::uint32_t kWithChanges = 0x4d5347ffu;

}  // namespace

std::vector<std::byte> encode_snapshot(const GroupState& state, Epoch live_epoch, const ChangeMap& changes) {
  std::vector<std::byte> bytes = state.encode(live_epoch);
  if (!changes.active()) return bytes;
  Encoder out;
  out.u32(kWithChanges);
  out.u32(static_cast<std::uint32_t>(bytes.size()));
  out.raw(Bytes(bytes));
  out.raw(Bytes(changes.encode()));
  return out.take();
}

Result<Snapshot> decode_snapshot(Bytes bytes) {
  Snapshot snapshot;
  Decoder in(bytes);
  if (in.u32() == kWithChanges) {
    constexpr std::size_t kHeaderBytes = 8;
    const std::uint32_t size = in.u32();
    if (in.failed() || size > bytes.size() - kHeaderBytes) {
      return fail(ErrorCode::kInvalid, "a snapshot of a group is cut off");
    }
    TM_TRY_ASSIGN(snapshot.changes, ChangeMap::decode(bytes.subspan(kHeaderBytes + size)));
    bytes = bytes.subspan(kHeaderBytes, size);
  }
  TM_TRY_ASSIGN(snapshot.state, GroupState::decode(bytes, &snapshot.live_epoch));
  return snapshot;
}

}  // namespace tidemark::group
