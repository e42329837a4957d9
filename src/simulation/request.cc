#include "simulation/request.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "sim/random.h"
#include "simulation/machine.h"

namespace tidemark::simulation {
namespace {

std::string export_name(std::size_t volume) {
  return std::string(kGroup) + "/" + kVolumes[volume];
}

// What stands at a place of half a block of this number: the number itself over and over, and for one number
// of four a sequence of its own that cannot be compressed.
std::uint32_t word_of(std::uint32_t number, std::size_t place) {
  if (number % 4 != 3) return number;
  if (place == 0) return number;
  std::uint64_t state = std::uint64_t{number} << 32 | place;
  return static_cast<std::uint32_t>(sim::split_mix(state));
}

Buffer numbered_blocks(std::uint32_t first_value, std::uint64_t count) {
  Buffer data = Buffer::allocate(count * kBlockSizeBytes);
  for (std::size_t at = 0; at < data.size(); at += sizeof first_value) {
    const auto number = static_cast<std::uint32_t>(first_value + at / kBlockSizeBytes);
    const std::uint32_t word = word_of(number, at % kHalfBytes);
    std::memcpy(data.data() + at, &word, sizeof word);
  }
  return data;
}

// The number of half a block; UINT32_MAX when it is not what one number has everywhere.
std::uint32_t number_of(Bytes half) {
  std::uint32_t number = 0;
  std::memcpy(&number, half.data(), sizeof number);
  for (std::size_t at = 0; at < half.size(); at += sizeof number) {
    const std::uint32_t word = word_of(number, at);
    if (std::memcmp(half.data() + at, &word, sizeof word) != 0) return UINT32_MAX;
  }
  return number;
}

io::Task<Result<void>> change_blocks(node::Node* node, Request request) {
  TM_CO_TRY_ASSIGN(const std::unique_ptr<nbd::BlockTarget> target,
                   co_await node->open(export_name(request.volume), "host"));
  if (request.kind == Request::Kind::kFlush) co_return co_await target->flush();
  if (target->info().read_only) co_return fail(ErrorCode::kReadOnly, "the export is read-only");
  const std::uint64_t offset = request.blocks.begin * kBlockSizeBytes;
  const std::uint64_t length = request.blocks.count() * kBlockSizeBytes;
  if (request.kind == Request::Kind::kTrim) co_return co_await target->trim(offset, length, request.fua);
  if (request.kind == Request::Kind::kWriteZeroes) {
    co_return co_await target->write_zeroes(offset, length, request.first_value % 2 == 0, request.fua);
  }
  const std::uint64_t lead = request.skips_first_half ? kHalfBytes : 0;
  const std::uint64_t tail = request.skips_last_half ? kHalfBytes : 0;
  Buffer data =
      numbered_blocks(request.first_value, request.blocks.count()).slice(lead, length - lead - tail);
  co_return co_await target->write(offset + lead, std::move(data), request.fua);
}

}  // namespace

std::string Request::to_string() const {
  std::string place = kVolumes[volume];
  place.append(" [")
      .append(std::to_string(blocks.begin))
      .append(", ")
      .append(std::to_string(blocks.end))
      .append(")");
  if (skips_first_half) place.append(" but the first half block");
  if (skips_last_half) place.append(" but the last half block");
  if (fua) place.append(" fua");
  switch (kind) {
    case Kind::kWrite:
      return "write " + place + " from number " + std::to_string(first_value);
    case Kind::kTrim:
      return "trim " + place;
    case Kind::kWriteZeroes:
      return "write-zeroes " + place;
    case Kind::kFlush:
      return "flush";
    case Kind::kMark:
      return "mark " + text;
    case Kind::kRestore:
      return "restore " + text + (from_peer ? " from the peer" : "");
  }
  return {};
}

Image Request::applied_to(const Image& before, std::uint64_t volume_blocks) const {
  Image after = before;
  const std::uint64_t begin = blocks.begin * kHalves + (skips_first_half ? 1 : 0);
  const std::uint64_t end = blocks.end * kHalves - (skips_last_half ? 1 : 0);
  for (std::uint64_t half = begin; half < end; ++half) {
    const auto value = static_cast<std::uint32_t>(first_value + (half / kHalves - blocks.begin));
    after[volume * volume_blocks * kHalves + half] = kind == Kind::kWrite ? value : 0;
  }
  return after;
}

bool shows(const Image& image, std::size_t volume, std::uint64_t volume_blocks, BlockRange blocks,
           const std::vector<std::uint32_t>& checksums) {
  for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
    const std::size_t first = (volume * volume_blocks + block) * kHalves;
    std::uint32_t checksum = 0;
    bool zero = true;
    for (std::size_t half = 0; half < kHalves; ++half) {
      zero = zero && image[first + half] == 0;
      // A number all over.
      const Buffer bytes = numbered_blocks(image[first + half], 1).slice(0, kHalfBytes);
      checksum = crc32c_extend(checksum, bytes);
    }
    const bool same = checksums.empty() ? zero : checksums[block - blocks.begin] == checksum;
    if (!same) return false;
  }
  return true;
}

io::Task<Result<void>> carry_out(node::Node* node, Request request) {
  if (request.kind == Request::Kind::kMark) {
    control::MarkCreateRequest mark;
    mark.group = kGroup;
    mark.id = request.text;
    auto made = co_await node->mark_create(mark);
    if (!made.ok()) co_return std::move(made).error();
    if (made->provisional) {
      // Taken by a secondary that cannot ask: it has no place in the order yet.
      co_return fail(ErrorCode::kReadOnly, "mark '" + request.text + "' is provisional");
    }
    co_return Result<void>{};
  }
  if (request.kind == Request::Kind::kRestore) {
    control::RestoreRequest restore;
    restore.group = kGroup;
    restore.point = request.text;
    restore.from_peer = request.from_peer;
    auto restored = co_await node->restore(restore);
    if (!restored.ok()) co_return std::move(restored).error();
    co_return Result<void>{};
  }
  co_return co_await change_blocks(node, std::move(request));
}

io::Task<Result<Image>> read_target(nbd::BlockTarget* target) {
  Image image;
  Buffer out = Buffer::allocate(target->info().size_bytes);
  TM_CO_TRY(co_await target->read(0, out));
  for (std::size_t at = 0; at < out.size(); at += kHalfBytes) {
    image.push_back(number_of(Bytes(out).subspan(at, kHalfBytes)));
  }
  co_return image;
}

io::Task<Result<Image>> read_image(node::Node* node, std::string point) {
  Image image;
  for (std::size_t volume = 0; volume < kVolumeCount; ++volume) {
    std::string name = export_name(volume);
    if (point != "head") name.append("@").append(point);
    TM_CO_TRY_ASSIGN(const std::unique_ptr<nbd::BlockTarget> target, co_await node->open(name, "reader"));
    TM_CO_TRY_ASSIGN(const Image one, co_await read_target(target.get()));
    image.insert(image.end(), one.begin(), one.end());
  }
  co_return image;
}

}  // namespace tidemark::simulation
