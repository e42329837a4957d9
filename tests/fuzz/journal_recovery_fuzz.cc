// The recovery of a journal whose blocks were changed by somebody who knows the checksums. A good journal of
// a few laps is made once; each record of the input changes some bytes of one of its blocks that say
// something, and then every checksum of that block is set right, unless the record asks for damage. The
// journal opens, or says why not; one that opens can be read from end to end, or says what cannot be; and
// takes entries, which are there when it is opened again. What is behind the last record chooses another
// journal, or says which read fails.
#include <cstring>
#include <memory>

#include "format/journal_frame.h"
#include "fuzz/fuzz.h"
#include "journal/journal.h"
#include "sim/disk.h"
#include "sim/world.h"

namespace tidemark::journal {
namespace {

constexpr std::uint32_t kSegments = 8;
constexpr std::uint64_t kSegmentBytes = 64 << 10;
constexpr std::uint64_t kDiskBytes = (64 << 10) + kSegments * kSegmentBytes;
constexpr LuNumber kFurther{7};  // a second log volume
constexpr std::uint64_t kFurtherBytes = 4 * kSegmentBytes;
constexpr std::size_t kRecordBytes = 16;  // which block, how, where in it, how many bytes, the bytes
constexpr std::size_t kRecordsMax = 32;
constexpr GroupIdentity kGroup{{1, 2, 3}};

JournalOptions options() {
  return {.segment_size_bytes = kSegmentBytes,
          .recent_bytes_max = 96 << 10,
          .batches_in_flight_max = 3,
          .batch_bytes_usual_max = 24 << 10};
}

NewEntry entry_of(std::uint32_t number) {
  NewEntry entry;
  if (number % 4 == 3) {
    entry.kind = format::EntryKind::kMark;
    entry.body.resize(number % 60);
    return entry;
  }
  entry.kind = number % 4 == 2 ? format::EntryKind::kZero : format::EntryKind::kWrite;
  entry.volume.value = 1;
  entry.blocks = {number, number + 1 + number % 3};
  if (entry.kind == format::EntryKind::kWrite) {
    entry.payload = Buffer::allocate(entry.blocks.count() * kBlockSizeBytes);
    std::memset(entry.payload.data(), static_cast<int>(number), entry.payload.size());
  }
  return entry;
}

io::Task<Result<void>> append(Journal* journal, std::uint32_t number) {
  NewEntry entry = entry_of(number);
  const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
  const auto body = static_cast<std::uint32_t>(entry.body.size());
  TM_CO_TRY(co_await journal->make_room(blocks, body, Purpose::kData));
  const std::uint64_t ticket = journal->append(std::move(entry)).ticket;
  co_return co_await journal->wait_durable(ticket);
}

// The log volumes of the journal.
struct Disks {
  explicit Disks(sim::World& world) : first(world, kDiskBytes), further(world, kFurtherBytes) {}
  FindLogVolume finder() {
    return [this](LuNumber number) -> Result<io::Disk*> {
      if (number != kFurther) return fail(ErrorCode::kDamaged, "there is no such log volume");
      return &further;
    };
  }
  io::Task<Result<std::unique_ptr<Journal>>> open(sim::World& world) {
    return Journal::open(world.environment(), first, options(), finder());
  }
  sim::Disk first;
  sim::Disk further;
};

// One after the other.
struct Image {
  std::vector<std::byte> bytes = std::vector<std::byte>(kDiskBytes + kFurtherBytes);
  std::vector<std::uint64_t> told;  // the offsets of its superblocks and frames, in bytes
};

Image image_of(const Disks& disks) {
  Image image;
  disks.first.peek(0, MutableBytes(image.bytes).first(kDiskBytes));
  disks.further.peek(0, MutableBytes(image.bytes).subspan(kDiskBytes));
  for (std::uint64_t at = 0; at < image.bytes.size(); at += kBlockSizeBytes) {
    if (at < 2 * kBlockSizeBytes ||
        !(format::frame_place(Bytes(image.bytes).subspan(at, kBlockSizeBytes)) == Place{}))
      image.told.push_back(at);
  }
  return image;
}

// Nothing was ever appended.
Image make_fresh_image() {
  sim::World world(1);
  Disks disks(world);
  TM_ASSERT(world.run(Journal::create(world.environment(), disks.first, kGroup, options())).ok());
  return image_of(disks);
}

io::Task<void> save_large_snapshot(Journal* journal) {
  const std::vector<std::byte> state(180'000, std::byte{3});
  (void)co_await journal->save_snapshot(state);
}

// The power went in the middle of a snapshot that takes several segments: a recovery gives these back.
Image make_image_of_a_cut_off_snapshot() {
  constexpr std::uint64_t kSteps = 40;  // two of its segments are on the disk
  sim::World world(1);
  Disks disks(world);
  auto made = world.run(Journal::create(world.environment(), disks.first, kGroup, options()));
  TM_ASSERT(made.ok());
  (*made)->begin_epoch({{4, 5, 6}}, LogId(Epoch{1}, 1), 0, WallTime{});
  for (std::uint32_t number = 0; number < 10; ++number)
    TM_ASSERT(world.run(append(made->get(), number)).ok());
  io::TaskScope scope(world);
  scope.spawn(save_large_snapshot(made->get()));
  (void)world.run_steps(kSteps);
  scope.cancel_all();
  made->reset();
  disks.first.crash();
  return image_of(disks);
}

// Two laps, with a snapshot in between; the last batches are vouched for by nothing, as after a power cut.
Image make_image() {
  sim::World world(1);
  Disks disks(world);
  auto made = world.run(Journal::create(world.environment(), disks.first, kGroup, options()));
  TM_ASSERT(made.ok());
  Journal& journal = **made;
  TM_ASSERT(world.run(journal.add_log_volume(kFurther, disks.further)).ok());
  TM_ASSERT(world.run(journal.save_local_record(std::vector<std::byte>(9, std::byte{7}))).ok());
  journal.begin_epoch({{4, 5, 6}}, LogId(Epoch{1}, 1), 0, WallTime{});
  std::vector<Place> ends;
  for (std::uint32_t number = 0; number < 130; ++number) {
    if (!world.run(append(&journal, number)).ok()) {
      TM_ASSERT(world.run(journal.save_snapshot(std::vector<std::byte>(5000, std::byte{3}))).ok());
      TM_ASSERT(world.run(journal.free_before(ends[ends.size() / 2 + 10])).ok());
      TM_ASSERT(world.run(append(&journal, number)).ok());
    }
    ends.push_back(journal.durable_end());
  }
  Image image = image_of(disks);
  TM_ASSERT(image.told.size() > 30);
  return image;
}

// The checksum of a batch's own meta, then the frame's, of a frame whose meta lies in its first block.
void seal_frame(MutableBytes block) {
  const auto header = format::decode_frame_header(block, kGroup, format::frame_place(block));
  if (!header.ok() || header->meta_bytes > kBlockSizeBytes - format::kFrameHeaderBytes) return;
  const MutableBytes meta = block.subspan(format::kFrameHeaderBytes, header->meta_bytes);
  if (header->kind == format::FrameKind::kBatch) fuzz::seal(meta);
  const std::uint32_t checksum = crc32c_extend(crc32c(block.first(format::kFrameHeaderBytes - 4)), meta);
  fuzz::put_u32(block, format::kFrameHeaderBytes - 4, checksum);
}

std::vector<std::byte> changed_image(const Image& image, Bytes input) {
  std::vector<std::byte> bytes = image.bytes;
  for (std::size_t n = 0; n < kRecordsMax && input.size() >= kRecordBytes; ++n) {
    const Bytes record = input.first(kRecordBytes);
    input = input.subspan(kRecordBytes);
    const auto byte = [&record](std::size_t i) { return static_cast<unsigned>(record[i]); };
    const std::uint64_t at = image.told[(byte(0) | byte(1) << 8) % image.told.size()];
    const MutableBytes block = MutableBytes(bytes).subspan(at, kBlockSizeBytes);
    // Mostly what lies at the beginning: header and meta.
    const std::size_t where = (byte(3) | (byte(2) & 15u) << 8) % (byte(2) < 128 ? 256 : kBlockSizeBytes);
    const std::size_t count =
        std::min<std::size_t>({1 + byte(4) % 11, kBlockSizeBytes - where, kRecordBytes - 5});
    std::memcpy(block.data() + where, record.data() + 5, count);
    if (byte(4) > 250) continue;  // damage
    if (at < 2 * kBlockSizeBytes) {
      fuzz::seal(block);
    } else {
      seal_frame(block);
    }
  }
  return bytes;
}

io::Task<Result<void>> read_all(Journal* journal) {
  Place from = journal->oldest();
  while (true) {
    TM_CO_TRY_ASSIGN(const std::optional<StoredBatch> batch, co_await journal->scan(from));
    if (!batch.has_value()) co_return Result<void>{};
    TM_ASSERT(batch->place >= from && batch->next > batch->place);
    from = batch->next;
    (void)co_await journal->read_payload(*batch);
    if (from.raw() % 8 != 0) continue;  // each of these looks through many frames
    (void)co_await journal->find(batch->meta.first);
    (void)co_await journal->find_time(batch->meta.first.epoch(), 1, batch->meta.last().sequence(),
                                      batch->meta.entries.front().timer);
  }
}

void go_on_and_reopen(sim::World& world, Disks& disks, Journal& journal) {
  const LogId last = journal.last_appended();
  if (last.is_none()) {
    journal.begin_epoch({{4, 5, 6}}, LogId(Epoch{1}, 1), 0, WallTime{});
  } else {
    if (last.sequence() + 10 > kSequenceMax) return;  // the group refuses to go on there
    journal.begin_epoch({{4, 5, 6}}, last.next(), journal.checksum_of_last(), WallTime{});
  }
  if (!world.run(append(&journal, 1000)).ok()) return;
  const LogId appended = journal.last_appended();
  if (!world.run(journal.close()).ok()) return;
  auto again = world.run(disks.open(world));
  TM_ASSERT(again.ok());
  TM_ASSERT((*again)->last_appended() == appended);
}

}  // namespace
}  // namespace tidemark::journal

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark;
  using namespace tidemark::journal;
  static const Image used = make_image();
  static const Image fresh = make_fresh_image();
  static const Image cut_off = make_image_of_a_cut_off_snapshot();
  const std::size_t behind = size % kRecordBytes;
  const Image& image = behind == 2 ? fresh : behind == 3 ? cut_off : used;
  sim::World world(1);
  Disks disks(world);
  const std::vector<std::byte> bytes = changed_image(image, {reinterpret_cast<const std::byte*>(data), size});
  disks.first.poke(0, Bytes(bytes).first(kDiskBytes));
  disks.further.poke(0, Bytes(bytes).subspan(kDiskBytes));
  if (behind == 1) disks.first.fail_read_after(1 + data[size - 1]);
  auto opened = world.run(disks.open(world));
  disks.first.forget_planned_faults();
  if (!opened.ok()) return 0;
  std::unique_ptr<Journal> journal = std::move(opened).value();
  if (!world.run(read_all(journal.get())).ok()) return 0;
  go_on_and_reopen(world, disks, *journal);
  return 0;
}
