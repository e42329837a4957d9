// Journals under power cuts at random moments, against a model of what was appended.

#include <set>

#include "base/codec.h"
#include "format/journal_frame.h"
#include "journal_model.h"
#include "rounds.h"

namespace tidemark::journal {
namespace {

using sim::SimulatedProcess;
using sim::World;

// A snapshot or local record as the test writes it: a number, and how many entries it covers.
std::vector<std::byte> numbered(std::uint64_t number, std::uint64_t entries, std::size_t size) {
  Encoder out;
  out.u64(number);
  out.u64(entries);
  while (out.size() < size) out.u8(static_cast<std::uint8_t>(number + out.size()));
  return out.take();
}
std::uint64_t number_of(const std::vector<std::byte>& bytes) {
  return bytes.empty() ? 0 : Decoder(bytes).u64();
}
std::uint64_t entries_of(const std::vector<std::byte>& bytes) {
  if (bytes.empty()) return 0;
  Decoder in(bytes);
  (void)in.u64();
  return in.u64();
}

struct Kept {
  Model model;
  std::uint64_t record_attempted = 0;  // numbers of local records, in the order of their saves
  std::uint64_t record_durable = 0;
  std::uint64_t snapshot_attempted = 0;
  std::uint64_t snapshot_durable = 0;
  std::size_t may_be_freed = 0;  // entries before this one were given up
};

// Disks for further log volumes. Each time that one is added it has another number.
struct Shelf {
  std::vector<std::unique_ptr<sim::Disk>> disks;
  std::uint32_t added = 0;
  std::uint32_t dropped = 0;
  sim::Disk& disk_of(LuNumber number) { return *disks[number.value % disks.size()]; }
  FindLogVolume finder() {
    return [this](LuNumber number) -> Result<io::Disk*> { return &disk_of(number); };
  }
};

// One life of a node: writers that append and wait, and a housekeeper that saves, frees, reads, and adds and
// removes log volumes.
class Life {
 public:
  Life(World& world, Journal& journal, Kept& kept, Shelf& shelf, std::uint64_t seed)
      : world_(world), journal_(journal), kept_(kept), shelf_(shelf), random_(seed), more_(world) {}

  io::Task<void> write_on_and_on() {
    const std::uint32_t blocks_max = std::min(6u, journal_.entry_blocks_max());
    while (true) {
      if (random_.below(3) == 0) {
        co_await world_.sleep_for(Duration::microseconds(static_cast<std::int64_t>(random_.below(300))));
      }
      const Purpose purpose = random_.below(10) == 0 ? Purpose::kControl : Purpose::kData;
      ModelEntry expected;
      NewEntry entry = random_entry(kept_.model, random_, blocks_max, expected);
      const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
      const auto body = static_cast<std::uint32_t>(entry.body.size());
      bool room = journal_.has_room(blocks, body, purpose);
      while (!room) {
        const auto made = co_await journal_.make_room(blocks, body, purpose);
        if (made.ok()) {
          room = journal_.has_room(blocks, body, purpose);
          continue;
        }
        EXPECT_EQ(made.error().code, ErrorCode::kNoSpace) << made.error().message;
        full_ = true;
        co_await more_.wait();
      }
      if (random_.below(60) == 0) {
        const Epoch epoch{++kept_.model.epochs};
        journal_.begin_epoch(epoch_identity(epoch), LogId(epoch, 1), journal_.checksum_of_last(), WallTime{});
        if (!journal_.has_room(blocks, body, purpose)) continue;
      }
      const Appended done = journal_.append(std::move(entry));
      appended(kept_.model, std::move(expected), done);
      const std::size_t count = kept_.model.entries.size();
      if (random_.below(3) != 0) continue;
      const auto durable = co_await journal_.wait_durable(done.ticket);
      EXPECT_TRUE(durable.ok());
      kept_.model.durable = std::max(kept_.model.durable, count);
    }
  }

