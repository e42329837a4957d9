// How far the peer of a pair is behind: one answer for a link that is up, one that is down, and a pair that
// is suspended.
//
// Entries are counted from log ids. Bytes and seconds want the place and the timer value of the first entry
// that the peer lacks. While entries are under way the sender knows both. Else they are looked up in the
// journal, once for each newest entry of the peer, and kept; until then the moment up to which the peer had
// all stands in.

#include <algorithm>

#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr Duration kLookInterval = Duration::milliseconds(500);

std::uint64_t distance_bytes(Place from, Place to, const journal::JournalStatus& status) {
  if (to <= from) return 0;
  const std::uint64_t segments = to.generation() - from.generation();
  return segments * status.segment_size_bytes + to.block() * kBlockSizeBytes - from.block() * kBlockSizeBytes;
}

// Entries after `has` in the order in which they were appended, which is that in which they are sent: a
// branch that a restore left was sent before the one that followed.
std::uint64_t entries_after(const group::Group& group, LogId has) {
  const LogId head = group.journal().durable();
  if (has.epoch() == head.epoch()) return head.sequence() - std::min(head.sequence(), has.sequence());
  std::uint64_t entries = 0;
  for (const auto& [number, info] : group.state().epochs().all()) {
    if (number < has.epoch()) continue;
    const std::uint64_t sequence = info.last.sequence();
    entries += sequence - (number == has.epoch() ? std::min(sequence, has.sequence()) : 0);
  }
  return entries;
}

// The segment of the journal's directory that holds `has`, else the oldest there is. Its generation is 0 when
// the journal has no entries.
journal::SegmentInfo segment_of(const journal::Journal& journal, LogId has) {
  journal::SegmentInfo found;
  for (const journal::SegmentInfo& segment : journal.segments()) {  // oldest first
    if (segment.first.is_none()) continue;
    if (found.generation == 0 || segment.first.raw() <= has.raw()) found = segment;
  }
  return found;
}

}  // namespace

PairLag Pairs::lag_of(const Entry& entry) const {
  const group::Group& group = *entry.group;
  const journal::Journal& journal = group.journal();
  const LogId has = entry.peer_has();
  PairLag lag;
  lag.entries = entries_after(group, has);
  if (lag.entries == 0) return lag;
  const bool looked_up = entry.owed.since.has_value() && entry.owed.after == has;
  Place from = entry.sender != nullptr ? entry.sender->acked_place() : Place();
  if (from.is_none() && looked_up) from = entry.owed.place;
  const journal::SegmentInfo segment = segment_of(journal, has);
  if (from.is_none() && segment.generation != 0) from = Place(segment.generation, 0);
  if (!from.is_none()) lag.bytes = distance_bytes(from, journal.durable_end(), journal.status());
  std::optional<WallTime> since;
  if (entry.sender != nullptr) since = entry.sender->oldest_unacked();
  if (!since.has_value() && looked_up) since = entry.owed.since;
  if (!since.has_value()) since = entry.owed.received_until;
  if (!since.has_value() && segment.generation != 0) since = segment.first_timer;
  // What it lacked when it was given up may be gone.
  if (since.has_value() && entry.record.needs_copy) since = std::min(*since, entry.record.since);
  if (since.has_value()) lag.seconds = std::max(0.0, (environment_.clock.now() - *since).to_seconds());
  return lag;
}

io::Task<void> Pairs::watch_lag() {
  while (!stopping_) {
    co_await environment_.scheduler.sleep_for(kLookInterval);
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) {
      if (entry->record.side != Side::kPrimary) continue;
      std::optional<WallTime> oldest;
      if (entry->sender != nullptr) oldest = entry->sender->oldest_unacked();
      if (entries_after(*entry->group, entry->peer_has()) == 0) {
        entry->owed.received_until = environment_.clock.now();
        entry->owed.since.reset();
      } else if (oldest.has_value()) {
        entry->owed.received_until = oldest;
      } else {
        names.push_back(name);
      }
    }
    for (const std::string& name : names) {
      // A command that waits for the peer holds the lock for long; the next round looks again.
      auto guard = co_await lock(name);
      co_await look_up_owed(name);
    }
  }
}

// The group stays while this waits for its journal: the caller holds the group's lock, or nobody knows the
// group yet.
io::Task<void> Pairs::look_up_owed(std::string name) {
  Entry* entry = find(name);
  if (entry == nullptr || entry->record.side != Side::kPrimary || stopping_) co_return;
  const LogId has = entry->peer_has();
  if (entry->owed.since.has_value() && entry->owed.after == has) co_return;
  if (entry->sender != nullptr && entry->sender->oldest_unacked().has_value()) co_return;
  journal::Journal& journal = entry->group->journal();
  Place from = journal.oldest();
  if (has.sequence() > 0) {
    auto batch = co_await journal.find(has);
    if (batch.ok()) from = batch->next;
  }
  auto first = co_await journal.scan(from);
  if (!first.ok() || !first->has_value()) co_return;
  entry->owed.after = has;
  entry->owed.place = from;
  entry->owed.since = (*first)->meta.entries.front().timer;
}

}  // namespace tidemark::replication
