// Messages between the nodes of a pair: the header with its checksum, and every body. Bodies have one form
// for each value, so that whatever decodes must encode to the same bytes.
#include "format/link.h"
#include "fuzz/fuzz.h"

namespace tidemark::format {
namespace {

void try_bodies(Bytes body) {
  fuzz::check_exact(body, decode_hello, encode_hello);
  fuzz::check_exact(body, decode_welcome, encode_welcome);
  fuzz::check_exact(body, decode_chunk, encode_chunk);
  fuzz::check_exact(body, decode_ack, encode_ack);
  fuzz::check_exact(body, decode_in_sync, encode_in_sync);
  fuzz::check_exact(body, decode_suspend, encode_suspend);
  fuzz::check_exact(body, decode_units, encode_units);
  fuzz::check_exact(body, decode_log_id, encode_log_id);
}

void try_header(Bytes input) {
  fuzz::check_exact(input, decode_link_header, encode_link_header);
  const std::vector<std::byte> example = encode_link_header({.type = LinkMessage::kPing, .body_bytes = 8});
  std::vector<std::byte> bytes =
      fuzz::laid_over(example, input.first(std::min(input.size(), kLinkHeaderBytes)));
  fuzz::seal(bytes);
  fuzz::check_exact(bytes, decode_link_header, encode_link_header);
}

Hello example_hello() {
  Hello hello;
  hello.node_name = "tokyo";
  hello.group_name = "app";
  hello.primary_group = "app";
  hello.state.resize(3);
  return hello;
}

Welcome example_welcome() {
  Welcome welcome;
  welcome.error_message = "no";
  welcome.node_name = "osaka";
  return welcome;
}

}  // namespace
}  // namespace tidemark::format

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::format;
  const tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try_header(input);
  try_bodies(input);
  try_bodies(tidemark::fuzz::laid_over(encode_hello(example_hello()), input));
  try_bodies(tidemark::fuzz::laid_over(encode_welcome(example_welcome()), input));
  try_bodies(
      tidemark::fuzz::laid_over(encode_suspend({.cause = SuspendCause::kError, .reason = "full"}), input));
  const std::vector<UnitOfVolume> units = {{{1}, {7}}, {{2}, {8}}};
  try_bodies(tidemark::fuzz::laid_over(encode_units(units), input));
  return 0;
}
