#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/place.h"
#include "base/result.h"
#include "index/extent.h"
#include "index/memory_table.h"

// Keys and values of the runs: docs/formats/index.md.

namespace tidemark::index {

inline constexpr std::uint32_t kRunFormatVersion = 1;

// volume (4), size class (1), extent (8), ~log id (8): all big-endian, so that bytes sort as we do.
inline constexpr std::size_t kRunKeySize = 21;
// What all versions of one extent share, and what the filters know.
inline constexpr std::size_t kRunKeyPrefixSize = 13;
static_assert(kRunKeySize == 4 + 1 + 8 + 8 && kRunKeyPrefixSize == kRunKeySize - 8);

using RunKey = std::array<char, kRunKeySize>;
RunKey encode_run_key(VolumeId volume, unsigned size_class, std::uint64_t extent, std::uint64_t id_raw);

struct DecodedRunKey {
  VolumeId volume{};
  unsigned size_class = 0;
  std::uint64_t extent = 0;
  std::uint64_t id_raw = 0;
};
// False when `key` is not one of an extent.
bool decode_run_key(std::string_view key, DecodedRunKey& out);

// kind (1), place (8), then for data one checksum (4) a block of the extent: little-endian.
inline constexpr std::size_t kRunValueHeaderSize = 9;
void encode_run_value(EntryKind kind, std::uint64_t place_raw, std::span<const std::uint32_t> checksums,
                      std::string& out);

struct DecodedRunValue {
  EntryKind kind = EntryKind::kZero;
  std::uint64_t place_raw = 0;
  std::vector<std::uint32_t> checksums;
};
// False when `value` cannot be that of an extent of this size class.
bool decode_run_value(std::string_view value, unsigned size_class, DecodedRunValue& out);
// The place alone; 0 when `value` is too short to have one.
std::uint64_t place_of_run_value(std::string_view value);

// Goes into every run under the shortest key of all, so that a run and what is said of it appear together.
inline constexpr std::string_view kRunMetaKey{"\0", 1};

// What is known of all runs together.
struct RunMeta {
  Place resume{};
  EpochSpans epochs{};
  std::map<std::uint32_t, std::uint8_t>
      size_classes{};  // by volume: bit n is set when class n has ever had a key
  bool operator==(const RunMeta&) const = default;
};
std::string encode_run_meta(const RunMeta& meta);
// kUnsupported for another version or another cut of extents, kDamaged when the checksum or a field is wrong.
Result<RunMeta> decode_run_meta(std::string_view bytes);

}  // namespace tidemark::index
