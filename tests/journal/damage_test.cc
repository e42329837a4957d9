// Journals with a flipped bit: right data, or kDamaged, or a shorter tail above what was recorded durable.
// Never wrong bytes, and never less than that in silence.

#include "disk_in_front.h"
#include "format/journal_frame.h"
#include "journal_model.h"
#include "rounds.h"

namespace tidemark::journal {
namespace {

using sim::World;

// The bytes of a disk that hold a journal, and what is in it.
struct Image {
  std::vector<std::byte> bytes;
  Model model;
  std::size_t recorded = 0;  // entries that more than one place on disk tells to be durable
  std::size_t freed = 0;
};

constexpr std::uint32_t kSegments = 8;

// A few laps long, with a snapshot; one batch after the other, so that each tells of the one before it.
Image make_image(bool orderly) {
  Image image;
  World world(5);
  sim::SeededRandom random(5);
  sim::Disk disk(world, disk_bytes(kSegments));
  auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
  EXPECT_TRUE(made.ok());
  std::unique_ptr<Journal> journal = std::move(made).value();
  go_on(*journal, image.model);
  for (int i = 0; i < 60; ++i) {
    ModelEntry expected;
    NewEntry entry = random_entry(image.model, random, 4, expected);
    const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
    const auto body = static_cast<std::uint32_t>(entry.body.size());
    if (!world.run(journal->make_room(blocks, body, Purpose::kData)).ok()) {
      image.freed += (image.model.entries.size() - image.freed) / 2;
      EXPECT_TRUE(world.run(journal->save_snapshot(std::vector<std::byte>(5000, std::byte{3}))).ok());
      EXPECT_TRUE(world.run(journal->free_before(image.model.entries[image.freed].place)).ok());
      EXPECT_TRUE(world.run(journal->make_room(blocks, body, Purpose::kData)).ok());
    }
    appended(image.model, expected, journal->append(std::move(entry)));
    image.recorded = image.model.entries.size() - 2;
    EXPECT_TRUE(world.run(journal->wait_durable(journal->last_ticket())).ok());
  }
  EXPECT_GT(image.freed, 0u);
  if (orderly) {
    world.run_for(Duration::seconds(1));
    EXPECT_TRUE(world.run(journal->close()).ok());
    image.recorded = image.model.entries.size();
  }
  journal.reset();
  image.bytes.resize(disk_bytes(kSegments));
  disk.peek(0, image.bytes);
  return image;
}

struct Outcomes {
  int whole = 0;
  int damaged = 0;
  int shorter = 0;
};

void check_flip(const Image& image, std::uint64_t at, unsigned bit, Outcomes& outcomes) {
  SCOPED_TRACE("byte " + std::to_string(at) + " bit " + std::to_string(bit));
  World world(1);
  sim::Disk disk(world, disk_bytes(kSegments));
  disk.poke(0, image.bytes);
  disk.flip_bit(at, bit);
  auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
  if (!opened.ok()) {
    EXPECT_EQ(opened.error().code == ErrorCode::kUnsupported ? ErrorCode::kDamaged : opened.error().code,
              ErrorCode::kDamaged)
        << opened.error().message;
    ++outcomes.damaged;
    return;
  }
  Journal& journal = **opened;
  EXPECT_EQ(journal.snapshot(), std::vector<std::byte>(5000, std::byte{3}));
  const auto run = world.run(check_scan(journal, image.model, journal.oldest()));
  if (!run.ok()) {
    EXPECT_EQ(run.error().code, ErrorCode::kDamaged) << run.error().message;
    ++outcomes.damaged;
    return;
  }
  EXPECT_LE(run->first, image.freed) << "nothing is missing at the old end";
  EXPECT_GE(run->end, image.recorded);
  ++(run->end == image.model.entries.size() ? outcomes.whole : outcomes.shorter);
}

Outcomes check_flips(const Image& image, std::uint64_t step) {
  Outcomes outcomes;
  for (std::uint64_t at = 0; at < image.bytes.size(); at += step) {
    // Every byte of headers and metas; of payload, padding and free space a sample.
    const std::byte* block = image.bytes.data() + at / kBlockSizeBytes * kBlockSizeBytes;
    const bool is_head = std::memcmp(block, "TM", 2) == 0 && at % kBlockSizeBytes < 200;
    if (!is_head && at % (step * 300) != 0) continue;
    check_flip(image, at, static_cast<unsigned>(at * 5 % 8), outcomes);
    if (::testing::Test::HasFailure()) break;
  }
  return outcomes;
}

constexpr std::uint64_t kStep = rounds(1, 37);  // the slow ones look at a sample

TEST(JournalDamage, AFlippedBitInAJournalClosedInOrderIsNeverSilent) {
  const Image image = make_image(true);
  const Outcomes outcomes = check_flips(image, kStep);
  EXPECT_GT(outcomes.whole, 0) << "free space does not matter";
  EXPECT_GT(outcomes.damaged, 0);
  EXPECT_EQ(outcomes.shorter, 0) << "everything was recorded to be durable";
}

TEST(JournalDamage, AFlippedBitAfterACrashCutsNoMoreThanTheLastBatches) {
  const Image image = make_image(false);
  const Outcomes outcomes = check_flips(image, kStep);
  EXPECT_GT(outcomes.whole, 0);
  EXPECT_GT(outcomes.damaged, 0);
  EXPECT_GT(outcomes.shorter, 0) << "the last batch may have been torn";
}

TEST(JournalDamage, OneBadSuperblockIsReplacedByTheOther) {
  const Image image = make_image(true);
  for (const std::uint64_t slot : {0u, 1u}) {
    World world(1);
    sim::Disk disk(world, disk_bytes(kSegments));
    disk.poke(0, image.bytes);
    disk.flip_bit(slot * kBlockSizeBytes + 100, 1);
    auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const auto run = world.run(check_scan(**opened, image.model, (*opened)->oldest()));
    ASSERT_TRUE(run.ok()) << run.error().message;
    EXPECT_EQ(run->end, image.model.entries.size());
  }
  World world(1);
  sim::Disk disk(world, disk_bytes(kSegments));
  disk.poke(0, image.bytes);
  disk.flip_bit(100, 1);
  disk.flip_bit(kBlockSizeBytes + 100, 1);
  EXPECT_EQ(world.run(Journal::open(world.environment(), disk, small_options())).error().code,
            ErrorCode::kDamaged);
}

// A disk that has what lay on it before it was damaged, once more.
class TwoCopies final : public DiskInFront {
 public:
  TwoCopies(sim::Disk& disk, const std::vector<std::byte>& other) : DiskInFront(disk), other_(other) {}
  io::Task<Result<void>> read_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override {
    std::memcpy(out.data(), other_.data() + offset.value, out.size());
    if (!is_right(out)) co_return fail(ErrorCode::kDamaged, "neither is right");
    std::vector<Buffer> pieces{out};
    co_return co_await disk_.write(offset, std::move(pieces), io::Durability::kDurable);
  }

