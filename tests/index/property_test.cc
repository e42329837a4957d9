// Both twins are held to a model that replays every entry: random epochs, ranges, paths, and for the one with
// runs also random moments of writing a run, closing, opening, losing the folder and dropping old entries.

#include <random>

#include "index/harness.h"

namespace tidemark::index::test {
namespace {

// Writers that continue from random points of each other.
class RandomEpochs {
 public:
  explicit RandomEpochs(std::mt19937_64& random) : random_(random) { epochs_.push_back({0, 0, 0}); }
  LogId next_id() {
    ++epochs_.back().last_sequence;
    return LogId(Epoch{number(epochs_.size() - 1)}, epochs_.back().last_sequence);
  }
  // A new epoch that continues from a random point of any other.
  void restore() {
    const std::size_t parent = random_() % epochs_.size();
    epochs_.push_back({parent, random_() % (epochs_[parent].last_sequence + 1), 0});
  }
  Path live_path() const { return path(epochs_.size() - 1, kSequenceMax); }
  Path random_path() {
    const std::size_t epoch = random_() % epochs_.size();
    return path(epoch, random_() % (epochs_[epoch].last_sequence + 2));
  }

 private:
  struct One {
    std::size_t parent;
    std::uint64_t parent_sequence;
    std::uint64_t last_sequence;
  };
  // Epoch numbers grow, with gaps, as those of a pair of nodes do.
  static std::uint32_t number(std::size_t index) { return static_cast<std::uint32_t>(2 * index + 1); }
  Path path(std::size_t epoch, std::uint64_t last_sequence) const {
    Path path;
    for (;;) {
      if (last_sequence > 0) path.steps.push_back({Epoch{number(epoch)}, 1, last_sequence});
      if (epoch == 0) return path;
      last_sequence = epochs_[epoch].parent_sequence;
      epoch = epochs_[epoch].parent;
    }
  }
  std::mt19937_64& random_;
  std::vector<One> epochs_;
};

struct Trial {
  explicit Trial(std::uint64_t seed) : random(seed), epochs(random), machine(seed) {}

  std::uint64_t below(std::uint64_t bound) { return random() % bound; }
  // Half of them meet in the first few blocks, so that caches are hit and written through.
  BlockRange random_blocks(std::uint64_t span, std::uint64_t length_max) {
    if (below(2) == 0) {
      span = 100;
      length_max = 10;
    }
    const std::uint64_t begin = below(span);
    std::uint64_t length = 1 + below(length_max);
    if (below(3) == 0) return {begin / 16 * 16, begin / 16 * 16 + (length + 15) / 16 * 16};
    return {begin, begin + length};
  }
  VolumeId random_volume() { return VolumeId{static_cast<std::uint32_t>(below(3) == 0 ? 7 : 1 + below(2))}; }

