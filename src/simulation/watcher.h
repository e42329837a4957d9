#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "group/group.h"
#include "simulation/chronicle.h"
#include "simulation/stage.h"

namespace tidemark::simulation {

// Looks at both nodes between the steps of a run and holds them to what may not go or move: held marks,
// branches that only one node has, what the retention promises, and what a pair owes its other half. It
// asks the nodes nothing and changes nothing.
class Watcher {
 public:
  Watcher(Stage& stage, const Chronicle& chronicle) : stage_(stage), chronicle_(chronicle) {}

  void look();
  // Of the first machine, acknowledged.
  void mark_is_held(const std::string& id, LogId at) { held_[id] = at; }
  // Asked for, whatever became of it.
  void mark_may_go(const std::string& id) { held_.erase(id); }
  void branch_may_go(Epoch epoch) { released_.insert(epoch); }
  // Of the first machine: acknowledged, or asked for with an unknown outcome.
  void settings_are(std::optional<group::GroupSettings> settings) { settings_ = settings; }
  void clock_jumps(Duration by) {
    clock_jumped_ = true;
    clock_went_back_ = clock_went_back_ || by < Duration{};
  }
  // A stranger's old hello may have made the second machine begin anew, unknown to the first.
  void session_was_replayed() { replayed_ = true; }
  bool has_replayed() const { return replayed_; }
  // The second machine is a new one.
  void forget_second();

 private:
  // One machine as it was at the last look.
  struct Seen {
    bool is_valid = false;
    group::GroupSettings settings{};
    LogId floor{};
    std::uint64_t windows_given_up = 0;
    MonotonicTime settings_since{};
  };
  void look_at_settings();
  void look_at_held_marks();
  void look_at_shortening();
  void look_at_tails();
  void look_at_floor(Machine& machine, Seen& seen);
  void look_at_gap();
  void look_at_pair();
  void learn_when();

  Stage& stage_;
  const Chronicle& chronicle_;
  std::map<std::string, LogId> held_;
  std::set<Epoch> released_;
  bool replayed_ = false;
  bool clock_jumped_ = false;
  bool clock_went_back_ = false;
  bool wrote_alone_ = false;  // the second machine, at the last look
  std::vector<LogId> tails_;  // the ends of what the second machine wrote alone, since it follows again
  std::uint64_t tails_windows_given_up_ = 0;
  LogId whole_{};  // the newest point that the second machine could show at the last look
  std::uint64_t whole_windows_given_up_ = 0;
  Seen seen_[2];
  std::optional<group::GroupSettings> settings_;
  // Of each entry a moment before which it was not there, and the latest such moment for what is to come.
  std::map<std::uint64_t, MonotonicTime> not_before_;
  MonotonicTime complete_until_{};
};

}  // namespace tidemark::simulation