 private:
  const std::vector<std::byte>& other_;
};

TEST(JournalDamage, BadSuperblocksAreReadFromAnotherCopyOfTheDisk) {
  const Image image = make_image(true);
  World world(1);
  sim::Disk disk(world, disk_bytes(kSegments));
  disk.poke(0, image.bytes);
  disk.flip_bit(100, 1);
  disk.flip_bit(kBlockSizeBytes + 100, 1);
  TwoCopies both(disk, image.bytes);
  auto opened = world.run(Journal::open(world.environment(), both, small_options()));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const auto run = world.run(check_scan(**opened, image.model, (*opened)->oldest()));
  ASSERT_TRUE(run.ok()) << run.error().message;
  EXPECT_EQ(run->end, image.model.entries.size());
}

TEST(JournalDamage, ALogVolumeThatShrankIsDamage) {
  const Image image = make_image(true);
  World world(1);
  sim::Disk disk(world, disk_bytes(kSegments));
  disk.poke(0, image.bytes);
  disk.shrink(disk_bytes(kSegments - 1));
  EXPECT_EQ(world.run(Journal::open(world.environment(), disk, small_options())).error().code,
            ErrorCode::kDamaged);
}

TEST(JournalDamage, RandomBytesInThePlaceOfAJournalAreNeverAccepted) {
  const Image image = make_image(true);
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    World world(seed);
    sim::SeededRandom random(seed);
    sim::Disk disk(world, disk_bytes(kSegments));
    disk.poke(0, image.bytes);
    // The superblocks stay; the rest becomes rubbish, block by block.
    for (std::uint64_t block = 16; block < image.bytes.size() / kBlockSizeBytes; ++block) {
      if (random.coin()) continue;
      disk.poke(block * kBlockSizeBytes, pattern(random.next(), 1));
    }
    const auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, ErrorCode::kDamaged);
  }
}

// Found by the fuzz target: a generation that a place cannot hold.
TEST(JournalDamage, AGenerationThatCannotHaveBeenReachedIsDamage) {
  World world(5);
  sim::Disk disk(world, disk_bytes(8));
  ASSERT_TRUE(world.run(Journal::create(world.environment(), disk, test_group(), small_options())).ok());
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  disk.peek(0, block.writable());
  auto superblock = format::decode_journal_superblock(block);
  ASSERT_TRUE(superblock.ok());
  superblock->oldest_generation = Place::kGenerationMax - 3;
  for (std::uint64_t slot = 0; slot < 2; ++slot) {
    disk.poke(slot * kBlockSizeBytes, format::encode_journal_superblock(*superblock));
  }
  const auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
  EXPECT_EQ(opened.error().code, ErrorCode::kDamaged) << opened.error().message;
}

}  // namespace
}  // namespace tidemark::journal
