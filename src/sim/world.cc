#include "sim/world.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <vector>

#include "sim/network.h"
#include "sim/random.h"

namespace tidemark::sim {
namespace {

// 2026-01-01T00:00:00Z: log entries of a simulation carry believable times.
constexpr WallTime kWallClockAtStart{1'767'225'600'000'000'000};
constexpr Duration kSkewMax = Duration::milliseconds(100);
// So many passes without the time moving on is a loop of coroutines that wake each other for ever.
constexpr std::uint64_t kPassesAtOneMomentMax = 20'000'000;
constexpr std::size_t kStreamCount = 5;

class SkewedClock final : public io::WallClock {
 public:
  SkewedClock(const World& world, Duration skew, double drift_ppm)
      : world_(world), skew_(skew), drift_ppm_(drift_ppm) {}
  WallTime now() const override {
    const double gained_ns = static_cast<double>(world_.now().ns) * drift_ppm_ * 1e-6;
    return world_.wall_now() + skew_ + Duration{static_cast<std::int64_t>(gained_ns)};
  }

 private:
  const World& world_;
  const Duration skew_;
  const double drift_ppm_;
};

// Runs the work where it is asked for; the caller goes on behind whoever is ready now, as it would
// behind a thread.
class InlineOffload final : public io::Offload {
 public:
  explicit InlineOffload(io::Scheduler& scheduler) : scheduler_(scheduler) {}
  io::Task<void> run(std::function<void()> work) override {
    work();
    co_await scheduler_.yield();
  }

 private:
  io::Scheduler& scheduler_;
};

struct EnvironmentParts {
  SkewedClock clock;
  SeededRandom random;
};

}  // namespace

struct World::State {
  std::uint64_t seed;
  MonotonicTime now{};
  Duration wall_jumps{};
  std::uint64_t passes_at_this_moment = 0;
  std::array<std::uint64_t, kStreamCount> streams_given{};
  std::function<void(const std::string&)> stuck_handler;
  std::unique_ptr<SeededRandom> test_random;
  std::unique_ptr<SeededRandom> skew_random;
  std::unique_ptr<Network> network;
  std::unique_ptr<InlineOffload> offload;
  std::vector<std::unique_ptr<EnvironmentParts>> environments;
};

World::World(std::uint64_t seed) : state_(std::make_unique<State>()) {
  state_->seed = seed;
  state_->test_random = std::make_unique<SeededRandom>(next_stream_seed(RandomStream::kTest));
  state_->skew_random = std::make_unique<SeededRandom>(next_stream_seed(RandomStream::kSkew));
  state_->network = std::make_unique<Network>(*this);
  state_->offload = std::make_unique<InlineOffload>(*this);
}

World::~World() = default;

std::uint64_t World::next_stream_seed(RandomStream stream) {
  const auto kind = static_cast<std::size_t>(stream);
  std::uint64_t mixed = state_->seed;
  mixed = split_mix(mixed) ^ (static_cast<std::uint64_t>(kind) << 56);
  mixed = split_mix(mixed) ^ state_->streams_given[kind]++;
  return split_mix(mixed);
}

MonotonicTime World::now() const {
  return state_->now;
}

WallTime World::wall_now() const {
  return kWallClockAtStart + Duration{state_->now.ns} + state_->wall_jumps;
}

void World::jump_wall_clock(Duration by) {
  state_->wall_jumps = state_->wall_jumps + by;
}

io::Random& World::random() {
  return *state_->test_random;
}

Network& World::network() {
  return *state_->network;
}

io::Environment World::environment(double drift_ppm) {
  const Duration skew = state_->environments.empty()
                            ? Duration{}
                            : state_->skew_random->between(Duration{} - kSkewMax, kSkewMax);
  state_->environments.push_back(std::make_unique<EnvironmentParts>(EnvironmentParts{
      SkewedClock(*this, skew, drift_ppm), SeededRandom(next_stream_seed(RandomStream::kNode))}));
  EnvironmentParts& parts = *state_->environments.back();
  return io::Environment{*this, parts.clock, parts.random, *state_->network, *state_->offload};
}

bool World::step() {
  if (has_ready()) {
    if (++state_->passes_at_this_moment > kPassesAtOneMomentMax) stuck();
    run_ready();
    return true;
  }
  const std::optional<MonotonicTime> due = next_timer();
  if (!due.has_value()) return false;
  if (*due > state_->now) {
    state_->now = *due;
    state_->passes_at_this_moment = 0;
  }
  fire_timers(state_->now);
  return true;
}

void World::run_for(Duration duration) {
  const MonotonicTime end = state_->now + duration;
  while (has_ready() || (next_timer().has_value() && *next_timer() <= end)) step();
  state_->now = std::max(state_->now, end);
  state_->passes_at_this_moment = 0;
}

void World::run_ready_only() {
  fire_timers(state_->now);
  while (has_ready()) step();
}

std::uint64_t World::run_steps(std::uint64_t steps) {
  std::uint64_t made = 0;
  while (made < steps && step()) ++made;
  return made;
}

void World::stuck() {
  const double at_seconds = Duration{state_->now.ns}.to_seconds();
  const std::string why = has_ready()
                              ? "coroutines wake each other for ever and time stands still"
                              : "nothing is ready and no timer is set, but the task that runs has not ended";
  if (state_->stuck_handler) state_->stuck_handler(why);
  std::fprintf(stderr, "tidemark simulation, seed %llu: stuck at %.9f s of virtual time: %s\n",
               static_cast<unsigned long long>(state_->seed), at_seconds, why.c_str());
  std::fflush(stderr);
  std::abort();
}

void World::on_stuck(std::function<void(const std::string& why)> handler) {
  state_->stuck_handler = std::move(handler);
}

}  // namespace tidemark::sim
