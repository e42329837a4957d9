// What a FLUSH of a synchronous pair waits for.
//
// Invariants, on the primary of a synchronous pair:
//   1. While its record says that it is in sync, nothing that was acknowledged to a FLUSH or FUA is missing
//   on
//      the secondary: the group's gate lets pass only what the secondary has acknowledged.
//   2. The record says otherwise, durably, before the gate lets anything else pass.
//   3. It says so again only when the gate was shut first, and then the secondary had all that was appended
//      until then.
//   4. What the secondary was promised (Sender::Promise) is kept: no FLUSH is answered without it sooner.
//
// The gate follows from the record, the link and the acknowledgements in settle_sync(), which is called when
// any of them changes. Only the loss of a peer takes time to be one: watch_sync() waits for that.

#include <algorithm>

#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

// A secondary that lacks no more than this is waited for again: it comes within a few acknowledgements.
constexpr std::uint64_t kJoinBytesMax = 1 << 20;

const char* why_word(format::NotInSync why) {
  switch (why) {
    case format::NotInSync::kNone:
      return "in-sync";
    case format::NotInSync::kCatchingUp:
      return "catching-up";
    case format::NotInSync::kLinkDown:
      return "link-down";
    case format::NotInSync::kNoProgress:
      return "no-progress";
    case format::NotInSync::kSuspended:
      return "suspended";
  }
  return "?";
}

}  // namespace

void Pairs::attach_gate(const Entry& entry) {
  entry.group->peer_gate().on_first_wait([this, name = entry.name] {
    const Entry* waited_for = find(name);
    if (waited_for == nullptr) return;
    const std::optional<MonotonicTime> due = loss_due(*waited_for);
    if (due.has_value() && (!sync_due_.has_value() || *due < *sync_due_)) sync_moved_.wake_all();
  });
}

void Pairs::release_gate(const Entry& entry) {
  entry.group->peer_gate().on_first_wait(nullptr);
  entry.group->peer_gate().open();
}

void Pairs::peer_moved(const std::string& group, std::uint64_t sender) {
  Entry* entry = find(group);
  if (entry == nullptr || entry->sender == nullptr || entry->sender->number() != sender) return;
  if (!entry->record.sync.has_value() || entry->record.state != PairState::kPair) return;
  Entry::Sync& sync = *entry->sync;
  const LogId acked = entry->sender->acked();
  const bool is_up = entry->sender->link_up();
  if (acked != sync.acked) {
    sync.acked = acked;
    sync.progress_at = environment_.scheduler.now();
    sync.progressed = is_up;
    if (is_up && !sync.down_since.has_value()) sync.lost = false;
    entry->group->peer_gate().set_received(acked);
  }
  settle_sync(*entry);
}

void Pairs::settle_sync(Entry& entry) {
  if (entry.sync->saving > 0 || stopping_) return;
  const PairRecord& record = entry.record;
  group::PeerGate& gate = entry.group->peer_gate();
  // What a group that has stopped could not note is not in force, and nobody waits for what it can send no
  // more.
  if (const std::optional<Error>& why = entry.group->failure(); why.has_value()) return gate.end(*why);
  if (!record.sync.has_value() || record.side != Side::kPrimary) {
    entry.sync->joins_at.reset();
    return gate.open();
  }
  // Suspended by an error it has lost its peer, and is not to have it back before somebody says so.
  if (record.state == PairState::kPair || record.state == PairState::kPsue) return settle_streaming(entry);
  // What passes the gate from here on is not waited for: the place to join at was named while it was shut.
  entry.sync->joins_at.reset();
  if (record.state == PairState::kSsws) {
    hold(&entry);
    return gate.refuse(*entry.group->held_back());
  }
  gate.open();
}

