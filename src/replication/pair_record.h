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
  std::string peer_raid{};  // primary side: the peer's RAID group that takes a copy; empty: as it sees fit
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
  // Entries that the peer lacks are gone from the journal: it can follow only behind a gap. On the secondary
  // side in kSsws alone: those since `fork`.
  bool needs_copy = false;
  std::uint32_t fork_checksum = 0;  // secondary side, while needs_copy: of the batch that ends at `fork`
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
  // Of the payloads on the link; on the secondary, as its primary said last.
  format::Compression compression = format::Compression::kOff;
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
  // kSsws: the primary, should it come back, follows from `fork` behind a gap.
  void let_go_of_primary(std::uint32_t checksum) {
    needs_copy = true;
    fork_checksum = checksum;
  }
  // What is kept for the peer: all after this entry. None: nothing.
  LogId kept_for_peer() const { return needs_copy ? LogId() : fork; }
  // A full journal goes before what the peer lacks.
  bool may_let_go() const { return side == Side::kPrimary || state == PairState::kSsws; }
  // The state becomes `next`; which of them end being in sync is decided here.
  void enter(PairState next, WallTime now);
  void leave_sync(format::NotInSync why, WallTime now);
  bool in_sync() const { return sync.has_value() && not_in_sync == format::NotInSync::kNone; }
  std::vector<std::byte> encode() const;
  static Result<PairRecord> decode(Bytes bytes);
};

}  // namespace tidemark::replication