  io::Task<void> keep_house() {
    while (true) {
      co_await world_.sleep_for(Duration::microseconds(static_cast<std::int64_t>(random_.below(2000))));
      switch (full_ ? 0 : random_.below(6)) {
        case 0:
        case 1:
          co_await free_some();
          break;
        case 2: {
          const std::uint64_t number = ++kept_.record_attempted;
          std::vector<std::byte> record = numbered(number, 0, 16 + random_.below(2900));
          const auto saved = co_await journal_.save_local_record(std::move(record));
          EXPECT_TRUE(saved.ok());
          kept_.record_durable = number;
          break;
        }
        case 3:
          co_await change_log_volumes();
          break;
        default:
          co_await read_one();
      }
    }
  }

 private:
  io::Task<void> free_some() {
    const std::uint64_t number = ++kept_.snapshot_attempted;
    const std::size_t size = random_.below(5) == 0 ? random_.below(60'000) : random_.below(5'000);
    std::vector<std::byte> state = numbered(number, kept_.model.entries.size(), 16 + size);
    const auto saved = co_await journal_.save_snapshot(std::move(state));
    if (!saved.ok()) {
      EXPECT_EQ(saved.error().code, ErrorCode::kNoSpace) << saved.error().message;
      co_return;
    }
    kept_.snapshot_durable = number;
    const std::size_t live = kept_.model.entries.size() - kept_.may_be_freed;
    if (live > 0) {
      kept_.may_be_freed += live * (1 + random_.below(4)) / 4;
      kept_.may_be_freed = std::min(kept_.may_be_freed, kept_.model.entries.size() - 1);
      const Place bound = kept_.model.entries[kept_.may_be_freed].place;
      const auto freed = co_await journal_.free_before(bound);
      EXPECT_TRUE(freed.ok());
    }
    full_ = false;
    more_.wake_all();
  }

  io::Task<void> change_log_volumes() {
    for (const LuNumber number : journal_.emptied_log_volumes()) {
      const auto dropped = co_await journal_.drop_log_volume(number);
      EXPECT_TRUE(dropped.ok()) << dropped.error().message;
      ++shelf_.dropped;
    }
    const std::vector<LogVolumeStatus> volumes = journal_.log_volumes();
    if (volumes.size() > 1 && random_.coin()) {
      const LuNumber number = volumes[1 + random_.below(volumes.size() - 1)].number;
      const auto emptied = co_await journal_.empty_log_volume(number);
      EXPECT_TRUE(emptied.ok() || emptied.error().code == ErrorCode::kNoSpace) << emptied.error().message;
      co_return;
    }
    const LuNumber number{++shelf_.added};
    sim::Disk& disk = shelf_.disk_of(number);
    for (const LogVolumeStatus& volume : volumes) {
      if (volume.number.value != 0 && &shelf_.disk_of(volume.number) == &disk) co_return;
    }
    const auto cleared = co_await disk.discard(DiskOffset{0}, disk.size_bytes());
    EXPECT_TRUE(cleared.ok());
    const auto flushed = co_await disk.flush();
    EXPECT_TRUE(flushed.ok());
    const auto added = co_await journal_.add_log_volume(number, disk);
    EXPECT_TRUE(added.ok()) << added.error().message;
    full_ = false;
    more_.wake_all();
  }

  io::Task<void> read_one() {
    if (kept_.may_be_freed >= kept_.model.entries.size()) co_return;
    const std::size_t at =
        kept_.may_be_freed + random_.below(kept_.model.entries.size() - kept_.may_be_freed);
    const ModelEntry entry = kept_.model.entries[at];
    if (entry.payload_blocks == 0) co_return;
    const Journal::Pin pin = journal_.pin(entry.place);
    std::vector<std::uint32_t> checksums = entry.checksums;
    const auto read = co_await journal_.read(entry.place, std::move(checksums));
    EXPECT_TRUE(read.ok()) << read.error().message;
    if (!read.ok()) co_return;
    const Buffer want = pattern(entry.payload_seed, entry.payload_blocks);
    EXPECT_EQ(std::memcmp(read->data(), want.data(), want.size()), 0);
  }