void Pairs::settle_streaming(Entry& entry) {
  Entry::Sync& sync = *entry.sync;
  group::PeerGate& gate = entry.group->peer_gate();
  const bool is_up = entry.sender != nullptr && entry.sender->link_up();
  if (is_up == sync.down_since.has_value()) {
    if (is_up) {
      sync.down_since.reset();
      sync.lost = false;
    } else {
      sync.down_since = environment_.scheduler.now();
    }
    sync.progressed = false;
    sync_moved_.wake_all();
  }
  gate.set_received(entry.peer_has());
  if (entry.record.in_sync()) {
    sync.joins_at.reset();
    if (!sync.lost || entry.record.sync->on_loss == format::PeerLoss::kWait) return gate.shut();
    if (entry.record.sync->on_loss == format::PeerLoss::kFail) return gate.refuse(peer_lost(entry));
    const bool suspended = entry.record.state == PairState::kPsue;
    return change_sync(entry, suspended ? format::NotInSync::kSuspended
                              : is_up   ? format::NotInSync::kNoProgress
                                        : format::NotInSync::kLinkDown);
  }
  if (!is_up || sync.lost) sync.joins_at.reset();
  if (!sync.joins_at.has_value() && is_up && !sync.lost && has_caught_up(entry)) {
    sync.joins_at = entry.group->journal().last_appended();
  }
  if (!sync.joins_at.has_value()) return gate.open();
  gate.shut();
  if (entry.sender->acked().raw() >= sync.joins_at->raw()) change_sync(entry, format::NotInSync::kNone);
}

bool Pairs::has_caught_up(const Entry& entry) const {
  const PairLag lag = lag_of(entry);
  // Of a peer that has stood still, all: who waited for the rest would wait for it to move.
  return lag.entries == 0 || (entry.sync->progressed && lag.bytes <= kJoinBytesMax);
}

// The gate moves when it is on disk.
void Pairs::change_sync(Entry& entry, format::NotInSync why) {
  const std::string since = format_time(entry.record.sync_since);
  entry.record.not_in_sync = why;
  entry.record.sync_since = environment_.clock.now();
  const bool in_sync = why == format::NotInSync::kNone;
  host_.log(in_sync ? "pair-in-sync" : "pair-not-in-sync", entry.name,
            log_field("peer", entry.record.peer_name) + " " +
                (in_sync ? log_field("not_since", since) : log_field("reason", why_word(why))));
  ++entry.sync->saving;
  tasks_.spawn(save_sync(entry.name));
}

// Without the lock of the pair's commands, which may wait for the peer that was lost.
io::Task<void> Pairs::save_sync(std::string name) {
  Entry* entry = find(name);
  if (entry == nullptr) co_return;
  const std::shared_ptr<Entry::Sync> sync = entry->sync;
  const std::shared_ptr<group::Group> group = host_.hold_group(name);
  if (group != nullptr) (void)co_await save_record(entry);
  --sync->saving;
  sync_moved_.wake_all();
  entry = find(name);
  if (entry == nullptr || entry->sync != sync) co_return;
  settle_sync(*entry);
  if (entry->sender != nullptr) entry->sender->tell_promise();
}

// When a FLUSH that waits, or the next one, is no longer to wait for the peer; nothing while all goes well.
std::optional<MonotonicTime> Pairs::loss_due(const Entry& entry) const {
  const Entry::Sync& sync = *entry.sync;
  if (!entry.record.sync.has_value() || entry.record.side != Side::kPrimary || sync.saving > 0 || sync.lost) {
    return std::nullopt;
  }
  const bool may_be_lost = entry.record.state == PairState::kPair || entry.record.state == PairState::kPsue;
  if (!may_be_lost) return std::nullopt;
  if (!entry.record.in_sync() && !sync.joins_at.has_value()) return std::nullopt;
  const Duration after = entry.record.sync->loss_after;
  if (sync.down_since.has_value()) return *sync.down_since + after;
  const std::optional<MonotonicTime> waiting_since = entry.group->peer_gate().waiting_since();
  if (!waiting_since.has_value()) return std::nullopt;
  return std::max(*waiting_since, sync.progress_at) + after;
}

