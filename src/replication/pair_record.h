#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "format/link.h"

namespace tidemark::replication {

// As storage people know them. A lost link is not a state.
enum class PairState : std::uint8_t {
  kSmpl = 0,  // no pair
  kCopy = 1,  // the first copy is running
  kPair = 2,  // every update goes over, in order
  kPsus = 3,  // suspended by an operator
  kPsue = 4,  // suspended by an error
  kSsws = 5,  // the secondary has an epoch of its own and takes writes; a primary that knows it takes none
};
const char* pair_state_name(PairState state);

enum class Side : std::uint8_t { kPrimary = 1, kSecondary = 2 };

// What a node keeps of a group's pair, in the group's local record.
struct PairRecord {
  Side side = Side::kPrimary;
  PairState state = PairState::kSmpl;
  std::string peer_address{};  // where the peer listens; a secondary was told by its primary
  std::string peer_group{};
  NodeIdentity peer_node{};
  std::string peer_name{};
  std::string reason{};  // of a suspension
  WallTime since{};      // of the state
  // Secondary side, kSsws, and kPair of a primary that was turned: the last entry that both have. Primary
  // side, while a copy is needed: the last entry that the peer acknowledged, if it had any.
  LogId fork{};
  // Secondary side: the epoch that was live when `fork` was set. Another one tells that the epoch after the
  // fork was opened (kSsws) or received (kPair).
  Epoch epoch_left{};
  bool needs_copy = false;  // primary side: entries that the peer lacks are gone from the journal
  // Primary side, kCopy: the peer follows behind a gap and keeps its window; what differs is written again.
  bool resyncs = false;
  // Primary side: it went on without its peer, so a restart need not wait for it.
  bool alone = false;
  // A synchronous pair has terms. kNone: nothing that was acknowledged to a FLUSH is missing on the
  // secondary; on the secondary, as its primary told last. Recorded before a FLUSH is answered without the
  // peer.
  std::optional<format::SyncTerms> sync{};
  format::NotInSync not_in_sync = format::NotInSync::kCatchingUp;
  WallTime sync_since{};  // of that
  // Primary side: what a copy, or a resync behind a gap, reads and sends in a second at most. 0: no limit.
  std::uint64_t copy_rate_bytes = 0;
  // Whose certificate the peer showed when the pair was made, or first over TLS: a peer with another one, or
  // with none, is not this pair's. Empty when it has never shown one.
  std::string peer_certificate{};

  // kRefused when `shown`, whose certificate the other end of a connection has, is not the peer's.
  Result<void> check_peer(const std::string& shown) const;

  // Entries that the peer lacks are gone from the journal, or it has nothing that they could follow.
  void need_copy(LogId peer_had) {
    needs_copy = true;
    fork = peer_had;
  }
  // The state becomes `next`; which of them end being in sync is decided here.
  void enter(PairState next, WallTime now);
  void leave_sync(format::NotInSync why, WallTime now);
  bool in_sync() const { return sync.has_value() && not_in_sync == format::NotInSync::kNone; }
  std::vector<std::byte> encode() const;
  static Result<PairRecord> decode(Bytes bytes);
};

}  // namespace tidemark::replication
