// A small world, tried in full: every sequence of operations up to a length, a crash after every step of
// each, and every subset of the unflushed writes that the crash may leave.
//
// Bounds: one node, two volumes of four blocks, up to two operations of nine kinds (three with
// TIDEMARK_LONG); of
// more than 16 subsets only the telling ones (sim::Disk::crash_outcomes).

#include "rounds.h"
#include "small_world.h"

namespace tidemark::simulation {
namespace {

constexpr std::size_t kOutcomesMax = 16;

enum class Operation : std::uint8_t {
  kWrite,
  kZero,
  kFlush,
  kFua,
  kDiscard,
  kMark,
  kRestore,
  kRetention,
  kNewEpoch
};
constexpr std::size_t kOperations = 9;

Request request_of(Operation operation, std::size_t place, const Model& model) {
  Request request;
  request.volume = place % kVolumeCount;
  request.blocks = {place, place + 2};
  request.first_value = static_cast<std::uint32_t>(100 * (place + 1));
  switch (operation) {
    case Operation::kWrite:
      break;
    case Operation::kFua:
      request.fua = true;
      break;
    case Operation::kZero:
      request.kind = Request::Kind::kWriteZeroes;
      break;
    case Operation::kDiscard:
      request.kind = Request::Kind::kTrim;
      break;
    case Operation::kFlush:
      request.kind = Request::Kind::kFlush;
      break;
    case Operation::kMark:
      request.kind = Request::Kind::kMark;
      request.text = "m" + std::to_string(place);
      break;
    case Operation::kRetention:  // not a request
    case Operation::kNewEpoch:
      request.kind = Request::Kind::kRestore;
      request.text = "head";
      break;
    case Operation::kRestore: {
      request.kind = Request::Kind::kRestore;
      request.text = "log:" + LogId::from_raw(model.images().rbegin()->first).previous().to_string();
      break;
    }
  }
  return request;
}

// Whether a crash came.
bool perform(SmallWorld& world, Operation operation, std::size_t place, CrashPlan* crash) {
  Machine& node = world.node();
  if (operation == Operation::kRetention) {
    control::GroupSetRequest settings;
    settings.group = kGroup;
    settings.retain = Duration{};
    (void)world.stage.ask(node, node.node()->group_set(settings), crash);
    if (!node.is_on()) return true;
    (void)world.stage.ask(node, holding(node.hold_group(), node.group()->destage_now(true)), crash);
    return !node.is_on();
  }
  world.ask(request_of(operation, place, world.chronicle.model), crash);
  if (!node.is_on()) return true;
  world.chronicle.account(node, false, false);
  return false;
}

// True when the crash came before the sequence had ended.
bool crash_after(SmallWorld& world, const std::vector<Operation>& sequence, std::uint64_t steps) {
  world.begin();
  CrashPlan crash;
  crash.victim = &world.node();
  crash.after_steps = steps;
  crash.power = false;
  bool crashed = false;
  for (std::size_t i = 0; i < sequence.size() && !crashed && !world.stage.failed(); ++i) {
    crashed = perform(world, sequence[i], i, &crash);
  }
  if (world.stage.failed()) return false;
  if (!crashed) world.stage.crash(world.node(), false);
  return crashed;
}

std::uint64_t try_sequence(SmallWorld& world, const std::vector<Operation>& sequence, std::uint64_t stride) {
  std::uint64_t outcomes_tried = 0;
  bool crashed = true;
  for (std::uint64_t steps = 0; crashed; steps += stride) {
    crashed = crash_after(world, sequence, steps);
    if (testing::Test::HasFailure() || world.stage.failed()) break;
    const Chronicle before(world.chronicle);
    for (const auto& outcome : world.node().disk().crash_outcomes(kOutcomesMax)) {
      world.put_back(outcome);
      world.adopt(before);
      const auto started = world.start();
      EXPECT_TRUE(started.ok() && world.node().group() != nullptr);
      if (testing::Test::HasFailure()) break;
      world.chronicle.account(world.node(), true, false);
      world.read_all(Reader::Damage::kNone);
      ++outcomes_tried;
      world.node().kill();
      if (world.stage.failed()) break;
    }
    std::string what = "crash after " + std::to_string(steps) + " steps of";
    for (const Operation operation : sequence) what += " " + std::to_string(static_cast<int>(operation));
    world.expect_held(what);
    if (testing::Test::HasFailure()) break;
  }
  return outcomes_tried;
}

void try_all(std::size_t length_max, std::uint64_t stride) {
  SmallWorld world;
  std::uint64_t outcomes = 0;
  std::vector<Operation> sequence;
  const std::function<void()> extend = [&] {
    for (std::size_t i = 0; i < kOperations && !testing::Test::HasFailure(); ++i) {
      sequence.push_back(static_cast<Operation>(i));
      outcomes += try_sequence(world, sequence, stride);
      if (sequence.size() < length_max) extend();
      sequence.pop_back();
    }
  };
  extend();
  EXPECT_GT(outcomes, 100u);
}

TEST(Exhaustive, EverySequenceAndEveryCrash) {
  if (long_run()) {
    try_all(3, 1);
  } else {
    try_all(2, rounds(1, 7));
  }
}

}  // namespace
}  // namespace tidemark::simulation