void Pairs::lose(Entry& entry) {
  Entry::Sync& sync = *entry.sync;
  sync.lost = true;
  sync.progressed = false;
  if (entry.record.in_sync() && entry.record.sync->on_loss != format::PeerLoss::kAsync) {
    const bool waits = entry.record.sync->on_loss == format::PeerLoss::kWait;
    host_.log(
        "pair-peer-lost", entry.name,
        log_field("peer", entry.record.peer_name) + " " + log_field("flushes", waits ? "wait" : "fail"));
  }
  settle_sync(entry);
}

io::Task<void> Pairs::watch_sync() {
  while (!stopping_) {
    sync_due_.reset();
    for (const auto& [name, entry] : entries_) {
      const std::optional<MonotonicTime> due = loss_due(*entry);
      if (!due.has_value()) continue;
      if (*due <= environment_.scheduler.now()) {
        lose(*entry);
      } else if (!sync_due_.has_value() || *due < *sync_due_) {
        sync_due_ = due;
      }
    }
    if (sync_due_.has_value()) {
      (void)co_await sync_moved_.wait_until(*sync_due_);
    } else {
      co_await sync_moved_.wait();
    }
  }
}

Error Pairs::peer_lost(const Entry& entry) const {
  const std::string why = entry.record.state == PairState::kPsue ? "the pair is suspended by an error"
                          : entry.sync->down_since.has_value()   ? "the link to it is down"
                                                                 : "it makes no progress";
  return fail(ErrorCode::kIo, "group '" + entry.name + "' is durable here, and " + entry.record.peer_name +
                                  " cannot have it: " + why +
                                  "; the pair is synchronous and is to fail then");
}

Sender::Promise Pairs::promise_of(const std::string& group) const {
  Sender::Promise promise;
  const Entry* entry = find(group);
  if (entry == nullptr || !entry->record.sync.has_value()) return promise;
  promise.why = entry->record.not_in_sync;
  promise.since = entry->record.sync_since;
  // Not before it is on disk.
  if (promise.why == format::NotInSync::kNone && entry->sync->saving > 0) {
    promise.why = format::NotInSync::kCatchingUp;
  }
  // No clock of a loss that runs later ends sooner.
  promise.holds_until =
      loss_due(*entry).value_or(environment_.scheduler.now() + entry->record.sync->loss_after);
  return promise;
}

SyncStatus Pairs::sync_status(const Entry& entry) const {
  SyncStatus status;
  if (!entry.record.sync.has_value()) return status;
  status.in_sync = counts_as_in_sync(entry);
  status.lost = entry.sync->lost;
  status.flushes_waiting = entry.group->peer_gate().waiting();
  return status;
}

bool Pairs::counts_as_in_sync(const Entry& entry) const {
  if (!entry.record.in_sync()) return false;
  if (entry.record.side == Side::kPrimary) return true;
  if (entry.record.state == PairState::kSsws) return true;  // as it was when it took over
  if (entry.record.sync->on_loss != format::PeerLoss::kAsync) return true;
  return entry.sync->holds_until.has_value() && environment_.scheduler.now() < *entry.sync->holds_until;
}

// ---- The secondary's side

bool Pairs::take_terms(Entry& entry, const std::optional<format::SyncTerms>& terms) {
  PairRecord& record = entry.record;
  if (record.sync == terms) return false;
  if (record.sync.has_value() != terms.has_value()) {
    record.not_in_sync = format::NotInSync::kCatchingUp;
    record.sync_since = environment_.clock.now();
  }
  record.sync = terms;
  entry.sync->holds_until.reset();
  return true;
}

io::Task<Result<void>> Pairs::take_promise(Entry* entry, format::InSync word) {
  PairRecord& record = entry->record;
  if (!record.sync.has_value() || record.state != PairState::kPair) co_return Result<void>{};
  if (word.heard_ns != 0) {
    // Two clocks do not run alike: a part in 256 is more than they differ.
    const Duration allowance{std::abs(word.holds_for.ns) / 256};
    const MonotonicTime until = MonotonicTime{word.heard_ns} + (word.holds_for - allowance);
    entry->sync->holds_until = std::max(entry->sync->holds_until.value_or(until), until);
  }
  if (record.not_in_sync == word.why && record.sync_since == word.since) co_return Result<void>{};
  record.not_in_sync = word.why;
  record.sync_since = word.since;
  co_return co_await save_record(entry);
}

