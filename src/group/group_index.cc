#include "group/group_index.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/log_field.h"
#include "group/core.h"

namespace tidemark::group {

// Whoever awaits something of an index: it is not closed before that has ended.
class GroupIndex::User {
 public:
  User(GroupIndex* owner, std::shared_ptr<Held> held) : owner_(owner), held_(std::move(held)) {
    ++held_->users;
  }
  User(const User&) = delete;
  User& operator=(const User&) = delete;
  ~User() {
    if (--held_->users == 0) owner_->users_ended_.wake_all();
  }
  index::VersionIndex& index() const { return *held_->index; }

 private:
  GroupIndex* owner_;
  std::shared_ptr<Held> held_;
};

GroupIndex::GroupIndex(Core* core, std::unique_ptr<index::VersionIndex> opened)
    : core_(core),
      in_use_(std::make_shared<Held>(std::move(opened))),
      attempt_ended_(core->scheduler()),
      users_ended_(core->scheduler()),
      tasks_(core->scheduler()) {}

GroupIndex::~GroupIndex() {
  tasks_.cancel_all();
}

// ---- What goes in ----

void GroupIndex::insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                             const std::vector<std::uint32_t>& checksums) {
  in_use_->index->insert_data(volume, blocks, id, place, checksums);
  if (successor_ != nullptr) successor_->index->insert_data(volume, blocks, id, place, checksums);
}

void GroupIndex::insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) {
  in_use_->index->insert_zero(volume, blocks, id, place);
  if (successor_ != nullptr) successor_->index->insert_zero(volume, blocks, id, place);
}

void GroupIndex::insert(index::VersionIndex& index, const format::BatchMeta& meta, Place payload_place) {
  for (std::size_t i = 0; i < meta.entries.size(); ++i) {
    const format::Entry& entry = meta.entries[i];
    const LogId id = LogId::from_raw(meta.first.raw() + i);
    if (entry.kind == format::EntryKind::kWrite) {
      const Place place = payload_place.plus(entry.payload_block);
      index.insert_data(entry.volume, entry.blocks, id, place, entry.checksums);
    } else if (entry.kind == format::EntryKind::kZero || entry.kind == format::EntryKind::kDiscard) {
      index.insert_zero(entry.volume, entry.blocks, id, payload_place);
    }
  }
}

void GroupIndex::insert_batch(const format::BatchMeta& meta, Place payload_place) {
  insert(*in_use_->index, meta, payload_place);
  if (successor_ != nullptr) insert(*successor_->index, meta, payload_place);
}

void GroupIndex::drop_before(Place bound) {
  bound_ = std::max(bound_, bound);
  in_use_->index->drop_before(bound_);
  if (successor_ != nullptr) successor_->index->drop_before(bound_);
}

// ---- What is asked of it ----

io::Task<Result<void>> GroupIndex::lookup(VolumeId volume, BlockRange blocks, const index::Path& path,
                                          std::vector<index::Piece>& out, std::size_t pieces_max) {
  const std::size_t before = out.size();
  bool again = false;
  while (true) {
    const std::shared_ptr<Held> asked = in_use_;
    Result<void> found;
    {
      const User user(this, asked);
      found = co_await user.index().lookup(volume, blocks, path, out, pieces_max);
    }
    if (found.ok() || found.error().code != ErrorCode::kDamaged) co_return found;
    out.resize(before);
    if (again) co_return found;
    again = true;
    TM_CO_TRY(co_await mend(asked, found.error()));
  }
}

io::Task<Result<void>> GroupIndex::persist(Place resume, index::VersionIndex::UntilDurable until_durable) {
  const std::shared_ptr<Held> asked = in_use_;
  Result<void> written;
  bool is_durable = false;
  {
    const User user(this, asked);
    index::VersionIndex::UntilDurable watched = [&is_durable, &until_durable]() -> io::Task<Result<void>> {
      if (until_durable) TM_CO_TRY(co_await until_durable());
      is_durable = true;
      co_return Result<void>{};
    };
    written = co_await user.index().persist(resume, std::move(watched));
  }
  const bool is_damaged = !written.ok() && is_durable && written.error().code == ErrorCode::kDamaged;
  if (!is_damaged) co_return written;
  const bool too_early =
      last_ended_at_.has_value() && core_->scheduler().now() - *last_ended_at_ < kPersistPause;
  if (too_early && !rebuilding_ && in_use_ == asked) co_return written;
  // What was to be written is in the memory of the new one, which says itself when it wants a run.
  co_return co_await mend(asked, written.error());
}

index::IndexStatus GroupIndex::status() const {
  index::IndexStatus status = in_use_->index->status();
  if (successor_ != nullptr) {
    const index::IndexStatus more = successor_->index->status();
    status.keys_in_memory += more.keys_in_memory;
    status.memory_bytes += more.memory_bytes;
    status.runs_bytes_on_disk += more.runs_bytes_on_disk;
  }
  status.lookups += lookups_before_;
  status.lookups_beyond_memory += lookups_beyond_memory_before_;
  return status;
}

io::Task<void> GroupIndex::close() {
  // A rebuild under way sees that the group closes.
  co_await tasks_.join();
  co_await in_use_->index->close();
}

// ---- The rebuild ----

