// A pair under everything at once, drawn from a seed, held to a model.
//
// The model: the images of both volumes after each acknowledged change on the primary, in order. What must
// hold:
//   1. The primary after a power cut shows one of these images, none older than the last durable one.
//   2. The secondary, while it follows, shows one of them: a prefix of the primary's order.
//   3. A mark shows on each node that can read it the image of when it was made.
//   4. When the faults stop, the lag reaches zero and both nodes show the same.

#include <algorithm>

#include "pair_bench.h"
#include "rounds.h"

namespace tidemark::node {
namespace {

using control::PairState;

constexpr const char* kVolumes[] = {"data", "wal"};

class PairModel {
 public:
  explicit PairModel(std::uint64_t seed) : bench(seed) {
    bench.make_group(bench.a, {"data", "wal"});
    history_.push_back(Image(2 * kVolumeBlocks, 0));
  }

  void run(int operations) {
    pair_up();
    for (int i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      step(bench.world.random().below(100));
      check_secondary();
    }
    if (!testing::Test::HasFailure()) settle();
  }

  std::uint32_t marks_compared() const { return marks_compared_; }

  PairBench bench;

 private:
  std::uint64_t draw(std::uint64_t bound) { return bench.world.random().below(bound); }
  Image& now() { return history_.back(); }

  void step(std::uint64_t kind) {
    if (kind < 45) return write();
    if (kind < 50) return discard();
    if (kind < 58) return make_mark();
    if (kind < 62) return restore();
    if (kind < 66) return bench.world.network().reset_all();
    if (kind < 70) return bench.world.network().cut();
    if (kind < 76) return bench.world.network().heal();
    if (kind < 86)
      return bench.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(20'000))));
    if (kind < 88) return bench.world.run_for(Duration::seconds(static_cast<std::int64_t>(draw(15))));
    if (kind < 90) return (void)bench.suspend(draw(2) == 0 ? bench.a : bench.b);
    if (kind < 93) return resync();
    if (kind < 95) return go_own_way();
    if (kind < 97) return restart(bench.b);
    if (kind < 99) return restart(bench.a);
    return write_alone();
  }

  void write() {
    const std::uint64_t volume = draw(2);
    const std::uint64_t block = draw(kVolumeBlocks);
    const bool fua = draw(8) == 0;
    const auto written = bench.write(bench.a, kVolumes[volume], block, ++value_, fua);
    ASSERT_TRUE(written.ok()) << written.error().message;
    Image image = now();
    image[volume * kVolumeBlocks + block] = value_;
    history_.push_back(std::move(image));
    if (fua) durable_ = history_.size() - 1;
  }

  void discard() {
    const std::uint64_t volume = draw(2);
    const std::uint64_t block = draw(kVolumeBlocks - 4);
    const std::uint64_t blocks = 1 + draw(4);
    ASSERT_TRUE(bench.discard(bench.a, kVolumes[volume], block, blocks).ok());
    Image image = now();
    std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(volume * kVolumeBlocks + block), blocks, 0);
    history_.push_back(std::move(image));
  }

  void make_mark() {
    const std::string id = "a" + std::to_string(++marks_made_);
    const auto mark = bench.mark(bench.a, id);
    ASSERT_TRUE(mark.ok()) << mark.error().message;
    marks_[id] = now();
    durable_ = history_.size() - 1;
  }

  void restore() {
    if (marks_.empty()) return;
    auto at = marks_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(draw(marks_.size())));
    const auto restored = bench.restore(bench.a, at->first);
    if (!restored.ok()) {
      // The first copy runs, or a window, the peer's or this one's, does not reach back that far.
      EXPECT_TRUE(restored.error().code == ErrorCode::kRefused ||
                  restored.error().code == ErrorCode::kExpired)
          << restored.error().message;
      return;
    }
    history_.push_back(at->second);
    durable_ = history_.size() - 1;
  }

  void resync() {
    const PairState state = bench.state(bench.a);
    const auto resynced = bench.resync(bench.a);
    if (!resynced.ok() && state == PairState::kPsue && draw(2) == 0) (void)bench.resync(bench.a, true);
    if (bench.state(bench.a) == PairState::kPair) own_.clear();
  }

  // On the suspended secondary: a restore, and writes that the primary never sees.
  void go_own_way() {
    (void)bench.suspend(bench.b);
    const auto restored = bench.restore(bench.b, "head");
    if (!restored.ok()) return;
    EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
    own_ = read_at(bench.b, "head");
    write_alone();
  }

  void write_alone() {
    if (bench.state(bench.b) != PairState::kSsws || own_.empty()) return;
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t block = draw(kVolumeBlocks);
      const auto written = bench.write(bench.b, "wal", block, ++value_);
      if (!written.ok()) {
        // Branches that the primary never saw are held, and the journal has eight segments.
        ASSERT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
        return;
      }
      own_[kVolumeBlocks + block] = value_;
    }
    const std::string id = "b" + std::to_string(++marks_made_);
    if (bench.mark(bench.b, id).ok()) own_marks_[id] = own_;
  }

