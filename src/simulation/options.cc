#include "simulation/options.h"

#include <algorithm>

#include "base/ids.h"
#include "raid/geometry.h"
#include "sim/random.h"

namespace tidemark::simulation {
namespace {

// Of a log volume, before its first segment (docs/formats/journal.md).
constexpr std::uint64_t kJournalHeadBytes = 64 << 10;

enum class When : std::uint8_t { kAlways, kSometimes, kRarely, kPairAlways, kPairSometimes };

struct UsualWeight {
  Step step;
  std::uint32_t weight;
  When when;
};

constexpr UsualWeight kUsual[] = {
    {Step::kRequests, 400, When::kAlways},
    {Step::kRestore, 30, When::kSometimes},
    {Step::kReadPoint, 80, When::kAlways},
    {Step::kEntryData, 20, When::kSometimes},
    {Step::kOpenView, 25, When::kSometimes},
    {Step::kChangeMark, 20, When::kSometimes},
    {Step::kNamePoint, 15, When::kSometimes},
    {Step::kReleaseBranch, 10, When::kSometimes},
    {Step::kSettings, 8, When::kSometimes},
    {Step::kDestage, 15, When::kSometimes},
    {Step::kWait, 100, When::kAlways},
    {Step::kCrashInside, 40, When::kSometimes},
    {Step::kRestart, 30, When::kSometimes},
    {Step::kDiskError, 15, When::kSometimes},
    {Step::kDiskHangs, 8, When::kSometimes},
    {Step::kClockJump, 8, When::kSometimes},
    {Step::kLinkReset, 25, When::kPairSometimes},
    {Step::kLinkCut, 25, When::kPairSometimes},
    {Step::kLinkHeal, 40, When::kPairAlways},
    {Step::kLinkBit, 15, When::kPairSometimes},
    {Step::kReplaySession, 5, When::kPairSometimes},
    {Step::kSuspend, 15, When::kPairSometimes},
    {Step::kResync, 30, When::kPairAlways},
    {Step::kGoAlone, 20, When::kPairSometimes},
    {Step::kLoseSecondary, 3, When::kPairSometimes},
    {Step::kVerify, 4, When::kPairSometimes},
    {Step::kIndexDamage, 10, When::kSometimes},
    {Step::kLogVolume, 15, When::kRarely},
};
static_assert(std::size(kUsual) + 2 == kStepCount);  // the other two come with RAID groups

constexpr format::RaidLevel kLevels[] = {format::RaidLevel::k1, format::RaidLevel::k5, format::RaidLevel::k6,
                                         format::RaidLevel::k10};

// Two or three RAID groups of different levels; in half of the runs the first is a disk as it is.
void draw_further_parts(sim::SeededRandom& random, Options& options) {
  const std::size_t count = 2 + random.below(2);
  if (random.below(2) == 0) options.parts.front() = std::nullopt;
  while (options.parts.size() < count) {
    const PartLevel level = kLevels[random.below(std::size(kLevels))];
    if (std::ranges::find(options.parts, level) == options.parts.end()) options.parts.push_back(level);
  }
  options.weights[static_cast<std::size_t>(Step::kPullDisks)] =
      static_cast<std::uint32_t>(10 + random.below(40));
  options.weights[static_cast<std::size_t>(Step::kLogVolume)] =
      static_cast<std::uint32_t>(15 + random.below(30));
}

std::string describe_parts(const std::vector<PartLevel>& parts) {
  std::string text;
  for (const PartLevel& level : parts) {
    text.append(text.empty() ? "" : " + ").append(level.has_value() ? raid::level_name(*level) : "one disk");
  }
  return text;
}

}  // namespace

Options draw_options(std::uint64_t seed) {
  // Apart from the draws of the run itself.
  sim::SeededRandom random(seed ^ 0x6f7074696f6e73ull);
  const auto one_in = [&random](std::uint64_t n) { return random.below(n) == 0; };
  const auto up_to = [&random](std::uint32_t most) {
    return static_cast<std::uint32_t>(random.below(most + 1));
  };
  Options options;
  options.seed = seed;
  options.pair = !one_in(4);
  options.steps = 40 + up_to(160);
  options.volume_blocks = 8 + random.below(56);
  // Eight segments are the least that a journal takes. Small ones are gone round many times in a run.
  const bool small_segments = !one_in(4);
  const std::uint64_t segment_blocks = 16u << random.below(3);
  const std::uint64_t segments = 8 + random.below(one_in(2) ? 8 : 24);
  if (small_segments) {
    options.segment_bytes = segment_blocks * kBlockSizeBytes;
    options.journal_bytes = kJournalHeadBytes + segments * options.segment_bytes;
    if (!one_in(3)) options.recent_bytes = random.below(8) * 32 * kBlockSizeBytes + kBlockSizeBytes;
  } else {
    options.journal_bytes = (17 + random.below(3) * 16) << 20;
  }
  const Duration retentions[] = {Duration{}, Duration::seconds(10), Duration::seconds(3600),
                                 Duration::seconds(24 * 3600)};
  options.retain = retentions[random.below(4)];
  options.stop_writes_when_full = one_in(4);
  options.request_blocks_max = one_in(3) ? options.volume_blocks : 1 + random.below(8);
  options.requests_at_once_max = one_in(3) ? 1 : 2 + up_to(6);
  if (small_segments) {
    // An entry fits in a segment, and what is asked for at once in less than a quarter of the journal, though
    // it may leave the rest of each segment empty: nothing of it goes before the model has seen it.
    const std::uint64_t at_once = segments * segment_blocks / 8 / options.requests_at_once_max;
    options.request_blocks_max =
        std::min({options.request_blocks_max, segment_blocks - 4, std::max<std::uint64_t>(at_once, 3) - 2});
  }
  options.zeroes_percent = one_in(3) ? 0 : up_to(30);
  options.flushes_percent = one_in(3) ? 0 : up_to(20);
  options.marks_percent = 2 + up_to(20);
  options.fua_percent = one_in(3) ? 0 : up_to(30);
  options.partial_percent = one_in(3) ? 0 : up_to(50);
  options.disk.remembers_older = true;
  if (one_in(3)) options.disk.latency_max = Duration::milliseconds(20);
  if (!options.pair && one_in(3)) options.disk.space_bytes_max = (30 + random.below(24)) << 20;
  if (one_in(3)) options.link.latency_max = Duration::milliseconds(50);
  if (one_in(4)) options.link.window_bytes = 4 << 10;
  if (one_in(3)) options.clock_drift_ppm = static_cast<double>(random.below(1000)) - 500;
  options.clock_goes_back = one_in(2);
  if (one_in(3)) options.damages = 1 + up_to(5);
  if (options.pair && one_in(2)) {
    options.sync = format::SyncTerms{static_cast<format::PeerLoss>(1 + random.below(3)),
                                     Duration::milliseconds(1000 + up_to(14'000))};
  }
  for (const UsualWeight& usual : kUsual) {
    const bool of_pairs = usual.when == When::kPairAlways || usual.when == When::kPairSometimes;
    const bool may_be_absent = usual.when == When::kSometimes || usual.when == When::kPairSometimes;
    const bool absent = (of_pairs && !options.pair) || (may_be_absent && one_in(3)) ||
                        (usual.when == When::kRarely && !one_in(3));
    const std::uint32_t scale = 1 + up_to(2);
    options.weights[static_cast<std::size_t>(usual.step)] = absent ? 0 : usual.weight * scale;
  }
  if (options.pair && one_in(3)) options.role_steps = 10 + up_to(40);
  // Disks that are small enough to be rebuilt often, and never full.
  if (small_segments && options.disk.space_bytes_max == UINT64_MAX && one_in(6)) {
    options.parts = {kLevels[random.below(std::size(kLevels))]};
    options.weights[static_cast<std::size_t>(Step::kLoseMember)] = 30 + up_to(60);
    options.damages = 0;  // what a group makes of damaged members is seen without nodes
    if (one_in(2)) draw_further_parts(random, options);
  }
  options.compresses = options.pair && one_in(2);
  return options;
}

std::string describe(const Options& options) {
  const auto count = [](std::uint64_t n) { return std::to_string(n); };
  std::string text = options.pair ? "pair" : "alone";
  if (options.sync.has_value()) {
    constexpr const char* kOnLoss[] = {"async", "wait", "fail"};
    text.append(" in sync, without a peer ");
    text.append(kOnLoss[static_cast<std::size_t>(options.sync->on_loss) - 1]).append(" after ");
    text.append(format_duration(options.sync->loss_after));
  }
  if (options.compresses) text.append(", compressed");
  text.append(", ");
  text.append(count(options.steps)).append(" steps, ");
  if (options.role_steps != 0) text.append(count(options.role_steps)).append(" with swaps, ");
  text.append(count(options.volume_blocks)).append(" blocks a volume, journal ");
  text.append(count(options.journal_bytes >> 10)).append(" KiB");
  if (options.segment_bytes != 0) {
    text.append(" in segments of ").append(count(options.segment_bytes >> 10)).append(" KiB");
  }
  if (options.recent_bytes != 0) {
    text.append(" with ").append(count(options.recent_bytes >> 10)).append(" KiB of it in memory");
  }
  text.append(", retain ").append(format_duration(options.retain));
  if (options.stop_writes_when_full) text.append(", stops writes when full");
  text.append(", up to ").append(count(options.requests_at_once_max)).append(" requests of up to ");
  text.append(count(options.request_blocks_max)).append(" blocks, disk up to ");
  text.append(format_duration(options.disk.latency_max));
  if (options.parts != std::vector{PartLevel()}) text.append(" in ").append(describe_parts(options.parts));
  if (options.disk.space_bytes_max != UINT64_MAX) {
    text.append(" with ").append(count(options.disk.space_bytes_max >> 20)).append(" MiB");
  }
  text.append(", link up to ").append(format_duration(options.link.latency_max));
  text.append(", ").append(count(options.damages)).append(" damages; without");
  bool all = true;
  for (std::size_t i = 0; i < kStepCount; ++i) {
    if (options.weights[i] != 0) continue;
    text.append(" ").append(kStepNames[i]);
    all = false;
  }
  if (all) text.append(" nothing");
  return text;
}

}  // namespace tidemark::simulation
