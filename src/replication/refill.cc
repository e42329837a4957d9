// The primary brought back to a point that only the secondary can still show: the blocks that differ come
// over, into an epoch that counts once it is complete.

#include <algorithm>
#include <utility>

#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"
#include "replication/query.h"

namespace tidemark::replication {
namespace {

constexpr Duration kDrainTimeout = Duration::seconds(30);

Result<void> same_volumes(const std::vector<group::VolumeShape>& here,
                          const std::vector<format::Answer::Volume>& there) {
  bool same = here.size() == there.size();
  for (std::size_t i = 0; same && i < here.size(); ++i) {
    same = here[i].id == there[i].id && here[i].size_bytes == there[i].size_bytes;
  }
  if (same) return {};
  return fail(
      ErrorCode::kUnsupported,
      "the group had other volumes, or volumes of another size, at that point; a restore from the other "
      "node needs the same ones. Take over there, or copy what is needed from a view on that node");
}

// The blocks of a volume that differ between a log id and the refill's point, step by step.
class DifferingBlocks {
 public:
  DifferingBlocks(Refill* refill, const group::VolumeShape& shape, LogId from)
      : refill_(refill), volume_(shape.id), from_(from), end_(shape.size_bytes / kBlockSizeBytes) {}

  bool ended() const { return at_ == end_; }
  // May be empty before the end.
  io::Task<Result<std::vector<BlockRange>>> next() {
    const std::uint64_t until = std::min(end_, at_ + kQueryStepBlocks);
    TM_CO_TRY_ASSIGN(std::vector<BlockRange> runs,
                     co_await refill_->query->differing(volume_, from_, refill_->point.at, {at_, until}));
    at_ = runs.size() == format::kQueryRunsMax ? runs.back().end : until;
    co_return runs;
  }

