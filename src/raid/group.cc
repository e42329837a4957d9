#include "raid/group.h"

#include <algorithm>

namespace tidemark::raid {

namespace {

// Writes and the like that run at once; more wait for their turn.
constexpr std::size_t kOperationsMax = 256;
// Of a group's address space, discarded in one step: what is marked in the intent map for it stays small.
constexpr std::uint64_t kDiscardMemberBytes = 256 << 20;

struct Ended {
  explicit Ended(io::Scheduler& scheduler) : queue(scheduler) {}
  io::WaitQueue queue;
  bool done = false;
  Result<void> result;
};

io::Task<void> run_and_tell(io::Task<Result<void>> operation, std::shared_ptr<Ended> ended,
                            io::WaitQueue* any) {
  ended->result = co_await operation;
  ended->done = true;
  ended->queue.wake_all();
  any->wake_all();
}

}  // namespace

Group::Group(io::Environment& environment, const format::RaidLabel& label, NodeIdentity node,
             std::vector<Member> members, std::vector<NamedDisk> spares, RaidOptions options)
    : environment_(environment),
      geometry_(label.shape),
      label_(label),
      node_(node),
      options_(options),
      members_(environment, label.raid, label.name, geometry_, std::move(members)),
      journal_(members_),
      intents_(members_),
      locks_(environment.scheduler),
      spares_(std::move(spares)),
      rebuild_ended_(environment.scheduler),
      operation_ended_(environment.scheduler),
      tasks_(environment.scheduler) {}

Group::~Group() = default;

io::Task<Result<void>> Group::run_to_end(Operation operation) {
  while (tasks_.running() >= kOperationsMax) co_await operation_ended_.wait();
  co_return co_await run_at_once(std::move(operation));
}

io::Task<Result<void>> Group::run_at_once(Operation operation) {
  auto ended = std::make_shared<Ended>(environment_.scheduler);
  tasks_.spawn(run_and_tell(std::move(operation), ended, &operation_ended_));
  while (!ended->done) co_await ended->queue.wait();
  co_return ended->result;
}

Result<void> Group::check_range(const char* what, DiskOffset offset, std::uint64_t length_bytes) const {
  TM_ASSERT(offset.value % kBlockSizeBytes == 0);
  TM_ASSERT(length_bytes % kBlockSizeBytes == 0);
  if (members_.broken().has_value()) return *members_.broken();
  if (offset.value <= size_bytes() && length_bytes <= size_bytes() - offset.value) return {};
  return fail(ErrorCode::kIo, std::string("RAID group '") + label_.name + "': " + what + " of " +
                                  std::to_string(length_bytes) + " bytes at byte " +
                                  std::to_string(offset.value) + " goes beyond its end at byte " +
                                  std::to_string(size_bytes()));
}

Error Group::unreadable(std::uint64_t group_offset, std::string why) const {
  return fail(ErrorCode::kIo, "RAID group '" + label_.name + "' cannot give what lies at its byte " +
                                  std::to_string(group_offset) + ": " + why +
                                  "; not in sync: " + members_.describe_failed());
}

io::Task<Result<void>> Group::write_members(std::vector<MemberBytes> writes, io::Durability durability,
                                            std::string doing) {
  std::vector<MemberSet::Place> places;
  std::vector<Result<void>> results(writes.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    places.push_back(members_.place(writes[i].member));
    tasks.push_back(store_result(
        members_.write(writes[i].member, writes[i].offset, std::move(writes[i].pieces), durability),
        &results[i]));
  }
  co_await run_all(environment_.scheduler, std::move(tasks));
  co_return co_await members_.judge(std::move(places), std::move(results), std::move(doing));
}

// ---- Writes ----

io::Task<Result<void>> Group::write(DiskOffset offset, std::vector<Buffer> pieces,
                                    io::Durability durability) {
  for (const Buffer& piece : pieces) TM_ASSERT(piece.size() % kBlockSizeBytes == 0);
  Gather data(std::move(pieces));
  TM_CO_TRY(check_range("a write", offset, data.size_bytes()));
  if (data.size_bytes() == 0) co_return Result<void>{};
  co_return co_await run_to_end(write_any(offset.value, std::move(data), durability));
}

io::Task<Result<void>> Group::write_any(std::uint64_t offset, Gather data, io::Durability durability) {
  if (geometry_.has_parity()) co_return co_await write_parity(offset, std::move(data), durability);
  co_return co_await write_mirrored(offset, std::move(data), durability);
}

io::Task<Result<void>> Group::write_zeroes(std::uint64_t offset, std::uint64_t length_bytes) {
  std::vector<Buffer> pieces;
  for (std::uint64_t at = 0; at < length_bytes; at += kZeroesBytesMax) {
    pieces.push_back(zeroes(std::min<std::uint64_t>(kZeroesBytesMax, length_bytes - at)));
  }
  Gather data(std::move(pieces));
  co_return co_await write_any(offset, std::move(data), io::Durability::kVolatile);
}

io::Task<Result<void>> Group::flush() {
  TM_CO_TRY(check_range("a flush", DiskOffset{0}, 0));
  co_return co_await run_to_end(do_flush());
}

io::Task<Result<void>> Group::do_flush() {
  const std::uint64_t journal_mark = journal_.mark();
  const std::uint64_t intent_mark = intents_.mark();
  const std::uint64_t unflushed_mark = unflushed_.mark();
  TM_CO_TRY(co_await members_.flush());
  start_rebuild();
  journal_.flushed(journal_mark);
  intents_.flushed(intent_mark);
  unflushed_.flushed(unflushed_mark);
  if (intents_.regions_marked() > IntentMap::kRegionsMax / 2) co_return co_await intents_.clear();
  co_return Result<void>{};
}

// ---- Space ----

io::Task<Result<void>> Group::allocate(DiskOffset offset, std::uint64_t length_bytes) {
  TM_CO_TRY(check_range("an allocation", offset, length_bytes));
  if (length_bytes == 0) co_return Result<void>{};
  co_return co_await run_to_end(do_allocate(offset.value, length_bytes));
}

// Whole rows on every member: a neighbour's parity takes the space of its row anyway.
io::Task<Result<void>> Group::do_allocate(std::uint64_t offset, std::uint64_t length_bytes) {
  const std::uint64_t begin = offset / geometry_.row_bytes() * geometry_.unit();
  const std::uint64_t end = ((offset + length_bytes - 1) / geometry_.row_bytes() + 1) * geometry_.unit();
  std::vector<std::uint32_t> indices;
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    if (members_.in_use(i)) indices.push_back(i);
  }
  std::vector<Result<void>> results(indices.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    tasks.push_back(store_result(members_.allocate(indices[i], begin, end - begin), &results[i]));
  }
  co_await run_all(environment_.scheduler, std::move(tasks));
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (results[i].ok() || members_.all()[indices[i]].failed()) continue;
    // Nothing was changed, so nobody is failed out.
    co_return fail(results[i].error().code, "RAID group '" + label_.name +
                                                "': " + members_.describe(indices[i]) +
                                                " does not promise space: " + results[i].error().message);
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Group::discard(DiskOffset offset, std::uint64_t length_bytes) {
  TM_CO_TRY(check_range("a discard", offset, length_bytes));
  if (length_bytes == 0) co_return Result<void>{};
  co_return co_await run_to_end(do_discard(offset.value, length_bytes));
}

// Whole rows are discarded on every member, which leaves zeroes and the parity of zeroes; edges are zeroed.
io::Task<Result<void>> Group::do_discard(std::uint64_t offset, std::uint64_t length_bytes) {
  const std::uint64_t row_bytes = geometry_.row_bytes();
  const std::uint64_t end = offset + length_bytes;
  const std::uint64_t first_row = (offset + row_bytes - 1) / row_bytes;
  const std::uint64_t end_row = end / row_bytes;
  const bool has_rows = first_row < end_row;
  if (!has_rows || (geometry_.has_parity() && (end_row - first_row) * row_bytes < kInPlaceBytesMin)) {
    co_return co_await write_zeroes(offset, length_bytes);
  }
  const std::uint64_t head = first_row * row_bytes - offset;
  if (head > 0) TM_CO_TRY(co_await write_zeroes(offset, head));
  const std::uint64_t step = std::max<std::uint64_t>(1, kDiscardMemberBytes / geometry_.unit());
  for (std::uint64_t row = first_row; row < end_row; row += step) {
    TM_CO_TRY(co_await discard_rows(row, std::min(step, end_row - row)));
  }
  const std::uint64_t tail = end - end_row * row_bytes;
  if (tail > 0) TM_CO_TRY(co_await write_zeroes(end - tail, tail));
  co_return Result<void>{};
}

io::Task<Result<void>> Group::discard_rows(std::uint64_t first_row, std::uint64_t rows) {
  const std::uint64_t begin = first_row * geometry_.unit();
  const std::uint64_t length = rows * geometry_.unit();
  const std::uint64_t scale = geometry_.has_parity() ? 1 : geometry_.cells();
  const auto guard = co_await locks_.lock(begin * scale, (begin + length) * scale);
  if (geometry_.has_parity()) TM_CO_TRY(co_await journal_.retire(begin, begin + length));
  TM_CO_TRY_ASSIGN(const auto hold, co_await intents_.hold(begin, begin + length));
  std::vector<MemberSet::Place> places;
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    if (members_.writable(i, begin, begin + length)) places.push_back(members_.place(i));
  }
  std::vector<Result<void>> results(places.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < places.size(); ++i) {
    tasks.push_back(store_result(members_.discard(places[i].index, begin, length), &results[i]));
  }
  co_await run_all(environment_.scheduler, std::move(tasks));
  if (geometry_.has_parity()) unflushed_.add(begin, begin + length);
  co_return co_await members_.judge(std::move(places), std::move(results), "a discard");
}

