// What lies on a log volume around the batches: the superblock, frames with their meta, and the two metas of
// the journal's own. A frame's checksum covers as much as its header says, so it is set right by that length.
#include <cstring>

#include "format/journal_frame.h"
#include "fuzz/fuzz.h"

namespace tidemark::format {
namespace {

constexpr Place kPlace(3, 17);
constexpr GroupIdentity kGroup{{1, 2, 3}};

void try_frame(Bytes block, Bytes overflow) {
  const auto header = decode_frame_header(block, kGroup, kPlace);
  if (!header.ok()) return;
  TM_ASSERT(frame_place(block) == kPlace);
  TM_ASSERT(header->blocks() <= 1 + kFrameBlocksMax + kFrameMetaBytesMax / kBlockSizeBytes);
  const auto meta = decode_frame_meta(*header, block, overflow);
  if (!meta.ok()) return;
  const EncodedFrame again = encode_frame(*header, *meta);
  const auto header_again = decode_frame_header(again.first, kGroup, kPlace);
  TM_ASSERT(header_again.ok());
  TM_ASSERT(header_again->kind == header->kind && header_again->durable_end == header->durable_end);
  TM_ASSERT(header_again->payload_blocks == header->payload_blocks);
  const auto meta_again = decode_frame_meta(*header_again, again.first, again.overflow);
  TM_ASSERT(meta_again.ok() && *meta_again == *meta);
}

// A frame whose meta fills the first block and half of another: both, without the payload between them.
std::vector<std::byte> example_frame() {
  const std::vector<std::byte> meta(kBlockSizeBytes * 3 / 2, std::byte{0x5a});
  const EncodedFrame frame = encode_frame({.kind = FrameKind::kBatch,
                                           .group = kGroup,
                                           .place = kPlace,
                                           .meta_bytes = static_cast<std::uint32_t>(meta.size()),
                                           .payload_blocks = 1,
                                           .durable_end = Place(3, 1)},
                                          meta);
  std::vector<std::byte> bytes(frame.first.size() + frame.overflow.size());
  std::memcpy(bytes.data(), frame.first.data(), frame.first.size());
  std::memcpy(bytes.data() + frame.first.size(), frame.overflow.data(), frame.overflow.size());
  return bytes;
}

void try_frames(Bytes input) {
  static const std::vector<std::byte> example = example_frame();
  (void)frame_place(input);
  try_frame(input, {});
  std::vector<std::byte> bytes = fuzz::laid_over(example, input);
  const MutableBytes block = MutableBytes(bytes).first(kBlockSizeBytes);
  const Bytes overflow = Bytes(bytes).subspan(kBlockSizeBytes);
  const auto header = decode_frame_header(block, kGroup, kPlace);
  if (!header.ok()) return;
  try_frame(block, overflow);
  const std::size_t first = std::min<std::size_t>(header->meta_bytes, kBlockSizeBytes - kFrameHeaderBytes);
  const std::size_t rest = std::min(header->meta_bytes - first, overflow.size());
  std::uint32_t checksum = crc32c(block.first(kFrameHeaderBytes - 4));
  checksum = crc32c_extend(checksum, block.subspan(kFrameHeaderBytes, first));
  checksum = crc32c_extend(checksum, overflow.first(rest));
  fuzz::put_u32(block, kFrameHeaderBytes - 4, checksum);
  try_frame(block, overflow);
}

Buffer example_superblock(std::vector<FurtherLogVolume> further) {
  JournalSuperblock superblock;
  superblock.sequence = 1;
  superblock.segment_size_bytes = 256 << 10;
  superblock.segment_count = 8;
  superblock.local_record.resize(5);
  superblock.further = std::move(further);
  return encode_journal_superblock(superblock);
}

void try_superblock(Bytes input) {
  static const Buffer of_one_volume = example_superblock({});
  static const Buffer of_several =
      example_superblock({{LuNumber{7}, 8, 2, true}, {LuNumber{8}, 12, 3, false}});
  fuzz::check_stable(input, decode_journal_superblock, encode_journal_superblock);
  for (const Buffer& example : {of_one_volume, of_several}) {
    std::vector<std::byte> bytes =
        fuzz::laid_over(example, input.first(std::min<std::size_t>(input.size(), kBlockSizeBytes)));
    fuzz::seal(bytes);
    fuzz::check_stable(bytes, decode_journal_superblock, encode_journal_superblock);
  }
}

void try_metas(Bytes bytes) {
  fuzz::check_exact(bytes, decode_segment_start, encode_segment_start);
  fuzz::check_exact(bytes, decode_snapshot_part, encode_snapshot_part);
}

}  // namespace
}  // namespace tidemark::format

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::format;
  const tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try_frames(input);
  try_superblock(input);
  try_metas(input);
  try_metas(tidemark::fuzz::laid_over(encode_segment_start({}), input));
  try_metas(tidemark::fuzz::laid_over(encode_snapshot_part({.parts = 1}), input));
  return 0;
}
