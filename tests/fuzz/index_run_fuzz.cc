// Keys, values and the description of the index's runs.
#include "fuzz/fuzz.h"
#include "index/run_format.h"

namespace tidemark::index {
namespace {

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void try_key(std::string_view bytes) {
  DecodedRunKey key;
  if (!decode_run_key(bytes, key)) return;
  const RunKey encoded = encode_run_key(key.volume, key.size_class, key.extent, key.id_raw);
  TM_ASSERT(std::string_view(encoded.data(), encoded.size()) == bytes);
}

void try_value(std::string_view bytes) {
  const std::uint64_t place = place_of_run_value(bytes);
  for (unsigned size_class = 0; size_class <= kSizeClassMax; ++size_class) {
    DecodedRunValue value;
    if (!decode_run_value(bytes, size_class, value)) continue;
    TM_ASSERT(value.place_raw == place);
    std::string encoded;
    encode_run_value(value.kind, value.place_raw, value.checksums, encoded);
    TM_ASSERT(encoded == bytes);
  }
}

void try_meta(Bytes bytes) {
  fuzz::check_same(
      bytes, [](Bytes b) { return decode_run_meta(text_of(b)); },
      [](const RunMeta& meta) {
        const std::string encoded = encode_run_meta(meta);
        return std::vector<std::byte>(as_bytes(encoded).begin(), as_bytes(encoded).end());
      });
}

}  // namespace
}  // namespace tidemark::index

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::index;
  const tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try_key(text_of(input));
  try_value(text_of(input));
  try_meta(input);
  RunMeta example;
  example.epochs[1] = {.first_sequence = 1, .last_sequence = 9, .place_max = 77};
  example.size_classes[3] = 5;
  const std::string encoded = encode_run_meta(example);
  std::vector<std::byte> meta = tidemark::fuzz::laid_over(tidemark::as_bytes(encoded), input);
  tidemark::fuzz::seal(meta);
  try_meta(meta);
  return 0;
}