// ---- What is told of it ----

RaidStatus Group::status() const {
  RaidStatus status;
  status.raid = label_.raid;
  status.name = label_.name;
  status.level = geometry_.shape().level;
  status.unit_bytes = geometry_.shape().unit_bytes;
  status.size_bytes = size_bytes();
  status.member_bytes = geometry_.shape().member_bytes;
  status.losses_left = members_.losses_left();
  status.event = members_.event();
  const MonotonicTime now = environment_.scheduler.now();
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    const Member& member = members_.all()[i];
    MemberStatus& out = status.members.emplace_back();
    out.index = i;
    out.name = member.disk.name;
    out.disk = member.record.disk;
    out.state = member.record.state;
    out.rebuilt_bytes = member.in_sync() ? status.member_bytes : member.rebuilt_now;
    out.reads = member.reads;
    out.writes = member.writes;
    out.flushes = member.flushes;
    out.read_bytes = member.read_bytes;
    out.written_bytes = member.written_bytes;
    out.read_errors = member.read_errors;
    out.write_errors = member.write_errors;
    out.repaired_blocks = member.repaired_blocks;
    out.latency_mean = member.latency_mean;
    out.latency_max = member.latency_max;
    out.failure = member.failure;
    Duration longest = member.latency_max;
    if (!member.in_flight.empty()) longest = std::max(longest, now - member.in_flight.begin()->second);
    out.slow = longest > options_.slow_after;
    if (!member.in_sync()) status.health = GroupHealth::kDegraded;
  }
  if (members_.broken().has_value()) {
    status.health = GroupHealth::kFailed;
    status.notices.push_back(members_.broken()->message);
  }
  for (const NamedDisk& spare : spares_) status.spares.push_back(spare.name);
  status.rebuild_problem = rebuild_problem_;
  status.replayed_entries = replayed_entries_;
  status.resynced_bytes = resynced_bytes_;
  status.notices.insert(status.notices.end(), notices_.begin(), notices_.end());
  return status;
}

