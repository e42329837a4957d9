#include "raid/member_set.h"

#include <algorithm>
#include <utility>

namespace tidemark::raid {

using format::RaidMemberState;

io::Task<void> run_all(io::Scheduler& scheduler, std::vector<io::Task<void>> tasks) {
  if (tasks.size() == 1) {
    io::Task<void> only = std::move(tasks.front());
    co_await only;
    co_return;
  }
  io::TaskScope scope(scheduler);
  for (io::Task<void>& task : tasks) scope.spawn(std::move(task));
  co_await scope.join();
}

io::Task<void> store_result(io::Task<Result<void>> task, Result<void>* result) {
  *result = co_await task;
}

// Counts an operation from its begin to its end, also when its task is destroyed.
class MemberSet::Timer {
 public:
  Timer(MemberSet& set, std::uint32_t index)
      : set_(set),
        index_(index),
        place_(set.place(index)),
        number_(set.next_operation_++),
        begin_(set.scheduler().now()) {
    set.members_[index].in_flight.emplace(number_, begin_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { set_.members_[index_].in_flight.erase(number_); }
  bool is_current() const { return set_.is_there(place_); }
  void done() {
    if (!is_current()) return;
    Member& member = set_.members_[index_];
    const Duration took = set_.scheduler().now() - begin_;
    if (member.latency_max < took) member.latency_max = took;
    // The mean forgets: each operation counts for a 256th.
    if (member.latency_mean.ns == 0) member.latency_mean = took;
    member.latency_mean.ns += (took.ns - member.latency_mean.ns) / 256;
  }

 private:
  MemberSet& set_;
  std::uint32_t index_;
  Place place_;
  std::uint64_t number_;
  MonotonicTime begin_;
};

MemberSet::MemberSet(io::Environment& environment, RaidIdentity raid, std::string name,
                     const Geometry& geometry, std::vector<Member> members)
    : environment_(environment),
      raid_(raid),
      name_(std::move(name)),
      geometry_(geometry),
      members_(std::move(members)),
      state_mutex_(environment.scheduler) {}

bool MemberSet::readable(std::uint32_t index, std::uint64_t begin, std::uint64_t end) const {
  const Member& member = members_[index];
  if (!in_use(index) || begin > end) return false;
  return member.in_sync() || end <= member.rebuilt_now;
}

bool MemberSet::writable(std::uint32_t index, std::uint64_t begin, std::uint64_t end) const {
  const Member& member = members_[index];
  if (!in_use(index) || begin > end) return false;
  return member.in_sync() || begin < member.rebuilt_now;
}

std::uint32_t MemberSet::losses_left() const {
  std::uint32_t left = geometry_.parities();
  if (geometry_.has_parity()) {
    for (const Member& member : members_) left -= std::min(left, member.in_sync() ? 0u : 1u);
    return left;
  }
  left = count();
  for (std::uint32_t first = 0; first < count(); first += geometry_.copies()) {
    std::uint32_t whole = 0;
    for (std::uint32_t i = 0; i < geometry_.copies(); ++i) whole += members_[first + i].in_sync() ? 1 : 0;
    left = std::min(left, whole == 0 ? 0 : whole - 1);
  }
  return left;
}

bool MemberSet::is_complete() const {
  if (geometry_.has_parity()) {
    const auto missing =
        std::ranges::count_if(members_, [](const Member& member) { return !member.in_sync(); });
    return missing <= static_cast<std::ptrdiff_t>(geometry_.parities());
  }
  for (std::uint32_t first = 0; first < count(); first += geometry_.copies()) {
    bool any = false;
    for (std::uint32_t i = 0; i < geometry_.copies(); ++i) any = any || members_[first + i].in_sync();
    if (!any) return false;
  }
  return true;
}

bool MemberSet::may_lose(std::uint32_t index) const {
  if (!members_[index].in_sync()) return true;
  if (geometry_.has_parity()) return losses_left() > 0;
  const std::uint32_t first = index / geometry_.copies() * geometry_.copies();
  for (std::uint32_t i = first; i < first + geometry_.copies(); ++i) {
    if (i != index && members_[i].in_sync()) return true;
  }
  return false;
}

std::string MemberSet::describe(std::uint32_t index) const {
  const Member& member = members_[index];
  const std::string name =
      member.disk.name.empty() ? "missing disk " + member.record.disk.to_string() : member.disk.name;
  return "member " + std::to_string(index) + " (" + name + ")";
}

std::string MemberSet::describe_failed() const {
  std::string text;
  for (std::uint32_t i = 0; i < count(); ++i) {
    if (members_[i].in_sync()) continue;
    text += (text.empty() ? "" : ", ") + describe(i);
    if (!members_[i].failed()) {
      text += " being rebuilt";
    } else if (!members_[i].failure.empty()) {
      text += ": " + members_[i].failure;
    }
  }
  return text.empty() ? "none" : text;
}

// ---- Operations ----

io::Task<Result<void>> MemberSet::read(std::uint32_t index, std::uint64_t offset, Buffer out) {
  co_return co_await read_head(index, geometry_.shape().data_offset + offset, std::move(out));
}

io::Task<Result<void>> MemberSet::read_head(std::uint32_t index, std::uint64_t disk_offset, Buffer out) {
  if (!in_use(index)) co_return fail(ErrorCode::kIo, describe(index) + " has failed");
  Timer timer(*this, index);
  ++members_[index].reads;
  members_[index].read_bytes += out.size();
  auto done = co_await members_[index].disk.disk->read(DiskOffset{disk_offset}, std::move(out));
  timer.done();
  if (!done.ok() && timer.is_current()) ++members_[index].read_errors;
  co_return done;
}

io::Task<Result<void>> MemberSet::write(std::uint32_t index, std::uint64_t offset, std::vector<Buffer> pieces,
                                        io::Durability durability) {
  if (!in_use(index)) co_return fail(ErrorCode::kIo, describe(index) + " has failed");
  Timer timer(*this, index);
  ++members_[index].writes;
  for (const Buffer& piece : pieces) members_[index].written_bytes += piece.size();
  const DiskOffset at{geometry_.shape().data_offset + offset};
  auto done = co_await members_[index].disk.disk->write(at, std::move(pieces), durability);
  timer.done();
  if (!done.ok() && timer.is_current()) ++members_[index].write_errors;
  co_return done;
}

io::Task<Result<void>> MemberSet::write_head(std::uint32_t index, std::uint64_t disk_offset,
                                             std::vector<Buffer> pieces) {
  if (!in_use(index)) co_return fail(ErrorCode::kIo, describe(index) + " has failed");
  Timer timer(*this, index);
  ++members_[index].writes;
  for (const Buffer& piece : pieces) members_[index].written_bytes += piece.size();
  auto done = co_await members_[index].disk.disk->write(DiskOffset{disk_offset}, std::move(pieces),
                                                        io::Durability::kDurable);
  timer.done();
  if (!done.ok() && timer.is_current()) ++members_[index].write_errors;
  co_return done;
}

io::Task<Result<void>> MemberSet::discard(std::uint32_t index, std::uint64_t offset,
                                          std::uint64_t length_bytes) {
  if (!in_use(index)) co_return fail(ErrorCode::kIo, describe(index) + " has failed");
  Timer timer(*this, index);
  const DiskOffset at{geometry_.shape().data_offset + offset};
  auto done = co_await members_[index].disk.disk->discard(at, length_bytes);
  if (!done.ok() && timer.is_current()) ++members_[index].write_errors;
  co_return done;
}

io::Task<Result<void>> MemberSet::allocate(std::uint32_t index, std::uint64_t offset,
                                           std::uint64_t length_bytes) {
  if (!in_use(index)) co_return fail(ErrorCode::kIo, describe(index) + " has failed");
  Timer timer(*this, index);
  const DiskOffset at{geometry_.shape().data_offset + offset};
  co_return co_await members_[index].disk.disk->allocate(at, length_bytes);
}

io::Task<Result<void>> MemberSet::write_heads(std::uint64_t disk_offset, Buffer block) {
  std::vector<Place> places;
  for (std::uint32_t i = 0; i < count(); ++i) {
    if (in_use(i)) places.push_back(place(i));
  }
  std::vector<Result<void>> results(places.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < places.size(); ++i) {
    std::vector<Buffer> pieces(1, block);
    tasks.push_back(store_result(write_head(places[i].index, disk_offset, std::move(pieces)), &results[i]));
  }
  co_await run_all(scheduler(), std::move(tasks));
  co_return co_await judge(std::move(places), std::move(results), "a write of the group's own records");
}

io::Task<void> MemberSet::flush_one(std::uint32_t index, Result<void>* result) {
  Timer timer(*this, index);
  ++members_[index].flushes;
  *result = co_await members_[index].disk.disk->flush();
  timer.done();
  if (!result->ok() && timer.is_current()) ++members_[index].write_errors;
}

io::Task<Result<void>> MemberSet::flush() {
  std::vector<Place> places;
  for (std::uint32_t i = 0; i < count(); ++i) {
    if (in_use(i)) places.push_back(place(i));
  }
  std::vector<Result<void>> results(places.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < places.size(); ++i) tasks.push_back(flush_one(places[i].index, &results[i]));
  co_await run_all(scheduler(), std::move(tasks));
  co_return co_await judge(std::move(places), std::move(results), "a flush");
}

// ---- What is known of the members ----

void MemberSet::break_group(Error error) {
  if (!broken_.has_value()) broken_ = std::move(error);
}

void MemberSet::fail_in_memory(std::uint32_t index, std::string why) {
  Member& member = members_[index];
  member.record.state = RaidMemberState::kFailed;
  member.record.rebuilt_bytes = member.rebuilt_now = 0;
  member.failure = std::move(why);
  changed();
}

io::Task<Result<void>> MemberSet::lost(Place place, std::string doing, Error error) {
  const std::uint32_t index = place.index;
  if (members_[index].failed() || !is_there(place)) co_return co_await settle();
  if (!may_lose(index)) {
    std::string text = "RAID group '" + name_ + "': " + doing + " on " + describe(index) + " failed (" +
                       error.message +
                       ") and the group cannot do without it; failed before: " + describe_failed();
    Error answer =
        fail(error.code == ErrorCode::kNoSpace ? ErrorCode::kNoSpace : ErrorCode::kIo, std::move(text));
    if (geometry_.has_parity()) {
      answer.message += "; the group takes nothing more until it is assembled again";
      break_group(answer);
    }
    co_return answer;
  }
  std::string why = doing + " failed: " + error.message;
  fail_in_memory(index, std::move(why));
  co_return co_await settle();
}

io::Task<Result<void>> MemberSet::judge(std::vector<Place> places, std::vector<Result<void>> results,
                                        std::string doing) {
  Result<void> answer;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (results[i].ok()) continue;
    auto tolerated = co_await lost(places[i], doing, results[i].error());
    if (!tolerated.ok()) answer = std::move(tolerated);
  }
  if (answer.ok()) answer = co_await settle();
  co_return answer;
}

io::Task<Result<void>> MemberSet::write_state(std::uint32_t copy, std::uint64_t settled) {
  format::RaidState state;
  state.raid = raid_;
  state.event = event_;
  state.settled = settled;
  state.clean = clean_;
  for (const Member& member : members_) state.members.push_back(member.record);
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  format::encode_raid_state(state, copy, block.writable());
  std::vector<Place> places;
  for (std::uint32_t i = 0; i < count(); ++i) {
    if (in_use(i)) places.push_back(place(i));
  }
  std::vector<Result<void>> results(places.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < places.size(); ++i) {
    std::vector<Buffer> pieces(1, block);
    tasks.push_back(store_result(
        write_head(places[i].index, format::kRaidStateOffset[copy], std::move(pieces)), &results[i]));
  }
  co_await run_all(scheduler(), std::move(tasks));
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::uint32_t index = places[i].index;
    if (results[i].ok() || members_[index].failed() || !is_there(places[i])) continue;
    if (!may_lose(index)) {
      Error answer = fail(ErrorCode::kIo, "RAID group '" + name_ + "': its state cannot be written to " +
                                              describe(index) + " (" + results[i].error().message +
                                              "), which it cannot do without; it takes nothing more until it "
                                              "is assembled again; failed before: " +
                                              describe_failed());
      break_group(answer);
      co_return answer;
    }
    std::string why = "a write of the group's state failed: " + results[i].error().message;
    fail_in_memory(index, std::move(why));
  }
  co_return Result<void>{};
}

// Two steps: the event goes into copy 0 of each member, and when all have it, into copy 1 with the word that
// they do. So a member in sync is never behind `settled` but by having been taken back in time, and one
// damaged copy leaves the other.
io::Task<Result<void>> MemberSet::settle() {
  if (broken_.has_value()) co_return *broken_;
  if (changes_ == changes_settled_) co_return Result<void>{};
  const auto guard = co_await state_mutex_.lock();
  while (changes_ != changes_settled_) {
    if (broken_.has_value()) co_return *broken_;
    const std::uint64_t target = changes_;
    ++event_;
    TM_CO_TRY(co_await write_state(0, settled_));
    if (changes_ != target) continue;
    TM_CO_TRY(co_await write_state(1, event_));
    if (changes_ != target) continue;
    settled_ = event_;
    changes_settled_ = target;
  }
  co_return Result<void>{};
}

}  // namespace tidemark::raid
