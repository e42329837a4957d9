#pragma once

#include <functional>
#include <map>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "io/sync.h"

namespace tidemark::group {

// What a FLUSH waits for besides this node's disk. In a synchronous pair that is the peer: the gate is shut,
// and whoever comes waits until the peer has what was acknowledged before. Otherwise it is open.
//
// Those who wait stand in line by what they wait for, so that an acknowledgement wakes only those that it
// concerns. Their number is bounded by the requests that the exports take at once.
//
// Owned by the group's Core, moved by the replication layer; reactor thread only. end() and hurry() are for
// whoever must not wait for the peer: they overrule what the replication layer says.
class PeerGate {
 public:
  explicit PeerGate(io::Scheduler& scheduler) : scheduler_(scheduler) {}
  PeerGate(const PeerGate&) = delete;
  PeerGate& operator=(const PeerGate&) = delete;

  // Nobody waits.
  void open();
  // Whoever comes waits until the peer has what it needs.
  void shut();
  // Whoever waits or comes is told why the peer cannot have it.
  void refuse(Error reason);
  // The newest entry that is durable at the peer; what waits for no more goes on.
  void set_received(LogId newest);
  // Called when somebody begins to wait and nobody did; must not await.
  void on_first_wait(std::function<void()> call) { first_wait_ = std::move(call); }

  // For good: the group closes, or has stopped.
  void end(Error reason);
  // Until settle(): the connections that wait are to end.
  void hurry(Error reason);
  void settle();

  // Completes when the gate lets a FLUSH pass that covers everything up to `newest`, which is durable here.
  io::Task<Result<void>> pass(LogId newest);

  bool is_open() const { return way_ == Way::kOpen; }
  std::size_t waiting() const { return waiting_; }
  // Since when the one waits that has waited longest for what the peer lacks; nothing when nobody does.
  std::optional<MonotonicTime> waiting_since() const;

 private:
  enum class Way { kOpen, kShut, kRefused };
  // Those that wait for the same entry.
  struct Line {
    Line(io::Scheduler& scheduler, MonotonicTime now) : moved(scheduler), since(now) {}
    io::WaitQueue moved;
    MonotonicTime since;
    std::size_t length = 0;
  };
  using Lines = std::map<std::uint64_t, Line>;  // by raw log id
  class Place;
  // The answer for who needs `newest`; nothing while it is to wait.
  std::optional<Result<void>> answer(LogId newest) const;
  void wake_all();

  io::Scheduler& scheduler_;
  Way way_ = Way::kOpen;
  Error refusal_{};
  std::optional<Error> ended_;
  std::optional<Error> hurried_;
  LogId received_{};
  Lines lines_;
  std::size_t waiting_ = 0;
  std::function<void()> first_wait_;
};

}  // namespace tidemark::group
