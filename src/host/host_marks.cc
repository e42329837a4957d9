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

// Whether a first try that failed so may have been carried out.
bool leaves_open(ErrorCode code, control::WaitFor wait) {
  switch (code) {
    case ErrorCode::kClosed:
    case ErrorCode::kTimeout:
    case ErrorCode::kIo:
    case ErrorCode::kDamaged:
    case ErrorCode::kShutdown:
      return true;
    case ErrorCode::kExists:
    case ErrorCode::kInvalid:
      return false;
    default:
      return wait == control::WaitFor::kPeer;  // the mark comes first, and then what is said of the peer
  }
}

// Whether `row` is of an earlier try of `wish`, by a process that is gone.
bool is_try_of(const control::HostMark& row, const MarkWish& wish, const std::string& host) {
  return wish.resumes && row.host == host && row.program == wish.program && row.path == wish.path &&
         (wish.note.empty() || row.note == wish.note) &&
         (row.state == HostMarkState::kPending || row.state == HostMarkState::kUnknown);
}

}  // namespace

std::string lasting_address(const control::ControlAddress& address) {
  if (!address.is_unix) return address.to_string();
  const Result<std::string> path = real_place(address.path);
  return path.ok() ? "unix:" + *path : address.to_string();
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

control::HostMark HostMarks::begin(MarkWish& wish) {
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
  if (wish.open_try) {
    row.number = table == nullptr ? 0 : wish.open_try->row;
    row.host_time = wish.open_try->host_time;
    return row;
  }
  if (table == nullptr) return row;
  const Result<std::vector<control::HostMark>> before = table->find(wish.group, wish.id);
  if (!before.ok()) {
    warn(before.error());
    return row;
  }
  for (const control::HostMark& earlier : *before) {
    if (!is_try_of(earlier, wish, row.host)) continue;
    row.number = earlier.number;
    row.host_time = earlier.host_time;
    row.note = earlier.note;
    wish.note = earlier.note;
    wish.open_try = MarkWish::Try{earlier.number, earlier.host_time};
    return row;
  }
  // One that was refused never became a mark: its row is used again.
  if (!before->empty() && before->front().state == HostMarkState::kFailed) {
    row.number = before->front().number;
    const Result<void> renewed = table->renew(row);
    if (renewed.ok()) return row;
    row.number = 0;
    warn(renewed.error());
    return row;
  }
  const Result<std::uint64_t> number = table->add(row);
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
  control::HostMark row = begin(wish);
  const bool again = wish.open_try.has_value();
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
    wish.open_try.reset();
  } else {
    // What is said of a later try tells nothing of an earlier one, unless that the mark is another's.
    const ErrorCode code = asked.error().code;
    const bool open = again ? code != ErrorCode::kExists : leaves_open(code, wish.wait);
    row.state = open ? HostMarkState::kUnknown : HostMarkState::kFailed;
    wish.open_try.reset();
    if (open) wish.open_try = MarkWish::Try{row.number, row.host_time};
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
