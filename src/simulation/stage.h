#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "sim/world.h"
#include "simulation/machine.h"
#include "simulation/options.h"
#include "simulation/request.h"
#include "simulation/rules.h"
#include "simulation/simulation.h"

namespace tidemark::simulation {

// A crash in the middle of something: so many steps of the world after it began.
struct CrashPlan {
  Machine* victim = nullptr;
  std::uint64_t after_steps = 0;
  bool power = true;  // else the process alone
};

// The world of one run and what all of its parts do with it: ask the nodes, tell what happens, and end at the
// first broken rule.
class Stage {
 public:
  Stage(const Options& run_options, const TraceLine& trace);

  // What a coroutine of one of the machines gives. Nothing when that machine crashed first, or when it did
  // not end within ten minutes of virtual time, which breaks a rule.
  template <typename T>
  std::optional<T> ask(Machine& machine, io::Task<T> task, CrashPlan* crash = nullptr);
  // Until `condition` holds, looking every millisecond; false when `limit` passes first.
  template <typename Condition>
  bool wait_for(Condition condition, Duration limit);
  // A crash that was planned and has its turn; true when it took place.
  bool crash_if_due(CrashPlan* crash);
  // Ends the node on `machine`, by a power cut or a kill.
  void crash(Machine& machine, bool power);

  void say(const std::string& text);
  // The first one counts.
  void broken(Rule rule, const std::string& text);
  bool failed() const { return outcome.verdict != Verdict::kHeld; }
  std::uint64_t draw(std::uint64_t bound) { return world.random().below(bound); }
  bool percent(std::uint32_t chance) { return draw(100) < chance; }
  // A moment later than all before.
  std::uint64_t next_moment() { return ++moment_; }

  const Options options;
  Outcome outcome{};
  sim::World world;
  Machine a;
  Machine b;  // never started when the run has one node

 private:
  bool step_or_stuck(MonotonicTime due);

  const TraceLine& trace_;
  std::uint64_t moment_ = 0;
};

// `task` is of the group, which stays until it has ended.
template <typename T>
io::Task<T> holding([[maybe_unused]] node::GroupHandle group, io::Task<T> task) {
  co_return co_await std::move(task);
}

template <typename T>
std::optional<T> Stage::ask(Machine& machine, io::Task<T> task, CrashPlan* crash) {
  const auto result = std::make_shared<std::optional<T>>();
  const MonotonicTime due = world.now() + Duration::seconds(600);
  machine.tasks().spawn([](io::Task<T> inner, std::shared_ptr<std::optional<T>> out) -> io::Task<void> {
    out->emplace(co_await inner);
  }(std::move(task), result));
  while (!result->has_value() && machine.is_on() && !failed()) {
    if (!crash_if_due(crash) && !step_or_stuck(due)) break;
  }
  return std::move(*result);
}

template <typename Condition>
bool Stage::wait_for(Condition condition, Duration limit) {
  const MonotonicTime due = world.now() + limit;
  while (!condition()) {
    if (world.now() >= due || failed()) return false;
    world.run_for(Duration::milliseconds(1));
  }
  return true;
}

}  // namespace tidemark::simulation
