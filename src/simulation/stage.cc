#include "simulation/stage.h"

#include "base/crc32c.h"

namespace tidemark::simulation {
namespace {

constexpr std::uint64_t kDiskBytes = 256 << 20;

MachineOptions machine_options(const Options& options, const char* name, std::uint8_t identity_byte) {
  MachineOptions machine;
  machine.name = name;
  machine.identity_byte = identity_byte;
  machine.disk_bytes = kDiskBytes;
  machine.segment_bytes = options.segment_bytes;
  machine.recent_bytes = options.recent_bytes;
  machine.disk = options.disk;
  machine.parts = options.parts;
  if (identity_byte == 2) machine.clock_drift_ppm = options.clock_drift_ppm;
  return machine;
}

}  // namespace

Stage::Stage(const Options& run_options, const TraceLine& trace)
    : options(run_options),
      world(run_options.seed),
      a(world, machine_options(run_options, "kyoto", 1), [this](const std::string& line) { say(line); }),
      b(world, machine_options(run_options, "osaka", 2), [this](const std::string& line) { say(line); }),
      trace_(trace) {
  world.network().set_options(run_options.link);
}

void Stage::say(const std::string& text) {
  std::string line = std::to_string(world.now().ns / 1000);
  line.append(" us  ").append(text).append("\n");
  outcome.trace_checksum = crc32c_extend(outcome.trace_checksum,
                                         Bytes(reinterpret_cast<const std::byte*>(line.data()), line.size()));
  line.pop_back();
  if (trace_) trace_(line);
}

void Stage::broken(Rule rule, const std::string& text) {
  if (failed()) return;
  outcome.verdict = rule == Rule::kEndsInTime ? Verdict::kStuck : Verdict::kWrongData;
  outcome.cause = std::string(rule_name(rule)) + ": " + text;
  say("BROKEN " + outcome.cause);
}

void Stage::crash(Machine& machine, bool power) {
  say(machine.name() + (power ? " loses its power" : " is killed"));
  ++outcome.counts.crashes;
  machine.has_crashed = true;
  if (power) {
    machine.power_cut();
  } else {
    machine.kill();
  }
}

bool Stage::crash_if_due(CrashPlan* plan) {
  if (plan == nullptr || plan->victim == nullptr) return false;
  if (plan->after_steps > 0) {
    --plan->after_steps;
    return false;
  }
  if (plan->victim->is_on()) crash(*plan->victim, plan->power);
  plan->victim = nullptr;
  return true;
}

bool Stage::step_or_stuck(MonotonicTime due) {
  if (world.run_steps(1) == 0) {
    broken(Rule::kEndsInTime, "nothing is left to happen, but what was asked has not ended");
  } else if (world.now() > due) {
    broken(Rule::kEndsInTime, "what was asked has not ended within 600 s");
  }
  return !failed();
}

}  // namespace tidemark::simulation