  void insert(std::vector<VersionIndex*> indexes) {
    Model::Entry entry;
    entry.volume = random_volume();
    entry.id = epochs.next_id();
    entry.place = Place(generation, block);
    entry.zero = below(4) == 0;
    const std::uint64_t size = below(8);
    if (entry.zero && size == 0) {
      entry.blocks = {below(2) * (1ull << 28), (1 + below(2)) * (1ull << 28) + (1ull << 28)};  // whole TiB
    } else if (entry.zero) {
      entry.blocks = random_blocks(2000, size < 5 ? 64 : 5000);
    } else {
      entry.blocks = random_blocks(2000, size < 6 ? 24 : 256);
      block += static_cast<std::uint32_t>(entry.blocks.count());
    }
    if (block > 3000) {
      ++generation;
      block = 0;
    }
    model.insert(entry);
    for (VersionIndex* index : indexes) give(*index, entry);
  }
  static void give(VersionIndex& index, const Model::Entry& entry) {
    if (entry.zero) {
      index.insert_zero(entry.volume, entry.blocks, entry.id, entry.place);
    } else {
      insert_data(index, entry.volume, entry.blocks, entry.id, entry.place);
    }
  }
  Path random_path() {
    Path path = below(2) == 0 ? epochs.live_path() : epochs.random_path();
    // What is below the drop bound lies on no path.
    return floor_path(path);
  }
  Path floor_path(Path path) const {
    Path cut;
    for (const PathStep& step : path.steps) {
      PathStep kept = step;
      const auto dropped = dropped_through.find(step.epoch.value);
      if (dropped != dropped_through.end()) {
        kept.first_sequence = std::max(kept.first_sequence, dropped->second + 1);
      }
      if (kept.first_sequence <= kept.last_sequence) cut.steps.push_back(kept);
    }
    return cut;
  }
  void drop(std::vector<VersionIndex*> indexes) {
    if (model.entries().empty()) return;
    const Place bound = model.entries()[below(model.entries().size())].place;
    // An entry's blocks may lie on both sides of a bound; whole entries are what owners drop.
    for (const Model::Entry& entry : model.entries()) {
      if (entry.place >= bound) break;
      std::uint64_t& through = dropped_through[entry.id.epoch().value];
      through = std::max(through, entry.id.sequence());
    }
    model.drop_before(bound);
    for (VersionIndex* index : indexes) index->drop_before(bound);
  }
  void compare(VersionIndex& index, const char* what) {
    const VolumeId volume = random_volume();
    const std::uint64_t kind = below(10);
    BlockRange blocks = random_blocks(2300, kind < 7 ? 40 : 1500);
    if (kind == 9) blocks = {below(3000), 3ull << 28};
    const Path path = random_path();
    const auto expected = model.lookup(volume, blocks, path);
    std::vector<Piece> now;
    if (index.lookup_now(volume, blocks, path, now)) {
      ASSERT_TRUE(same(expected, now)) << what << " now\n" << to_string(expected) << "\n" << to_string(now);
    } else {
      ASSERT_TRUE(now.empty());
    }
    const auto got = machine.lookup(index, volume, blocks, path);
    ASSERT_TRUE(same(expected, got)) << what << "\n" << to_string(expected) << "\n" << to_string(got);
    // The same in portions.
    const std::size_t pieces_max = 1 + below(5);
    std::vector<Piece> portions;
    for (BlockRange rest = blocks; !rest.empty() && portions.size() < 200;) {
      const auto portion = machine.lookup(index, volume, rest, path, pieces_max);
      ASSERT_FALSE(portion.empty());
      ASSERT_LE(portion.size(), pieces_max);
      ASSERT_EQ(portion.front().blocks.begin, rest.begin);
      if (portion.size() < pieces_max) {
        ASSERT_EQ(portion.back().blocks.end, blocks.end);
      }
      rest.begin = portion.back().blocks.end;
      portions.insert(portions.end(), portion.begin(), portion.end());
    }
    for (std::size_t i = 0; i < std::min(portions.size(), expected.size()); ++i) {
      ASSERT_EQ(portions[i].blocks, expected[i].blocks) << what;
      ASSERT_EQ(portions[i].id, expected[i].id) << what;
    }
  }

  std::mt19937_64 random;
  RandomEpochs epochs;
  Machine machine;
  Model model;
  std::uint64_t generation = 1;
  std::uint32_t block = 0;
  std::map<std::uint32_t, std::uint64_t> dropped_through;
};

class PropertyTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(PropertyTest, BothTwinsAnswerLikeReplayingTheEntries) {
  Trial run(GetParam());
  TemporaryFolder folder;
  RocksIndexOptions options;
  options.path_map_bytes_max = run.below(2) == 0 ? 16 << 10 : 1 << 20;
  auto memory = make_memory_index();
  auto opened = run.machine.open(folder.path(), options);
  ASSERT_TRUE(opened.ok());
  auto rocks = std::move(opened->index);

