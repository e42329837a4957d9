// How a group begins: a new one, an empty secondary, and one that is opened from its journal.

#include <algorithm>

#include "base/log_field.h"
#include "base/names.h"
#include "group/group.h"

namespace tidemark::group {

io::Task<Result<std::unique_ptr<Group>>> Group::make(GroupContext context, NewGroup what) {
  const GroupIdentity identity = what.identity;
  TM_CO_TRY(validate_name("group name", what.name));
  TM_CO_TRY_ASSIGN(const LuNumber number, co_await context.pools.create_log_volume(what.log_pool, identity,
                                                                                   what.journal_size_bytes));
  io::Disk* log_volume = context.pools.log_volume(number);
  auto journal =
      co_await journal::Journal::create(context.environment, *log_volume, identity, context.journal_options);
  if (!journal.ok()) co_return std::move(journal).error();
  std::unique_ptr<Group> group(new Group(context, std::move(journal).value(), number));
  auto index = co_await context.make_index(identity);
  if (!index.ok()) co_return std::move(index).error();
  Core& core = group->core_;
  core.index = std::make_unique<GroupIndex>(&core, std::move(index->index));
  // A folder of the same name may hold keys of a group long gone.
  TM_CO_TRY(co_await core.index->clear());
  core.local.name = what.name;
  core.local.data_pool = what.data_pool;
  core.local.settings = what.settings;
  core.age_anchor = context.environment.clock.now();
  core.age_anchor_monotonic = context.environment.scheduler.now();
  co_return group;
}

io::Task<Result<std::unique_ptr<Group>>> Group::create(GroupContext context, NewGroup what) {
  const auto identity = context.environment.random.identity<GroupIdentity>();
  what.identity = identity;
  auto made = co_await form(context, std::move(what));
  if (!made.ok()) (void)co_await destroy(context.pools, identity);
  co_return made;
}

io::Task<Result<std::unique_ptr<Group>>> Group::form(GroupContext context, NewGroup what) {
  auto made = co_await make(context, std::move(what));
  if (!made.ok()) co_return made;
  Core& core = (*made)->core_;
  const Epoch first{1};
  const LogId root(first, 0);
  core.local.floor = core.local.destaged = root;
  const format::EpochOpened record{.identity = context.environment.random.identity<EpochIdentity>(),
                                   .parent = root,
                                   .reason = format::EpochReason::kCreate};
  std::vector<std::byte> body = format::encode_control(record);
  TM_CO_TRY(co_await core.journal->make_room(0, static_cast<std::uint32_t>(body.size()),
                                             journal::Purpose::kControl));
  core.journal->begin_epoch(record.identity, root.next(), 0, WallTime{});
  journal::NewEntry entry = entry_with_body(format::EntryKind::kControl, std::move(body));
  const journal::Appended appended = core.journal->append(std::move(entry));
  TM_CO_TRY(core.state.apply(appended.id, appended.timer, record));
  core.live_epoch = first;
  core.local.floor_timer = core.local.destaged_timer = appended.timer;
  core.update_live_path();
  TM_CO_TRY(co_await core.save_snapshot());
  TM_CO_TRY(co_await context.pools.finish_log_volume((*made)->log_volume()));
  (*made)->start();
  co_return made;
}

io::Task<Result<std::unique_ptr<Group>>> Group::create_secondary(GroupContext context, NewGroup what,
                                                                 SecondaryStart from) {
  const GroupIdentity identity = what.identity;
  auto made = co_await form_secondary(context, std::move(what), std::move(from));
  if (!made.ok()) (void)co_await destroy(context.pools, identity);
  co_return made;
}

io::Task<Result<std::unique_ptr<Group>>> Group::form_secondary(GroupContext context, NewGroup what,
                                                               SecondaryStart from) {
  const LogId start = from.start;
  const index::EpochInfo* epoch = from.state.epochs().find(start.epoch());
  if (epoch == nullptr || epoch->last != start) {
    co_return fail(ErrorCode::kInvalid, "the peer's state does not end at log:" + start.to_string());
  }
  const EpochIdentity epoch_identity = epoch->identity;
  const WallTime timer = epoch->last_timer;
  auto made = co_await make(context, std::move(what));
  if (!made.ok()) co_return made;
  Core& core = (*made)->core_;
  core.state = std::move(from.state);
  core.local.role = Role::kSecondary;
  core.local.parity = from.parity;
  core.local.floor = core.local.destaged = start;
  core.local.destaged_checksum = from.start_checksum;
  core.local.floor_timer = core.local.destaged_timer = timer;
  core.local.window_open = false;
  core.live_epoch = start.epoch();
  core.journal->begin_epoch(epoch_identity, start.next(), from.start_checksum, timer);
  core.update_live_path();
  TM_CO_TRY(co_await core.settle_volumes(false));
  TM_CO_TRY(co_await core.save_snapshot());
  TM_CO_TRY(co_await context.pools.finish_log_volume((*made)->log_volume()));
  (*made)->start();
  co_return made;
}

io::Task<Result<std::unique_ptr<Group>>> Group::open(GroupContext context, LuNumber log_volume) {
  io::Disk* disk = context.pools.log_volume(log_volume);
  if (disk == nullptr) {
    co_return fail(ErrorCode::kNotFound, "there is no log volume " + std::to_string(log_volume.value));
  }
  journal::FindLogVolume find_log_volume = [pools = &context.pools](LuNumber number) {
    return pools->find_log_volume(number);
  };
  auto journal = co_await journal::Journal::open(context.environment, *disk, context.journal_options,
                                                 std::move(find_log_volume));
  if (!journal.ok()) {
    // Of a group that is being deleted the further log volumes go first.
    const auto record = co_await journal::Journal::read_local_record(context.environment, *disk);
    if (record.ok()) {
      const auto local = LocalRecord::decode(*record);
      if (local.ok() && local->dropped) co_return std::unique_ptr<Group>();
    }
    co_return std::move(journal).error();
  }
  std::unique_ptr<Group> group(new Group(context, std::move(journal).value(), log_volume));
  TM_CO_TRY_ASSIGN(group->core_.local, LocalRecord::decode(group->core_.journal->local_record()));
  if (group->core_.local.dropped) co_return std::unique_ptr<Group>();
  TM_CO_TRY(co_await group->replay());
  group->start();
  // A restore from the other node that was cut off: what was there before is gone back to.
  auto undone = co_await group->undo_refill();
  if (!undone.ok()) {
    (void)co_await group->close();
    co_return undone.error();
  }
  co_return group;
}

io::Task<Result<void>> Group::replay() {
  TM_CO_TRY_ASSIGN(Snapshot snapshot, decode_snapshot(core_.journal->snapshot()));
  core_.state = std::move(snapshot.state);
  core_.live_epoch = snapshot.live_epoch;
  // No step has written one since it was begun, or one of another time lies there: nothing was destaged yet.
  if (snapshot.changes.from() != core_.local.changes_from) snapshot.changes.begin(core_.local.changes_from);
  core_.changes = std::move(snapshot.changes);
  auto index = co_await core_.context.make_index(core_.journal->group());
  if (!index.ok()) co_return std::move(index).error();
  core_.index = std::make_unique<GroupIndex>(&core_, std::move(index->index));
  if (index->rebuilt && core_.context.log) {
    core_.context.log("index-rebuilt", core_.name(), log_field("damage", index->why_rebuilt));
  }
  // The state begins at the snapshot, the index where its last run ends; both from the earlier on.
  const Place state_from = core_.journal->snapshot_end();
  const Place index_from = std::max(core_.index->resume_place(), core_.journal->oldest());
  Place at = std::min(state_from, index_from);
  LogId newest;
  while (true) {
    auto batch = co_await core_.journal->scan(at);
    if (!batch.ok()) co_return std::move(batch).error();
    if (!batch->has_value()) break;
    const journal::StoredBatch& stored = **batch;
    TM_CO_TRY(co_await replay_batch(stored, stored.place >= state_from, stored.place >= index_from));
    if (stored.place >= state_from) newest = stored.meta.last();
    at = stored.next;
  }
  core_.forget_skip_without_state();
  // The order goes on where this node appended last: turning to another epoch writes a snapshot.
  if (!newest.is_none()) core_.live_epoch = newest.epoch();
  const index::EpochInfo* live = core_.state.epochs().find(core_.live_epoch);
  core_.age_anchor = live->last_timer;
  core_.age_anchor_monotonic = core_.scheduler().now();
  const LogId head = live->last;
  TM_CO_TRY_ASSIGN(const std::uint32_t checksum, co_await core_.checksum_at(head));
  core_.journal->begin_epoch(live->identity, head.next(), checksum, live->last_timer);
  core_.update_live_path();
  // An entry may have become durable whose effect on the record had not.
  if (core_.follow_log_switch()) TM_CO_TRY(co_await core_.save_local());
  TM_CO_TRY(co_await core_.remove_unnamed_log_volumes());
  TM_CO_TRY(co_await core_.open_volumes());
  co_return co_await promise_base_space();
}

void Group::index_batch(const format::BatchMeta& meta, Place payload_place) {
  core_.index->insert_batch(meta, payload_place);
  for (const format::Entry& entry : meta.entries) {
    if (entry.kind != format::EntryKind::kWrite) continue;
    if (Volume* volume = core_.find_volume(entry.volume)) {
      volume->appended_bytes[payload_place.generation()] += entry.blocks.count() * kBlockSizeBytes;
    }
  }
}

io::Task<Result<void>> Group::replay_batch(const journal::StoredBatch& batch, bool to_state, bool to_index) {
  if (to_state) TM_CO_TRY(core_.state.apply(batch.meta));
  if (to_index) index_batch(batch.meta, batch.payload_place);
  co_return Result<void>{};
}

io::Task<Result<void>> Group::promise_base_space() {
  // What was acknowledged had its place in the base promised; the promise is kept in memory, so it is made
  // again.
  for (auto& [id, volume] : core_.volumes) {
    std::uint64_t at = 0;
    const std::uint64_t end = volume->base->record().size_bytes / kBlockSizeBytes;
    while (at < end) {
      const BlockRange rest{at, end};
      std::vector<index::Piece> pieces;
      TM_CO_TRY(co_await core_.index->lookup(id, rest, *core_.live_path, pieces, 4096));
      for (const index::Piece& piece : pieces) {
        if (piece.kind != index::Piece::Kind::kData || volume->base->is_reserved(piece.blocks)) continue;
        auto reserved = co_await volume->base->reserve(piece.blocks);
        // Nothing acknowledged is lost by this: the journal holds it, and the floor waits until there is
        // room.
        if (!reserved.ok()) {
          core_.alarm =
              "the base of volume " + std::to_string(id.value) + " has no room: " + reserved.error().message;
          co_return Result<void>{};
        }
      }
      if (pieces.empty()) break;
      at = pieces.back().blocks.end;
    }
  }
  co_return Result<void>{};
}

}  // namespace tidemark::group