 private:
  Refill* refill_;
  VolumeId volume_;
  LogId from_;
  std::uint64_t at_ = 0;
  std::uint64_t end_;
};

// The blocks of one run, at the refill's point, into the live volume.
io::Task<Result<void>> fetch(Refill* refill, VolumeId volume, BlockRange run) {
  for (std::uint64_t begin = run.begin; begin < run.end; begin += kQueryBlocksMax) {
    const BlockRange part{begin, std::min(run.end, begin + kQueryBlocksMax)};
    TM_CO_TRY_ASSIGN(Buffer blocks, co_await refill->query->blocks(volume, refill->point.at, part));
    const std::uint64_t offset = begin * kBlockSizeBytes;
    const std::uint64_t bytes = blocks.size();
    if (all_zero(blocks)) {
      TM_CO_TRY(co_await refill->group->data().zero(volume, offset, bytes, true, false));
    } else {
      TM_CO_TRY(co_await refill->group->data().write(volume, offset, std::move(blocks), false));
    }
    refill->moved_bytes += bytes;
  }
  co_return Result<void>{};
}

// What differs from `left`, all of it.
io::Task<Result<void>> fetch_all(Refill* refill, LogId left) {
  const std::vector<group::VolumeShape> volumes = refill->group->volumes();
  for (const group::VolumeShape& shape : volumes) {
    DifferingBlocks differing(refill, shape, left);
    while (!differing.ended()) {
      TM_CO_TRY_ASSIGN(const std::vector<BlockRange> runs, co_await differing.next());
      for (const BlockRange& run : runs) TM_CO_TRY(co_await fetch(refill, shape.id, run));
    }
  }
  co_return Result<void>{};
}

}  // namespace

bool Pairs::can_refill(const std::string& name) const {
  const Entry* entry = find(name);
  return entry != nullptr && entry->record.side == Side::kPrimary && entry->record.state == PairState::kPair;
}

io::Task<Result<Refill>> Pairs::plan_refill(std::string name, std::string point, bool before) {
  Refill refill;
  {
    auto guard = co_await lock(name);
    Entry* entry = find(name);
    if (entry == nullptr) co_return no_pair(name);
    TM_CO_TRY(check_pair_command(PairCommand::kRestore, entry->record, name));
    TM_CO_TRY(check_not_refilling(*entry));
    if (!can_refill(name)) {
      co_return fail(ErrorCode::kRefused,
                     "group '" + name + "' is " + pair_state_name(entry->record.state) +
                         (entry->record.side == Side::kPrimary ? "" : " as secondary") +
                         " here; a restore from the other node needs the primary, in PAIR");
    }
    refill.group = host_.hold_group(name);
    TM_CO_TRY_ASSIGN(std::shared_ptr<Link> link,
                     co_await introduce(entry, format::HelloIntent::kQuery, LogId()));
    refill.query = std::make_shared<PeerQuery>(std::move(link));
    refill.peer_name = entry->record.peer_name;
    refill.base = entry->sender == nullptr ? entry->peer_has() : entry->sender->acked();
  }
  auto resolved = co_await refill.query->resolve(point, before, false);
  if (!resolved.ok()) {
    co_return fail(resolved.error().code, refill.peer_name + ": " + resolved.error().message);
  }
  refill.point.at = resolved->at;
  refill.point.timer = resolved->timer;
  const std::vector<group::VolumeShape> volumes = refill.group->volumes();
  TM_CO_TRY(same_volumes(volumes, resolved->volumes));
  for (const group::VolumeShape& shape : volumes) {
    DifferingBlocks differing(&refill, shape, refill.base);
    std::uint64_t& blocks = refill.differing_blocks[shape.id];
    while (!differing.ended()) {
      TM_CO_TRY_ASSIGN(const std::vector<BlockRange> runs, co_await differing.next());
      for (const BlockRange& run : runs) blocks += run.count();
    }
  }
  co_return refill;
}

// The secondary must hold everything that is here: what differs is counted from there.
io::Task<Result<void>> Pairs::drain(Entry* entry) {
  group::Group* group = entry->group;
  const MonotonicTime due = environment_.scheduler.now() + kDrainTimeout;
  TM_CO_TRY(co_await group->journal().wait_durable(group->journal().last_ticket()));
  while (entry->sender == nullptr || entry->sender->acked() != group->head()) {
    if (entry->sender == nullptr || !entry->sender->link_up()) {
      co_return fail(ErrorCode::kClosed, "the link to " + entry->record.peer_name + " was lost");
    }
    if (environment_.scheduler.now() >= due) {
      co_return fail(ErrorCode::kTimeout, entry->record.peer_name + " has not caught up within 30 seconds");
    }
    (void)co_await entry->sender->moved().wait_until(due);
  }
  co_return Result<void>{};
}

io::Task<Result<journal::Appended>> Pairs::refill(std::string name, Refill refill) {
  // Not held while the lock is waited for: who takes the group away has the lock, and waits for all who hold
  // it.
  const std::weak_ptr<group::Group> planned = std::exchange(refill.group, nullptr);
  std::shared_ptr<group::Group> group;
  {
    auto guard = co_await lock(name);
    Entry* entry = find(name);
    group = host_.hold_group(name);
    refill.group = group;
    if (entry == nullptr || group == nullptr || group != planned.lock() || !can_refill(name)) {
      co_return fail(ErrorCode::kRefused, "the pair of group '" + name + "' has just changed; ask again");
    }
    TM_CO_TRY(check_not_refilling(*entry));
    entry->refilling = true;
  }
  group->set_busy(fail(ErrorCode::kBusy, "group '" + name + "' is being restored from " + refill.peer_name));
  auto filled = co_await refill_busy(name, std::move(refill));
  // What could not be gone back from is nobody's to read or write; the next start goes back.
  if (!group->refill_is_unfinished()) group->set_busy(std::nullopt);
  if (Entry* entry = find(name)) entry->refilling = false;
  co_return filled;
}

io::Task<Result<journal::Appended>> Pairs::refill_busy(std::string name, Refill refill) {
  group::Group* group = refill.group.get();
  // Whoever had come before the group was busy goes; nobody comes after.
  co_await host_.disconnect_exports(name);
  co_await group->finish_commands();
  journal::Appended opened;
  LogId left;
  group::PointPin pin;
  {
    auto guard = co_await lock(name);
    Entry* entry = find(name);
    if (entry == nullptr || entry->group != group || !can_refill(name)) {
      co_return fail(ErrorCode::kRefused, "the pair of group '" + name + "' has just changed; ask again");
    }
    TM_CO_TRY(co_await drain(entry));
    left = group->head();
    pin = group->pin(left);
    TM_CO_TRY_ASSIGN(opened, co_await group->begin_refill());
  }
  Result<void> filled = co_await fetch_all(&refill, left);
  if (filled.ok()) filled = co_await group->finish_refill(opened.id.epoch(), refill.point.at);
  Result<void> undone;
  if (!filled.ok()) undone = co_await group->undo_refill();
  if (!filled.ok()) {
    co_return fail(
        filled.error().code,
        filled.error().message + (undone.ok() ? "; the group is as it was before"
                                              : "; restart the node to go back to what was before"));
  }
  host_.log(
      "restored-from-peer", name,
      log_field("to", refill.point.at.to_string()) + " " + log_field("moved_bytes", refill.moved_bytes));
  co_return opened;
}

}  // namespace tidemark::replication