  World& world_;
  Journal& journal_;
  Kept& kept_;
  Shelf& shelf_;
  sim::SeededRandom random_;
  io::WaitQueue more_;
  bool full_ = false;
};

// What the open journal says, held against the model; then the model forgets what was cut.
io::Task<Result<void>> check_after_crash(Journal& journal, Kept& kept) {
  Model& model = kept.model;
  const std::uint64_t record = number_of(journal.local_record());
  EXPECT_GE(record, kept.record_durable);
  EXPECT_LE(record, kept.record_attempted);
  const std::uint64_t snapshot = number_of(journal.snapshot());
  EXPECT_GE(snapshot, kept.snapshot_durable);
  EXPECT_LE(snapshot, kept.snapshot_attempted);
  kept.record_durable = record;
  kept.snapshot_durable = snapshot;
  if (snapshot > 0) {
    EXPECT_EQ(journal.snapshot(),
              numbered(snapshot, entries_of(journal.snapshot()), journal.snapshot().size()));
  }

  const Place after_snapshot = journal.snapshot_end();
  auto since = co_await check_scan(journal, model, after_snapshot);
  if (!since.ok()) co_return std::move(since).error();
  if (since->batches.empty()) since->first = since->end = entries_of(journal.snapshot());
  EXPECT_EQ(since->first, entries_of(journal.snapshot())) << "a scan goes on just after the snapshot";
  auto all = co_await check_scan(journal, model, journal.oldest());
  if (!all.ok()) co_return std::move(all).error();
  std::size_t end = since->end;
  if (!all->batches.empty()) {
    EXPECT_EQ(all->end, end);
    EXPECT_LE(all->first, kept.may_be_freed);
  } else {
    EXPECT_EQ(end, entries_of(journal.snapshot()));
  }
  EXPECT_GE(end, model.durable) << "what was durable is still there";
  EXPECT_LE(end, model.entries.size());
  if (end > model.entries.size()) co_return Result<void>{};
  model.entries.resize(end);
  model.durable = end;
  kept.may_be_freed = std::min(kept.may_be_freed, end);
  if (end > 0) {
    EXPECT_EQ(journal.last_appended(), model.entries.back().id);
    model.epochs = journal.last_appended().epoch().value;
  }
  // Entries are found by id.
  for (std::size_t i = std::max(kept.may_be_freed, all->batches.empty() ? end : all->first); i < end;
       i += 7) {
    auto found = co_await journal.find(model.entries[i].id);
    EXPECT_TRUE(found.ok()) << found.error().message;
  }
  co_return Result<void>{};
}

// Counts the log volumes that were added and removed again.
void run_one(std::uint64_t seed, std::uint64_t* dropped) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  World world(seed);
  sim::SeededRandom random(seed * 7919 + 1);
  sim::Disk disk(world, disk_bytes(static_cast<std::uint32_t>(8 + random.below(8))));
  Shelf shelf;
  for (std::uint64_t count = 1 + random.below(4); count > 0; --count) {
    shelf.disks.push_back(std::make_unique<sim::Disk>(world, kSmallSegmentBytes * (1 + random.below(6))));
  }
  JournalOptions options = small_options();
  options.recent_bytes_max = random.below(200'000);
  options.batches_in_flight_max = static_cast<std::uint32_t>(1 + random.below(5));
  options.batch_bytes_usual_max = static_cast<std::uint32_t>(4096 << random.below(5));
  {
    auto made = world.run(Journal::create(world.environment(), disk, test_group(), options));
    ASSERT_TRUE(made.ok());
  }
  Kept kept;
  const std::uint64_t lives = 2 + random.below(5);
  for (std::uint64_t life = 0; life < lives; ++life) {
    SCOPED_TRACE("life " + std::to_string(life));
    // Now and then the power goes while the journal is being opened.
    for (std::uint64_t cuts = random.below(3); cuts > 0; --cuts) {
      SimulatedProcess process(world);
      process.use(disk);
      for (const auto& further : shelf.disks) process.use(*further);
      process.tasks().spawn([](io::Environment environment, sim::Disk* log, JournalOptions with,
                               Shelf* others) -> io::Task<void> {
        auto opened = co_await Journal::open(environment, *log, with, others->finder());
        EXPECT_TRUE(opened.ok()) << opened.error().message;
      }(world.environment(), &disk, options, &shelf));
      world.run_steps(random.below(40));
      process.power_cut();
    }
    auto opened = world.run(Journal::open(world.environment(), disk, options, shelf.finder()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    SimulatedProcess process(world);
    process.use(disk);
    for (const auto& further : shelf.disks) process.use(*further);
    Journal& journal = process.own(std::move(opened).value());
    const auto checked = world.run(check_after_crash(journal, kept));
    ASSERT_TRUE(checked.ok()) << checked.error().message;
    if (::testing::Test::HasFailure()) return;
    go_on(journal, kept.model);
    Life& writer = process.own(std::make_unique<Life>(world, journal, kept, shelf, random.next()));
    process.tasks().spawn(writer.write_on_and_on());
    if (random.coin()) process.tasks().spawn(writer.write_on_and_on());
    process.tasks().spawn(writer.keep_house());
    world.run_steps(random.below(random.below(4) == 0 ? 3000 : 300));
    if (::testing::Test::HasFailure()) return;
    switch (random.below(4)) {
      case 0:
        process.kill();  // the disks live on and do what they were given
        if (random.coin()) world.run_for(Duration::milliseconds(10));
        break;
      default:
        process.power_cut();
    }
  }
  *dropped += shelf.dropped;
}

TEST(JournalCrash, WhatSurvivesIsAPrefixThatHoldsAllThatWasDurable) {
  const std::uint64_t first = first_seed();
  std::uint64_t log_volumes_dropped = 0;
  for (std::uint64_t seed = first; seed < first + rounds(800, 60); ++seed) {
    run_one(seed, &log_volumes_dropped);
    if (HasFailure()) break;
  }
  EXPECT_GT(log_volumes_dropped, 0u);
}

TEST(JournalCrash, ACrashAtEveryStepOfAFreshJournal) {
  std::set<std::size_t> survivors;
  for (std::uint64_t steps = 0;; ++steps) {
    SCOPED_TRACE("steps " + std::to_string(steps));
    World world(11);
    sim::Disk disk(world, disk_bytes(8));
    Kept kept;
    bool ended = false;
    {
      SimulatedProcess process(world);
      process.use(disk);
      auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
      ASSERT_TRUE(made.ok());
      Journal& journal = process.own(std::move(made).value());
      go_on(journal, kept.model);
      process.tasks().spawn([](Journal* log, Kept* all) -> io::Task<void> {
        for (std::uint64_t i = 0; i < 8; ++i) {
          EXPECT_TRUE((co_await log->make_room(3, 0, Purpose::kData)).ok());
          ModelEntry expected{.kind = format::EntryKind::kWrite,
                              .volume = VolumeId{1},
                              .blocks = {i, i + 3},
                              .payload_seed = i,
                              .payload_blocks = 3};
          NewEntry entry{.kind = expected.kind,
                         .volume = expected.volume,
                         .blocks = expected.blocks,
                         .payload = pattern(i, 3)};
          const Appended done = log->append(std::move(entry));
          appended(all->model, expected, done);
          EXPECT_TRUE((co_await log->wait_durable(done.ticket)).ok());
          all->model.durable = all->model.entries.size();
        }
      }(&journal, &kept));
      ended = world.run_steps(steps) < steps;
      process.power_cut();
    }
    auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const auto checked = world.run(check_after_crash(**opened, kept));
    ASSERT_TRUE(checked.ok()) << checked.error().message;
    survivors.insert(kept.model.entries.size());
    if (ended) break;
  }
  EXPECT_EQ(survivors.size(), 9u) << "every prefix was seen";
}

constexpr std::uint32_t kMarkBytes = 3000;

// Room for it has been made.
io::Task<void> append_mark(Journal* log, Model* model) {
  ModelEntry expected{.kind = format::EntryKind::kMark, .body = std::vector<std::byte>(kMarkBytes)};
  NewEntry entry;
  entry.kind = expected.kind;
  entry.body = expected.body;
  appended(*model, expected, log->append(std::move(entry)));
  EXPECT_TRUE((co_await log->wait_durable(log->last_ticket())).ok());
  model->durable = model->entries.size();
}

// Fills the journal but for the segment that is kept for the snapshot.
io::Task<void> fill(Journal* log, Model* model) {
  while (true) {
    const auto room = co_await log->make_room(0, kMarkBytes, Purpose::kRelease);
    if (!room.ok()) co_return;
    co_await append_mark(log, model);
  }
}

io::Task<void> snapshot_and_free(Journal* log, Place place) {
  // What the snapshot of before allows, as the group does it.
  EXPECT_TRUE((co_await log->free_before(place)).ok());
  if (log->oldest().generation() == place.generation()) co_return;
  const std::vector<std::byte> state(40'000, std::byte{7});
  auto saved = co_await log->save_snapshot(state);
  EXPECT_TRUE(saved.ok()) << saved.error().message;
  auto freed = co_await log->free_before(place);
  EXPECT_TRUE(freed.ok());
}

// The last free segment is the snapshot's. However often one is cut off in it, the next finds room.
TEST(JournalCrash, AFullJournalCanBeFreedAfterAnyNumberOfSnapshotsCutOff) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    sim::Disk disk(world, disk_bytes(8));
    Kept kept;
    {
      auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
      ASSERT_TRUE(made.ok());
      go_on(**made, kept.model);
      world.run(fill(made->get(), &kept.model));
      EXPECT_EQ((*made)->status().segments_free, 1u);
    }
    std::uint64_t cut_off = 0;
    for (bool ended = false; !ended;) {
      SimulatedProcess process(world);
      process.use(disk);
      auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
      ASSERT_TRUE(opened.ok()) << opened.error().message;
      Journal& journal = process.own(std::move(opened).value());
      ASSERT_EQ(journal.last_appended(), kept.model.entries.back().id);
      process.tasks().spawn(snapshot_and_free(&journal, kept.model.entries.back().place));
      const std::uint64_t steps = 1 + world.random().below(40);
      ended = world.run_steps(steps) < steps || cut_off == 50;
      if (ended) world.run(process.tasks().join());
      ended = ended && journal.status().segments_free > 1;
      process.power_cut();
      ++cut_off;
    }
    EXPECT_LE(cut_off, 51u);
    auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_EQ((*opened)->snapshot(), std::vector<std::byte>(40'000, std::byte{7}));
    EXPECT_GE((*opened)->status().segments_free, 4u);
  }
}

io::Task<void> append_marks(Journal* log, Model* model, int count) {
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE((co_await log->make_room(0, kMarkBytes, Purpose::kData)).ok());
    co_await append_mark(log, model);
  }
}

// A journal that is opened, worked on, and cut off, again and again.
class CutOff {
 public:
  explicit CutOff(std::uint64_t seed) : world(seed), disk(world, disk_bytes(12)) {
    auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
    TM_ASSERT(made.ok());
    go_on(**made, kept.model);
    world.run(append_marks(made->get(), &kept.model, 10));
  }
  void live(io::Task<void> (*work)(Journal*, Kept*), std::uint64_t steps) {
    SimulatedProcess process(world);
    process.use(disk);
    auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    Journal& journal = process.own(std::move(opened).value());
    const auto all = world.run(check_scan(journal, kept.model, journal.oldest()));
    ASSERT_TRUE(all.ok()) << all.error().message;
    ASSERT_GE(all->end, kept.model.durable);
    kept.model.entries.resize(all->end);
    go_on(journal, kept.model);
    process.tasks().spawn(work(&journal, &kept));
    (void)world.run_steps(steps);
    process.power_cut();
  }
  static io::Task<void> snapshot(Journal* log, Kept*) {
    const std::vector<std::byte> state(180'000, std::byte{9});
    (void)co_await log->save_snapshot(state);
  }
  static io::Task<void> write(Journal* log, Kept* all) { co_await append_marks(log, &all->model, 40); }

  World world;
  sim::Disk disk;
  Kept kept;
};

// A snapshot of several segments is cut off; what comes next is written over the first of them, and cut off
// in its first write. What is left of the others must not speak for entries that nobody made.
TEST(JournalCrash, SegmentsThatWereGivenBackSayNothingAfterAnotherCrash) {
  std::uint64_t given_back = 0;
  for (std::uint64_t seed = 1; seed <= rounds(400, 40); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CutOff run(seed);
    ASSERT_NO_FATAL_FAILURE(run.live(CutOff::snapshot, 20 + run.world.random().below(25)));
    for (int again = 0; again < 3; ++again) {
      ASSERT_NO_FATAL_FAILURE(run.live(CutOff::write, 2 + run.world.random().below(6)));
    }
    auto opened = run.world.run(Journal::open(run.world.environment(), run.disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    given_back += (*opened)->snapshot().empty() ? 1 : 0;
  }
  EXPECT_GT(given_back, 0u);
}

// Found by the simulator: where segments were given back a second time, those of the first time counted
// again.
TEST(JournalCrash, SegmentsThatWereGivenBackStayVoidWhenOthersAre) {
  for (std::uint64_t seed = 1; seed <= rounds(3000, 300); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CutOff run(seed);
    for (int again = 0; again < 4; ++again) {
      ASSERT_NO_FATAL_FAILURE(run.live(CutOff::snapshot, 10 + run.world.random().below(35)));
      ASSERT_NO_FATAL_FAILURE(run.live(CutOff::write, 2 + run.world.random().below(40)));
    }
    auto opened = run.world.run(Journal::open(run.world.environment(), run.disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
  }
}

// Of the last frame its first sectors reached the disk, and the rest is zeroes: a frame that comes to the
// same place and is cut off too could leave just what is missing.
TEST(JournalCrash, NothingIsWrittenOverAFrameThatWasTornInItsFirstBlock) {
  CutOff run(1);
  const ModelEntry last = run.kept.model.entries.back();
  const Place place(last.place.generation(),
                    last.place.block() - 1);  // its payload, of which it has none, follows
  // In the first segment, which begins where docs/formats/journal.md says.
  const std::uint64_t at = (64 << 10) + place.block() * kBlockSizeBytes;
  std::vector<std::byte> frame(kBlockSizeBytes);
  run.disk.peek(at, frame);
  ASSERT_EQ(format::frame_place(frame), place);
  std::fill(frame.begin() + 512, frame.end(), std::byte{0});
  run.disk.poke(at, frame);
  auto opened = run.world.run(Journal::open(run.world.environment(), run.disk, small_options()));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ((*opened)->last_appended(), last.id.previous());
  run.kept.model.entries.pop_back();
  run.kept.model.durable = run.kept.model.entries.size();
  go_on(**opened, run.kept.model);
  run.world.run(append_marks(opened->get(), &run.kept.model, 1));
  EXPECT_GT(run.kept.model.entries.back().place.generation(), last.place.generation());
}

TEST(JournalCrash, ACreationCutShortLeavesAJournalOrNone) {
  for (std::uint64_t steps = 0; steps < 12; ++steps) {
    World world(steps);
    sim::Disk disk(world, disk_bytes(8));
    {
      SimulatedProcess process(world);
      process.use(disk);
      process.tasks().spawn([](io::Environment environment, sim::Disk* log) -> io::Task<void> {
        auto made = co_await Journal::create(environment, *log, test_group(), small_options());
        EXPECT_TRUE(made.ok());
      }(world.environment(), &disk));
      world.run_steps(steps);
      process.power_cut();
    }
    const auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    if (!opened.ok()) {
      EXPECT_TRUE(opened.error().code == ErrorCode::kNotFound || opened.error().code == ErrorCode::kDamaged)
          << opened.error().message;
    } else {
      EXPECT_TRUE((*opened)->last_appended().is_none());
    }
  }
}

}  // namespace
}  // namespace tidemark::journal
