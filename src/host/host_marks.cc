#include "host/host_marks.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/names.h"
#include "host/local.h"

namespace tidemark::host {
namespace {

constexpr std::chrono::milliseconds kLookInterval{200};
constexpr std::size_t kOutcomeLengthMax = 1000;

using control::HostMarkState;

std::chrono::seconds left_until(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::seconds>(deadline - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::seconds(1));
}

// The table is no place for what a terminal should not see either.
std::string one_line(const std::string& text) {
  return printable(text, kOutcomeLengthMax);
}

}  // namespace

std::string lasting_address(const control::ControlAddress& address) {
  if (!address.is_unix) return address.to_string();
  const Result<std::string> path = real_place(address.path);
  return path.ok() ? "unix:" + *path : address.to_string();
}

bool HostMarks::leaves_open(ErrorCode code) {
  switch (code) {
    case ErrorCode::kClosed:
    case ErrorCode::kTimeout:
    case ErrorCode::kIo:
    case ErrorCode::kDamaged:
    case ErrorCode::kShutdown:
      return true;
    default:
      return false;
  }
}

void HostMarks::warn(const Error& error) {
  if (std::exchange(warned_, true)) return;
  say_(
      "warning: " + error.message +
      "; marks are made all the same, but this host does not remember them, and a request that is made again "
      "under the same id is not known for the same");
}

// A table that could not be opened is tried again with the next mark.
MarkTable* HostMarks::table() {
  if (!table_) {
    Result<MarkTable> opened = MarkTable::open(table_path_);
    if (!opened.ok()) {
      warn(opened.error());
      return nullptr;
    }
    table_ = std::move(opened).value();
  }
  return &*table_;
}

control::HostMark HostMarks::begin(const MarkWish& wish, bool& again) {
  control::HostMark row;
  row.group = wish.group;
  row.id = wish.id;
  row.node = lasting_address(node_.address());
  row.host_time = wall_now();
  row.host = host_name();
  row.program = wish.program;
  row.path = wish.path;
  row.note = wish.note;
  MarkTable* const table = this->table();
  if (table == nullptr) return row;
  Result<std::optional<control::HostMark>> before = table->find(wish.group, wish.id);
  if (before.ok() && before.value().has_value()) {
    const control::HostMark& earlier = *before.value();
    again = earlier.host == row.host &&
            (earlier.state == HostMarkState::kPending || earlier.state == HostMarkState::kUnknown);
    if (again) {
      row.number = earlier.number;
      row.host_time = earlier.host_time;
      return row;
    }
  }
  // One that was refused never became a mark: its row is used again.
  if (before.ok() && before.value().has_value() && before.value()->state == HostMarkState::kFailed) {
    row.number = before.value()->number;
    const Result<void> renewed = table->renew(row);
    if (renewed.ok()) return row;
    row.number = 0;
    warn(renewed.error());
    return row;
  }
  const Result<std::uint64_t> number = before.ok() ? table->add(row) : before.error();
  if (!number.ok()) {
    warn(number.error());
    return row;
  }
  row.number = *number;
  return row;
}

// The node says that the id is taken: perhaps by this very request.
Result<control::MarkInfo> HostMarks::find_own(const control::HostMark& row, const MarkWish& wish,
                                              std::chrono::steady_clock::time_point deadline,
                                              const Error& taken) {
  control::MarkShowRequest show;
  show.group = row.group;
  show.id = row.id;
  while (true) {
    TM_TRY_ASSIGN(control::MarkInfo mark, node_.call(show, left_until(deadline)));
    if (mark.host != row.host || mark.host_time != row.host_time) return taken;
    const bool peer_has_it = mark.received.value_or(false);
    if (wish.wait == control::WaitFor::kLocal || peer_has_it) return mark;
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::kTimeout, "mark '" + row.id +
                                           "' was made by an earlier try, and the peer has not "
                                           "received it yet");
    }
    std::this_thread::sleep_for(kLookInterval);
  }
}

Result<MadeMark> HostMarks::make(MarkWish& wish, std::chrono::seconds time_limit, const Around& around) {
  const auto deadline = std::chrono::steady_clock::now() + time_limit;
  if (wish.id.empty()) wish.id = generate_mark_id(wall_now());
  bool again = false;
  control::HostMark row = begin(wish, again);
  control::MarkCreateRequest request;
  request.group = wish.group;
  request.id = wish.id;
  request.note = wish.note;
  request.host = row.host;
  request.host_time = row.host_time;
  request.wait = wish.wait;
  MadeMark made;
  const Ask ask = [&] { return node_.call(request, time_limit); };
  Result<control::MarkInfo> asked = around ? around(ask) : ask();
  if (!asked.ok() && again && asked.error().code == ErrorCode::kExists) {
    asked = find_own(row, wish, deadline, asked.error());
    made.by_earlier_try = asked.ok();
  }
  if (asked.ok()) {
    made.mark = asked.value();
    row.state = HostMarkState::kMade;
    row.log_id = made.mark.log_id;
    row.timer = made.mark.timer;
  } else {
    row.state = leaves_open(asked.error().code) ? HostMarkState::kUnknown : HostMarkState::kFailed;
    row.outcome = one_line(std::string(error_code_name(asked.error().code)) + ": " + asked.error().message);
  }
  if (row.number != 0) {
    const Result<void> settled = table_->settle(row);
    if (!settled.ok()) warn(settled.error());
  }
  if (!asked.ok()) return std::move(asked).error();
  return made;
}

}  // namespace tidemark::host