  for (int step = 0; step < 1200 && !testing::Test::HasFatalFailure(); ++step) {
    const std::uint64_t what = run.below(100);
    if (what < 54) {
      run.insert({memory.get(), rocks.get()});
    } else if (what < 56) {
      run.epochs.restore();
    } else if (what < 61) {
      // Places below the next one are all in the run.
      run.machine.persist(*rocks, Place(run.generation, run.block));
    } else if (what < 62) {
      run.machine.close(*rocks);
      rocks.reset();
      auto again = run.machine.open(folder.path(), options);
      ASSERT_TRUE(again.ok());
      ASSERT_FALSE(again->rebuilt);
      rocks = std::move(again->index);
      for (const auto& entry : run.model.entries()) {
        // Some of what the runs have comes again, too.
        if (entry.place >= rocks->resume_place() || run.below(10) == 0) Trial::give(*rocks, entry);
      }
    } else if (what < 63) {
      run.drop({memory.get(), rocks.get()});
    } else {
      run.compare(*memory, "memory");
      run.compare(*rocks, "rocks");
    }
  }
  run.machine.close(*rocks);
}

TEST_P(PropertyTest, DamagedFoldersGiveErrorsOrAreRebuiltAndNeverAnswerWrongly) {
  Trial run(GetParam() * 77);
  TemporaryFolder folder;
  for (int round = 0; round < 6; ++round) {
    auto opened = run.machine.open(folder.path());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    auto index = std::move(opened->index);
    if (opened->rebuilt) {
      ASSERT_TRUE(index->resume_place().is_none());
    }
    for (const auto& entry : run.model.entries()) {
      if (entry.place >= index->resume_place()) Trial::give(*index, entry);
    }
    for (int i = 0; i < 150; ++i) {
      if (run.below(4) != 0) run.insert({index.get()});
      if (run.below(40) == 0) run.epochs.restore();
      if (run.below(60) == 0) {
        auto persisted = run.machine.world.run(index->persist(Place(run.generation, run.block)));
        if (!persisted.ok()) {
          ASSERT_EQ(persisted.error().code, ErrorCode::kDamaged);
        }
      }
      const VolumeId volume = run.random_volume();
      const BlockRange blocks = run.random_blocks(2300, 100);
      const Path path = run.random_path();
      std::vector<Piece> got;
      auto result = run.machine.world.run(index->lookup(volume, blocks, path, got, 4096));
      if (!result.ok()) {
        // The owner's answer to damage: another one, filled anew.
        ASSERT_EQ(result.error().code, ErrorCode::kDamaged) << result.error().message;
        ASSERT_TRUE(got.empty());
        auto successor = run.machine.world.run(index->make_successor());
        ASSERT_TRUE(successor.ok()) << successor.error().message;
        for (const auto& entry : run.model.entries()) Trial::give(**successor, entry);
        index->retire();
        run.machine.close(*index);
        index = std::move(*successor);
        continue;
      }
      ASSERT_TRUE(same(run.model.lookup(volume, blocks, path), got));
    }
    auto persisted = run.machine.world.run(index->persist(Place(run.generation, run.block)));
    if (!persisted.ok()) {
      ASSERT_EQ(persisted.error().code, ErrorCode::kDamaged);
    }
    run.machine.close(*index);
    index.reset();

    // Damage: bytes of a random file, a file, or everything.
    std::vector<std::filesystem::path> files;
    for (const auto& file : std::filesystem::recursive_directory_iterator(folder.path())) {
      if (file.is_regular_file() && file.file_size() > 0) files.push_back(file.path());
    }
    ASSERT_FALSE(files.empty());
    const auto& victim = files[run.below(files.size())];
    const std::uint64_t kind = run.below(8);
    if (kind == 0) {
      std::filesystem::remove_all(folder.path());
    } else if (kind == 1) {
      std::filesystem::remove(victim);
    } else if (kind == 2) {
      std::filesystem::resize_file(victim, run.below(std::filesystem::file_size(victim)));
    } else {
      std::FILE* file = std::fopen(victim.c_str(), "r+b");
      ASSERT_NE(file, nullptr);
      const long at = static_cast<long>(run.below(std::filesystem::file_size(victim)));
      std::fseek(file, at, SEEK_SET);
      const int byte = std::fgetc(file);
      std::fseek(file, at, SEEK_SET);
      std::fputc(byte ^ static_cast<int>(1 + run.below(255)), file);
      std::fclose(file);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PropertyTest, testing::Range<std::uint64_t>(1, 6));

}  // namespace
}  // namespace tidemark::index::test
