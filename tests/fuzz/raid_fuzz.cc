// What lies on the members of a RAID group: whatever decodes must encode to the same bytes, and stay within
// the group.
#include "format/raid.h"
#include "fuzz/fuzz.h"

namespace tidemark::format {
namespace {

constexpr RaidIdentity kRaid{{1, 2, 3}};

std::vector<std::byte> block_of(std::size_t size, auto encode) {
  std::vector<std::byte> block(size);
  encode(MutableBytes(block));
  return block;
}

RaidLabel example_label() {
  RaidLabel label;
  label.raid = kRaid;
  label.size_bytes = 1ull << 30;
  label.index = 1;
  label.name = "r1";
  label.shape = *make_raid_shape(RaidLevel::k5, 4, 65536, label.size_bytes);
  return label;
}

void try_sector(Bytes sector) {
  fuzz::check_same(
      sector, [](Bytes bytes) { return decode_raid_label(bytes, 1); },
      [](const RaidLabel& label) {
        TM_ASSERT(label.shape.data_offset + label.shape.member_bytes <= label.size_bytes);
        return block_of(kRaidSectorBytes, [&](MutableBytes out) { encode_raid_label(label, 1, out); });
      });
  fuzz::check_same(
      sector, [](Bytes bytes) { return decode_journal_trim(bytes, kRaid); },
      [](const std::uint64_t& sequence) {
        return block_of(kRaidSectorBytes,
                        [&](MutableBytes out) { encode_journal_trim(kRaid, sequence, out); });
      });
  const auto regions = decode_intent_sector(sector, kRaid, 1);
  if (!regions.ok()) return;
  for (const std::uint64_t region : *regions) TM_ASSERT(region / kIntentBitsPerSector == 1);
}

void try_block(Bytes block) {
  fuzz::check_same(
      block, [](Bytes bytes) { return decode_raid_state(bytes, kRaid, 1); },
      [](const RaidState& state) {
        return block_of(kBlockSizeBytes, [&](MutableBytes out) { encode_raid_state(state, 1, out); });
      });
  const RaidShape shape = example_label().shape;
  fuzz::check_same(
      block, [&shape](Bytes bytes) { return decode_stripe_entry(bytes, kRaid, shape, 4096); },
      [&shape](const StripeEntry& entry) {
        for (const JournalExtent& extent : entry.extents) {
          TM_ASSERT(extent.offset + extent.length_bytes <= shape.member_bytes);
        }
        return block_of(kBlockSizeBytes, [&](MutableBytes out) { encode_stripe_entry(entry, kRaid, out); });
      });
}

RaidState example_state() {
  RaidState state;
  state.raid = kRaid;
  state.event = 2;
  state.members.resize(4);
  return state;
}

StripeEntry example_entry() {
  StripeEntry entry;
  entry.position = 4096;
  entry.extents.resize(2);
  for (JournalExtent& extent : entry.extents) extent.length_bytes = 4096;
  return entry;
}

}  // namespace
}  // namespace tidemark::format

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark;
  using namespace tidemark::format;
  if (size < 1) return 0;
  const Bytes input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  std::vector<std::byte> bytes;
  switch (data[0] % 4) {
    case 0:
      bytes =
          block_of(kRaidSectorBytes, [](MutableBytes out) { encode_raid_label(example_label(), 1, out); });
      break;
    case 1:
      bytes = block_of(kRaidSectorBytes, [](MutableBytes out) { encode_journal_trim(kRaid, 7, out); });
      break;
    case 2:
      bytes = block_of(kBlockSizeBytes, [](MutableBytes out) { encode_raid_state(example_state(), 1, out); });
      break;
    default:
      bytes = block_of(kBlockSizeBytes,
                       [](MutableBytes out) { encode_stripe_entry(example_entry(), kRaid, out); });
  }
  bytes = fuzz::laid_over(bytes, input.first(std::min(input.size(), bytes.size())));
  fuzz::seal(bytes);
  if (bytes.size() == kRaidSectorBytes) {
    try_sector(bytes);
  } else {
    try_block(bytes);
  }
  return 0;
}