  void restart(Machine& machine) {
    const std::uint64_t how = draw(3);
    if (how == 0) {
      machine.stop();
    } else if (how == 1) {
      machine.kill();
    } else {
      machine.power_cut();
    }
    bench.world.run_for(Duration::microseconds(static_cast<std::int64_t>(draw(300'000))));
    ASSERT_NO_FATAL_FAILURE(machine.start());
    if (&machine != &bench.a) return;
    const Image image = read_at(bench.a, "head");
    std::size_t at = history_.size() - 1;
    while (at > durable_ && history_[at] != image) --at;
    ASSERT_EQ(history_[at], image) << "the primary came back with something that never was";
    if (how == 0) {
      ASSERT_EQ(at, history_.size() - 1) << "an orderly stop lost something";
    }
    history_.resize(at + 1);
  }

  // Both volumes at one point.
  Image read_at(Machine& machine, const std::string& point) {
    std::string fixed = point;
    if (point == "head") fixed = "log:" + machine.group().head().to_string();
    Image both;
    for (const char* volume : kVolumes) {
      const auto image = bench.read(machine, volume, fixed);
      EXPECT_TRUE(image.ok()) << machine.name << "@" << fixed << ": " << image.error().message;
      if (!image.ok()) return Image(2 * kVolumeBlocks, 0);
      both.insert(both.end(), image->begin(), image->end());
    }
    return both;
  }

  void check_secondary() {
    if (testing::Test::HasFailure() || !bench.b.has_group()) return;
    if (!bench.b.group().local().window_open || bench.state(bench.b) == PairState::kSsws) return;
    if (draw(4) != 0) return;
    const Image image = read_at(bench.b, "head");
    EXPECT_NE(std::find(history_.rbegin(), history_.rend(), image), history_.rend())
        << "the secondary shows something that the primary never did";
  }

  void pair_up() {
    const auto created = bench.pair_create(bench.a, bench.b);
    ASSERT_TRUE(created.ok()) << created.error().message;
  }

  // The primary has heard its peer, one way or the other.
  bool heard() {
    return bench.wait_for([&] {
      const control::PairStatus status = bench.status(bench.a);
      return status.state != PairState::kCopy && (status.state != PairState::kPair || status.link_up);
    });
  }

  void settle() {
    bench.world.network().heal();
    ASSERT_TRUE(heard());
    if (bench.state(bench.a) != PairState::kPair) (void)bench.resync(bench.a);
    // A secondary that cannot follow says so soon.
    bench.world.run_for(Duration::seconds(1));
    ASSERT_TRUE(heard());
    if (bench.state(bench.a) != PairState::kPair) {
      const auto resynced = bench.resync(bench.a, true);
      ASSERT_TRUE(resynced.ok()) << resynced.error().message;
    }
    ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
    EXPECT_EQ(read_at(bench.a, "head"), now());
    EXPECT_EQ(read_at(bench.b, "head"), now());
    for (const auto& [id, image] : marks_) {
      for (Machine* machine : {&bench.a, &bench.b}) {
        const group::Mark* mark = machine->group().state().find_mark(id);
        ASSERT_NE(mark, nullptr) << id << " is unknown on " << machine->name;
        // The journals are small: the oldest points go.
        if (!machine->group().check_readable(mark->at).ok()) continue;
        ++marks_compared_;
        EXPECT_EQ(read_at(*machine, id), image) << id;
      }
    }
    for (const auto& [id, image] : own_marks_) {
      const group::Mark* mark = bench.b.group().state().find_mark(id);
      if (mark == nullptr || !bench.b.group().check_readable(mark->at).ok()) continue;  // given up
      EXPECT_EQ(read_at(bench.b, id), image) << id;
    }
  }

  std::vector<Image> history_;
  std::size_t durable_ = 0;
  std::map<std::string, Image> marks_;
  std::map<std::string, Image> own_marks_;
  Image own_;
  std::uint32_t value_ = 0;
  std::uint32_t marks_made_ = 0;
  std::uint32_t marks_compared_ = 0;
};

TEST(PairProperty, HoldsUnderFaults) {
  const std::uint64_t begin = first_seed(1000);
  const std::uint64_t end = begin + rounds(1000, 20);
  std::uint64_t marks_compared = 0;
  for (std::uint64_t seed = begin; seed < end; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    PairModel model(seed);
    model.run(120);
    if (testing::Test::HasFailure()) return;
    marks_compared += model.marks_compared();
  }
  EXPECT_GT(marks_compared, 5 * (end - begin));
}

}  // namespace
}  // namespace tidemark::node