// What a takeover now would leave behind, or, after one, what it left.
void Pairs::judge_takeover(const Entry& entry, Takeover& taken) const {
  const PairRecord& record = entry.record;
  const WallTime now = environment_.clock.now();
  taken.may_be_behind = !counts_as_in_sync(entry);
  const bool in_pair = record.state == PairState::kPair;
  if (!taken.may_be_behind) {
    taken.behind_since = now;
  } else if (!record.sync.has_value()) {
    taken.behind_since = !in_pair ? record.since : entry.link != nullptr ? now : entry.link_since;
  } else if (record.in_sync() && entry.sync->holds_until.has_value()) {
    taken.behind_since = now - (environment_.scheduler.now() - *entry.sync->holds_until);
  } else {
    taken.behind_since = record.sync_since;
  }
}

// ---- The command

Result<std::optional<format::SyncTerms>> changed_terms(std::optional<format::SyncTerms> terms,
                                                       const PairChange& change) {
  const bool sync = change.sync.value_or(terms.has_value());
  if (!sync && (change.on_loss.has_value() || change.loss_after.has_value())) {
    return fail(ErrorCode::kInvalid,
                "what happens when the peer is lost is said of a synchronous pair; add --mode sync");
  }
  if (!sync) return std::optional<format::SyncTerms>();
  format::SyncTerms changed = terms.value_or(format::SyncTerms());
  changed.on_loss = change.on_loss.value_or(changed.on_loss);
  changed.loss_after = change.loss_after.value_or(changed.loss_after);
  if (changed.loss_after < format::kLossAfterMin || changed.loss_after > format::kLossAfterMax) {
    return fail(ErrorCode::kInvalid, "a peer is lost after " + format_duration(format::kLossAfterMin) +
                                         " to " + format_duration(format::kLossAfterMax) + ", not after " +
                                         format_duration(changed.loss_after));
  }
  return std::optional<format::SyncTerms>(changed);
}

io::Task<Result<void>> Pairs::change(std::string name, PairChange change) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  TM_CO_TRY(check_pair_command(PairCommand::kSet, entry->record, name));
  TM_CO_TRY(check_copy_rate(change.copy_rate_bytes.value_or(0)));
  const bool changes_mode =
      change.sync.has_value() || change.on_loss.has_value() || change.loss_after.has_value();
  if (changes_mode && entry->record.state == PairState::kCopy) {
    co_return fail(ErrorCode::kRefused, "a copy of group '" + name +
                                            "' is still running; its rate and the compression can be set "
                                            "meanwhile, the mode when the pair is in PAIR");
  }
  TM_CO_TRY_ASSIGN(const std::optional<format::SyncTerms> terms, changed_terms(entry->record.sync, change));
  const std::uint64_t rate = change.copy_rate_bytes.value_or(entry->record.copy_rate_bytes);
  const bool has_new_rate = std::exchange(entry->record.copy_rate_bytes, rate) != rate;
  const format::Compression compression = change.compression.value_or(entry->record.compression);
  const bool has_new_compression = std::exchange(entry->record.compression, compression) != compression;
  const bool has_new_terms = take_terms(*entry, terms) || has_new_compression;
  if (!has_new_rate && !has_new_terms) co_return Result<void>{};
  if (has_new_rate && entry->sender != nullptr) entry->sender->set_copy_rate(rate);
  if (has_new_rate && entry->catching_up != nullptr) entry->catching_up->set_rate(rate);
  const PairState state = entry->record.state;
  std::string reason = entry->record.reason;
  TM_CO_TRY(co_await save(entry, state, std::move(reason), entry->group->local().peer_has));
  entry = find(name);
  if (has_new_terms && entry != nullptr && entry->sender != nullptr) {
    entry->sender->set_terms(terms, compression);
  }
  sync_moved_.wake_all();
  co_return Result<void>{};
}

}  // namespace tidemark::replication