RaidAddress Group::translate(DiskOffset offset) const {
  RaidAddress address;
  if (offset.value >= size_bytes()) return address;
  const Piece piece = geometry_.piece_at(offset.value);
  const std::uint32_t first = geometry_.first_member(piece.row, piece.cell);
  const DiskOffset at{geometry_.shape().data_offset + piece.member_offset};
  for (std::uint32_t i = 0; i < geometry_.copies(); ++i) {
    RaidAddress::Place place;
    place.member = first + i;
    place.offset = at;
    address.data.push_back(place);
  }
  for (std::uint32_t i = 0; i < geometry_.parities(); ++i) {
    RaidAddress::Place place;
    place.member = geometry_.member_of(piece.row, geometry_.cells() + i);
    place.offset = at;
    address.parity.push_back(place);
  }
  return address;
}

io::Task<Result<void>> Group::fail_out(std::uint32_t index) {
  if (index >= members_.count()) {
    co_return fail(ErrorCode::kInvalid,
                   "RAID group '" + label_.name + "' has no member " + std::to_string(index));
  }
  if (members_.all()[index].failed()) co_return Result<void>{};
  if (!members_.may_lose(index)) {
    co_return fail(ErrorCode::kRefused, "RAID group '" + label_.name + "' cannot do without " +
                                            members_.describe(index) +
                                            "; not in sync: " + members_.describe_failed());
  }
  members_.fail_in_memory(index, "failed out by a command");
  TM_CO_TRY(co_await run_at_once(members_.settle()));
  start_rebuild();
  co_return Result<void>{};
}

io::Task<Result<void>> Group::close() {
  TM_CO_TRY(check_range("closing", DiskOffset{0}, 0));
  TM_CO_TRY(co_await run_to_end(do_flush()));
  if (geometry_.has_parity()) TM_CO_TRY(co_await run_to_end(journal_.retire_all()));
  TM_CO_TRY(co_await run_to_end(intents_.clear()));
  members_.set_clean(true);
  co_return co_await run_to_end(members_.settle());
}

}  // namespace tidemark::raid
