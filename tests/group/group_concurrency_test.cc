// Many requests of one group in flight at once, on ranges that overlap: the journal's order decides, and
// every request is in it once, whole, with nothing lost between.

#include <algorithm>

#include "group_bench.h"
#include "group_model.h"
#include "rounds.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBlocks = 24;
constexpr std::uint64_t kSeeds = rounds(60, 12);

// What one writer asked for; its bytes are like nobody else's.
struct Request {
  VolumeId volume{};
  std::uint64_t offset = 0;
  std::vector<std::byte> bytes;  // of a write
  BlockRange zeroed{};           // of a discard
  std::string mark;
  bool seen = false;
  // Requests known to have been answered before this one was made come before it in the order.
  std::vector<std::size_t> after;
  std::size_t answered = 0;          // how many had been answered before it was
  std::optional<std::size_t> place;  // in the order
};

class Crowd {
 public:
  Crowd(GroupBench& bench, std::uint64_t seed, std::vector<VolumeId> volumes)
      : bench_(bench), random_(seed), volumes_(std::move(volumes)) {}

  io::Task<void> write_on(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      co_await one_request();
      if (random_.below(3) == 0) {
        const Duration pause{static_cast<std::int64_t>(random_.below(300'000))};
        co_await bench_.world.sleep_for(pause);
      }
    }
  }
  io::Task<void> destage_on(const bool* over) {
    while (!*over) {
      const auto stepped = co_await bench_.group->destage_now(true);
      EXPECT_TRUE(stepped.ok()) << stepped.error().message;
      const Duration pause{static_cast<std::int64_t>(random_.below(1'000'000))};
      co_await bench_.world.sleep_for(pause);
    }
  }
  std::vector<Request>& requests() { return requests_; }

 private:
  io::Task<void> one_request() {
    const std::size_t number = requests_.size();
    requests_.emplace_back();
    requests_[number].volume = volumes_[random_.below(volumes_.size())];
    requests_[number].after = answered_;
    const VolumeId volume = requests_[number].volume;
    DataPath& data = bench_.group->data();
    const std::uint64_t what = random_.below(10);
    if (what == 0) {
      const std::string id = "m" + std::to_string(number);
      requests_[number].mark = id;
      const format::MarkRecord record{.id = id};
      const auto made = co_await bench_.group->create_mark(record);
      EXPECT_TRUE(made.ok());
    } else if (what == 1) {
      const std::uint64_t begin = random_.below(kBlocks - 1);
      const BlockRange blocks{begin, begin + 1 + random_.below(kBlocks - begin)};
      requests_[number].zeroed = blocks;
      const auto done = co_await data.zero(volume, blocks.begin * kBlockSizeBytes,
                                           blocks.count() * kBlockSizeBytes, true, false);
      EXPECT_TRUE(done.ok());
    } else {
      const std::uint64_t unit = random_.coin() ? 512 : kBlockSizeBytes;
      const std::uint64_t units = kBlocks * kBlockSizeBytes / unit;
      const std::uint64_t begin = random_.below(units);
      const std::uint64_t length = (1 + random_.below(std::min<std::uint64_t>(units - begin, 12))) * unit;
      requests_[number].offset = begin * unit;
      Buffer bytes = Buffer::allocate(length);
      for (std::uint64_t at = 0; at < length; at += 8) {
        const std::uint64_t word = number << 32 | at;
        std::memcpy(bytes.data() + at, &word, 8);
      }
      requests_[number].bytes.assign(bytes.data(), bytes.data() + length);
      const bool fua = random_.below(8) == 0;
      const auto done = co_await data.write(volume, begin * unit, bytes, fua);
      EXPECT_TRUE(done.ok());
    }
    requests_[number].answered = answered_.size();
    answered_.push_back(number);
  }

  GroupBench& bench_;
  sim::SeededRandom random_;
  std::vector<VolumeId> volumes_;
  std::vector<Request> requests_;
  std::vector<std::size_t> answered_;
};

// The request that an entry records: unseen, of the same range, and with these bytes. Of discards that are
// alike, the one that was answered first.
Request* find_request(std::vector<Request>& requests, const format::Entry& entry, Bytes payload) {
  Request* discard = nullptr;
  for (Request& request : requests) {
    if (request.seen || request.volume != entry.volume) continue;
    if (entry.kind == format::EntryKind::kDiscard) {
      const bool matches = request.bytes.empty() && request.zeroed == entry.blocks;
      if (matches && (discard == nullptr || request.answered < discard->answered)) discard = &request;
      continue;
    }
    if (request.bytes.empty()) continue;
    const BlockRange covering{
        request.offset / kBlockSizeBytes,
        (request.offset + request.bytes.size() + kBlockSizeBytes - 1) / kBlockSizeBytes};
    if (covering != entry.blocks) continue;
    const std::uint64_t lead = request.offset - covering.begin * kBlockSizeBytes;
    if (std::memcmp(payload.data() + lead, request.bytes.data(), request.bytes.size()) == 0) return &request;
  }
  return discard;
}

void run_crowd(std::uint64_t seed, bool destaging, std::uint64_t index_damage_one_in = 0) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  BenchOptions options;
  options.recent_bytes = destaging ? 0 : 1 << 20;
  options.settings.retain = Duration::seconds(destaging ? 0 : 3600);
  GroupBench bench(seed, options);
  bench.fate->damage_one_in = index_damage_one_in;
  bench.fate->look_slowly = index_damage_one_in > 0;
  const VolumeShape a = bench.make_volume("a", kBlocks);
  const VolumeShape b = bench.make_volume("b", kBlocks);
  const LogId begin = bench.group->head();
  bool over = false;
  Crowd crowd(bench, seed, {a.id, b.id});
  io::TaskScope writers(bench.world);
  io::TaskScope others(bench.world);
  std::unique_ptr<View> pin;
  {
    // Holds the floor below everything that is checked.
    auto view = bench.run(bench.group->open_view("a", "log:" + begin.to_string()));
    ASSERT_TRUE(view.ok());
    pin = std::move(*view);
  }
  if (destaging) {
    bench.run(pin->close());
    others.spawn(crowd.destage_on(&over));
  }
  for (int writer = 0; writer < 8; ++writer) writers.spawn(crowd.write_on(12));
  bench.run(writers.join());
  over = true;
  bench.run(others.join());
  ASSERT_TRUE(bench.flush().ok());

  GroupModel::Shape shape;
  shape[a.id] = {"a", std::make_shared<GroupModel::Content>(kBlocks)};
  shape[b.id] = {"b", std::make_shared<GroupModel::Content>(kBlocks)};
  if (!destaging) {
    const auto shown = bench.run(bench.group->show_entries(begin, 10'000));
    ASSERT_TRUE(shown.ok()) << shown.error().message;
    EXPECT_EQ(shown->size(), crowd.requests().size()) << "each request is one entry";
    for (std::size_t i = 0; i < shown->size(); ++i) {
      const ShownEntry& entry = (*shown)[i];
      if (entry.entry.kind == format::EntryKind::kMark) {
        const auto record = format::decode_mark(entry.entry.body);
        ASSERT_TRUE(record.ok());
        for (Request& request : crowd.requests()) {
          if (request.mark == record->id) {
            request.seen = true;
            request.place = i;
          }
        }
        continue;
      }
      Buffer payload;
      if (entry.entry.kind == format::EntryKind::kWrite) {
        auto read = bench.run(bench.group->journal().read(entry.payload_place, entry.entry.checksums));
        ASSERT_TRUE(read.ok()) << read.error().message;
        payload = std::move(*read);
      }
      Request* request = find_request(crowd.requests(), entry.entry, payload);
      ASSERT_NE(request, nullptr) << "nobody asked for " << entry.id.to_string();
      request->seen = true;
      request->place = i;
      if (request->zeroed.empty()) {
        GroupModel::overlay(shape, request->volume, request->offset, request->bytes);
        const GroupModel::Content& content = *shape.at(request->volume).content;
        for (std::uint64_t block = entry.entry.blocks.begin; block < entry.entry.blocks.end; ++block) {
          const Bytes got =
              Bytes(payload).subspan((block - entry.entry.blocks.begin) * kBlockSizeBytes, kBlockSizeBytes);
          ASSERT_TRUE(GroupModel::same_block(content[block], got))
              << "an update between the read and the append of " << entry.id.to_string() << " was lost";
        }
      } else {
        GroupModel::zero_blocks(shape, request->volume, request->zeroed);
      }
    }
    for (const Request& request : crowd.requests()) {
      ASSERT_TRUE(request.place.has_value());
      for (const std::size_t earlier : request.after) {
        EXPECT_LT(*crowd.requests()[earlier].place, *request.place) << "what was answered comes first";
      }
    }
  }
  // Live, and after a crash and a restart, it is what the order says.
  for (int round = 0; round < 2; ++round) {
    for (const VolumeId volume : {a.id, b.id}) {
      Buffer out = Buffer::allocate(kBlocks * kBlockSizeBytes);
      ASSERT_TRUE(bench.run(bench.group->data().read(volume, bench.group->live_path(), 0, out, true)).ok());
      if (destaging && round == 0) {
        GroupModel::overlay(shape, volume, 0, out);
        continue;
      }
      const auto wrong = GroupModel::first_difference(*shape.at(volume).content, out);
      EXPECT_FALSE(wrong.has_value()) << "volume " << volume.value << ", block " << *wrong;
    }
    if (round == 0) {
      if (!destaging) bench.run(pin->close());
      pin.reset();
      bench.power_cut();
      bench.start_again();
    }
  }
}

TEST(GroupConcurrency, EveryRequestIsInTheOrderOnceAndNothingIsLostBetween) {
  for (std::uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) run_crowd(seed, false);
}

TEST(GroupConcurrency, DestagingMeanwhileChangesNothingThatIsRead) {
  for (std::uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) run_crowd(seed, true);
}

TEST(GroupConcurrency, AnIndexThatIsRebuiltMeanwhileLosesNothing) {
  for (std::uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) run_crowd(seed, seed % 2 == 0, 100);
}

// What a write of part of a block keeps of it is read where the destager is about to make room.
TEST(GroupConcurrency, AWriteOfPartOfABlockReadsWhatIsFreedOnlyAfterIt) {
  GroupBench bench(77, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 256);
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(bench.fill(volume.id, {i, i + 1}, 5).ok());
  bench.restart();
  const Place oldest = bench.group->journal().oldest();
  std::optional<Result<void>> written;
  io::TaskScope writing(bench.world);
  bench.fate->look_slowly = true;
  bench.fate->look_time = Duration::seconds(10);
  const auto write = [](Group* group, VolumeId id, std::optional<Result<void>>* out) -> io::Task<void> {
    Buffer half = Buffer::allocate(kBlockSizeBytes / 2);
    std::memset(half.data(), 6, half.size());
    out->emplace(co_await group->data().write(id, 0, half, false));
  };
  writing.spawn(write(bench.group, volume.id, &written));
  bench.world.run_for(Duration::seconds(1));
  ASSERT_FALSE(written.has_value()) << "it does not look anything up";
  bench.fate->look_slowly = false;
  ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
  bench.run(writing.join());
  ASSERT_TRUE(written.has_value());
  EXPECT_TRUE(written->ok()) << written->error().message;
  EXPECT_GT(bench.group->journal().oldest(), oldest) << "nothing was freed";
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  ASSERT_TRUE(bench.run(bench.group->data().read(volume.id, bench.group->live_path(), 0, block, true)).ok());
  EXPECT_EQ(block.data()[0], std::byte{6});
  EXPECT_EQ(block.data()[kBlockSizeBytes - 1], std::byte{5});
}

}  // namespace
}  // namespace tidemark::group
