#include "group/peer_gate.h"

namespace tidemark::group {

// A place in line, also when whoever has it is given up.
class PeerGate::Place {
 public:
  Place(PeerGate& gate, LogId newest)
      : gate_(gate),
        line_(gate.lines_.try_emplace(newest.raw(), gate.scheduler_, gate.scheduler_.now()).first) {
    ++line_->second.length;
    ++gate_.waiting_;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    --gate_.waiting_;
    if (--line_->second.length == 0) gate_.lines_.erase(line_);
  }
  io::WaitQueue& moved() { return line_->second.moved; }

 private:
  PeerGate& gate_;
  Lines::iterator line_;
};

void PeerGate::open() {
  way_ = Way::kOpen;
  wake_all();
}

void PeerGate::shut() {
  if (way_ == Way::kShut) return;
  way_ = Way::kShut;
}

void PeerGate::refuse(Error reason) {
  way_ = Way::kRefused;
  refusal_ = std::move(reason);
  wake_all();
}

void PeerGate::set_received(LogId newest) {
  received_ = newest;
  for (auto& [raw, line] : lines_) {
    if (raw > newest.raw()) break;
    line.moved.wake_all();
  }
}

void PeerGate::end(Error reason) {
  if (!ended_.has_value()) ended_ = std::move(reason);
  wake_all();
}

void PeerGate::hurry(Error reason) {
  hurried_ = std::move(reason);
  wake_all();
}

void PeerGate::settle() {
  hurried_.reset();
}

void PeerGate::wake_all() {
  for (auto& [raw, line] : lines_) line.moved.wake_all();
}

std::optional<MonotonicTime> PeerGate::waiting_since() const {
  std::optional<MonotonicTime> since;
  for (const auto& [raw, line] : lines_) {
    if (raw <= received_.raw()) continue;  // woken, and about to go on
    if (!since.has_value() || line.since < *since) since = line.since;
  }
  return since;
}

std::optional<Result<void>> PeerGate::answer(LogId newest) const {
  if (way_ == Way::kOpen || newest.raw() <= received_.raw()) return Result<void>{};
  if (ended_.has_value()) return Result<void>(*ended_);
  if (hurried_.has_value()) return Result<void>(*hurried_);
  if (way_ == Way::kRefused) return Result<void>(refusal_);
  return std::nullopt;
}

io::Task<Result<void>> PeerGate::pass(LogId newest) {
  if (const auto now = answer(newest); now.has_value()) co_return *now;
  // Those that were woken and have not left yet wait for nothing.
  const bool first = lines_.empty() || lines_.rbegin()->first <= received_.raw();
  Place place(*this, newest);
  if (first && first_wait_) first_wait_();
  while (true) {
    co_await place.moved().wait();
    if (const auto now = answer(newest); now.has_value()) co_return *now;
  }
}

}  // namespace tidemark::group
