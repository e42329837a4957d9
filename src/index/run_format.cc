#include "index/run_format.h"

#include "base/codec.h"
#include "base/crc32c.h"

namespace tidemark::index {
namespace {

void put_big_endian(char* out, std::uint64_t value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) out[i] = static_cast<char>(value >> (8 * (size - 1 - i)));
}

std::uint64_t get_big_endian(const char* in, unsigned size) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(in[i]);
  return value;
}

// Constants that decide what keys and values mean. A folder made with others is made anew.
constexpr std::uint32_t kFingerprint =
    kExtentShift | kSizeClassCount << 8 | kDataSizeClassMax << 16 | kRunKeyPrefixSize << 24;

}  // namespace

RunKey encode_run_key(VolumeId volume, unsigned size_class, std::uint64_t extent, std::uint64_t id_raw) {
  RunKey key;
  put_big_endian(key.data(), volume.value, 4);
  put_big_endian(key.data() + 4, size_class, 1);
  put_big_endian(key.data() + 5, extent, 8);
  put_big_endian(key.data() + 13, ~id_raw, 8);
  return key;
}

bool decode_run_key(std::string_view key, DecodedRunKey& out) {
  if (key.size() != kRunKeySize) return false;
  out.volume = VolumeId{static_cast<std::uint32_t>(get_big_endian(key.data(), 4))};
  out.size_class = static_cast<unsigned>(get_big_endian(key.data() + 4, 1));
  out.extent = get_big_endian(key.data() + 5, 8);
  out.id_raw = ~get_big_endian(key.data() + 13, 8);
  return out.size_class <= kSizeClassMax;
}

void encode_run_value(EntryKind kind, std::uint64_t place_raw, std::span<const std::uint32_t> checksums,
                      std::string& out) {
  out.clear();
  out.reserve(kRunValueHeaderSize + 4 * checksums.size());
  const auto put = [&out](std::uint64_t value, unsigned size) {
    for (unsigned i = 0; i < size; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  };
  put(static_cast<std::uint8_t>(kind), 1);
  put(place_raw, 8);
  for (std::uint32_t checksum : checksums) put(checksum, 4);
}

bool decode_run_value(std::string_view value, unsigned size_class, DecodedRunValue& out) {
  Decoder decoder(as_bytes(value));
  const std::uint8_t kind = decoder.u8();
  out.place_raw = decoder.u64();
  out.checksums.clear();
  if (kind == static_cast<std::uint8_t>(EntryKind::kZero)) {
    out.kind = EntryKind::kZero;
    return decoder.done();
  }
  if (kind != static_cast<std::uint8_t>(EntryKind::kData) || size_class > kDataSizeClassMax) return false;
  out.kind = EntryKind::kData;
  if (decoder.remaining() != 4 * extent_blocks(size_class)) return false;
  while (decoder.remaining() > 0) out.checksums.push_back(decoder.u32());
  return decoder.done();
}

std::uint64_t place_of_run_value(std::string_view value) {
  Decoder decoder(as_bytes(value));
  decoder.u8();
  const std::uint64_t place = decoder.u64();
  return decoder.failed() ? 0 : place;
}

std::string encode_run_meta(const RunMeta& meta) {
  Encoder encoder;
  encoder.u32(kRunFormatVersion);
  encoder.u32(kFingerprint);
  encoder.u64(meta.resume.raw());
  encoder.u32(static_cast<std::uint32_t>(meta.epochs.size()));
  for (const auto& [epoch, span] : meta.epochs) {
    encoder.u32(epoch);
    encoder.u64(span.first_sequence);
    encoder.u64(span.last_sequence);
    encoder.u64(span.place_max);
  }
  encoder.u32(static_cast<std::uint32_t>(meta.size_classes.size()));
  for (const auto& [volume, classes] : meta.size_classes) {
    encoder.u32(volume);
    encoder.u8(classes);
  }
  encoder.u32(crc32c(encoder.bytes()));
  const Bytes bytes = encoder.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<RunMeta> decode_run_meta(std::string_view bytes) {
  if (bytes.size() < 4) return fail(ErrorCode::kDamaged, "index description: cut short");
  Decoder trailer(as_bytes(bytes.substr(bytes.size() - 4)));
  const Bytes body = as_bytes(bytes.substr(0, bytes.size() - 4));
  if (trailer.u32() != crc32c(body)) return fail(ErrorCode::kDamaged, "index description: wrong checksum");
  Decoder decoder(body);
  const std::uint32_t version = decoder.u32();
  const std::uint32_t fingerprint = decoder.u32();
  if (version != kRunFormatVersion || fingerprint != kFingerprint) {
    return fail(ErrorCode::kUnsupported, "index description: format version " + std::to_string(version) +
                                             " or another cut of extents; the index is rebuilt");
  }
  RunMeta meta;
  meta.resume = Place::from_raw(decoder.u64());
  const std::uint32_t epochs = decoder.u32();
  for (std::uint32_t i = 0; i < epochs && !decoder.failed(); ++i) {
    const std::uint32_t epoch = decoder.u32();
    EpochSpan span;
    span.first_sequence = decoder.u64();
    span.last_sequence = decoder.u64();
    span.place_max = decoder.u64();
    meta.epochs[epoch] = span;
  }
  const std::uint32_t volumes = decoder.u32();
  for (std::uint32_t i = 0; i < volumes && !decoder.failed(); ++i) {
    const std::uint32_t volume = decoder.u32();
    meta.size_classes[volume] = decoder.u8();
  }
  if (!decoder.done()) return fail(ErrorCode::kDamaged, "index description: fields do not fill it");
  return meta;
}

}  // namespace tidemark::index