Result<void> GroupIndex::check_going_on() const {
  if (core_->closing) return fail(ErrorCode::kShutdown, "group '" + core_->name() + "' is closing");
  return {};
}

Error GroupIndex::why_not(const Error& damage, const Error& reason) const {
  return fail(reason.code, "the version index of group '" + core_->name() + "' is damaged (" +
                               damage.message +
                               ") and cannot be rebuilt from the journal now: " + reason.message);
}

io::Task<Result<void>> GroupIndex::mend(std::shared_ptr<Held> damaged, Error damage) {
  if (in_use_ != damaged) co_return Result<void>{};
  if (!rebuilding_) {
    TM_CO_TRY(check_going_on());
    const bool too_early = last_failure_.has_value() && core_->scheduler().now() - *last_ended_at_ < kPause;
    if (too_early) co_return *last_failure_;
    rebuilding_ = true;
    tasks_.spawn(rebuild(std::move(damage)));
  }
  const std::uint64_t attempt = attempts_ended_;
  while (attempts_ended_ == attempt) co_await attempt_ended_.wait();
  if (in_use_ != damaged) co_return Result<void>{};
  TM_ASSERT(last_failure_.has_value());
  co_return *last_failure_;
}

io::Task<void> GroupIndex::rebuild(Error damage) {
  const MonotonicTime begun = core_->scheduler().now();
  Scanned scanned;
  Result<void> outcome = co_await make_successor();
  if (outcome.ok()) outcome = co_await fill_successor(&scanned);
  // Nothing is awaited between the last look at the journal and the switch.
  std::shared_ptr<Held> old = std::exchange(successor_, nullptr);
  if (outcome.ok()) {
    std::swap(old, in_use_);
    const index::IndexStatus status = old->index->status();
    lookups_before_ += status.lookups;
    lookups_beyond_memory_before_ += status.lookups_beyond_memory;
    // What the operator was told of an attempt that failed is over.
    if (last_failure_.has_value() && core_->alarm == last_failure_->message) core_->alarm.reset();
    last_failure_.reset();
    rebuilt_at_ = core_->scheduler().now();
    tell("index-rebuilt", damage, scanned, begun, "");
  } else {
    last_failure_ = why_not(damage, outcome.error());
    if (outcome.error().code != ErrorCode::kShutdown) {
      core_->alarm = last_failure_->message;
      tell("index-not-rebuilt", damage, scanned, begun, outcome.error().message);
    }
  }
  last_ended_at_ = core_->scheduler().now();
  rebuilding_ = false;
  ++attempts_ended_;
  attempt_ended_.wake_all();
  if (old != nullptr) co_await put_away(std::move(old));
}

io::Task<Result<void>> GroupIndex::make_successor() {
  const User user(this, in_use_);
  auto made = co_await user.index().make_successor();
  if (!made.ok()) co_return std::move(made).error();
  successor_ = std::make_shared<Held>(std::move(made).value());
  successor_->index->drop_before(bound_);
  co_return Result<void>{};
}

io::Task<Result<void>> GroupIndex::fill_successor(Scanned* scanned) {
  journal::Journal& journal = *core_->journal;
  // What was appended before there was a successor: it is read back once it is durable.
  TM_CO_TRY(co_await journal.wait_durable(journal.last_ticket()));
  const Place end = journal.durable_end();
  Place at{};
  while (true) {
    TM_CO_TRY(check_going_on());
    // What was freed meanwhile nobody asks for.
    at = std::max(at, journal.oldest());
    if (at >= end) co_return Result<void>{};
    auto batch = co_await journal.scan(at);
    if (!batch.ok() && batch.error().code == ErrorCode::kExpired && at < journal.oldest()) continue;
    if (!batch.ok()) co_return std::move(batch).error();
    if (!batch->has_value()) co_return Result<void>{};
    const journal::StoredBatch& stored = **batch;
    insert(*successor_->index, stored.meta, stored.payload_place);
    ++scanned->batches;
    at = stored.next;
    if (successor_->index->wants_persist()) TM_CO_TRY(co_await persist_successor(at));
    co_await core_->scheduler().yield();
  }
}

io::Task<Result<void>> GroupIndex::persist_successor(Place resume) {
  index::VersionIndex::UntilDurable until_durable = [journal = core_->journal.get()] {
    return journal->wait_durable(journal->last_ticket());
  };
  co_return co_await successor_->index->persist(resume, std::move(until_durable));
}

io::Task<void> GroupIndex::put_away(std::shared_ptr<Held> old) {
  old->index->retire();
  while (old->users > 0) co_await users_ended_.wait();
  co_await old->index->close();
}

void GroupIndex::tell(const char* event, const Error& damage, const Scanned& scanned, MonotonicTime begun,
                      const std::string& reason) const {
  if (!core_->context.log) return;
  const Duration took = core_->scheduler().now() - begun;
  std::string text = log_field("damage", damage.message) + " " + log_field("batches", scanned.batches) + " " +
                     log_field("milliseconds", static_cast<std::uint64_t>(took.ns / 1'000'000));
  if (!reason.empty()) text += " " + log_field("reason", reason);
  core_->context.log(event, core_->name(), text);
}

}  // namespace tidemark::group
