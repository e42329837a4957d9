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
  fuzz::check_exact(body, decode_mark_request, encode_mark_request);
  fuzz::check_exact(body, decode_mark_reply, encode_mark_reply);
  fuzz::check_exact(body, decode_query, encode_query);
  fuzz::check_exact(body, decode_answer, encode_answer);
}

void try_header(Bytes input) {
  fuzz::check_exact(input, decode_link_header, encode_link_header);
  LinkHeader with_payload;
  with_payload.type = LinkMessage::kChunk;
  with_payload.payload_bytes = 100;
  with_payload.uncompressed_bytes = 4096;
  for (const LinkHeader& header : {LinkHeader{.type = LinkMessage::kPing, .body_bytes = 8}, with_payload}) {
    std::vector<std::byte> bytes =
        fuzz::laid_over(encode_link_header(header), input.first(std::min(input.size(), kLinkHeaderBytes)));
    fuzz::seal(bytes);
    fuzz::check_exact(bytes, decode_link_header, encode_link_header);
  }
}

Hello example_hello() {
  Hello hello;
  hello.node_name = "tokyo";
  hello.group_name = "app";
  hello.primary_group = "app";
  hello.addresses = {"tcp:10.0.0.1:9", "unix:/r"};
  hello.state.resize(3);
  return hello;
}

// What a synchronous pair, one whose copy is to lie on a certain RAID group, and one that compresses say
// besides.
Hello example_hello_of_version(std::uint32_t version) {
  Hello hello = example_hello();
  if (version >= kLinkVersionSync) hello.sync = SyncTerms{};
  if (version >= kLinkVersionPlaced) hello.raid = "fast";
  if (version >= kLinkVersionCompressed) hello.compression = Compression::kZstd;
  return hello;
}

Welcome example_welcome() {
  Welcome welcome;
  welcome.error_message = "no";
  welcome.node_name = "osaka";
  welcome.copied = {VolumeId{1}, 4096};
  return welcome;
}

MarkRequest example_mark_request() {
  MarkRequest request;
  request.number = 1;
  request.mark.id = "m1";
  request.mark.host = "db";
  request.mark.note = "closed";
  return request;
}

MarkReply example_mark_reply() {
  MarkReply reply;
  reply.done = true;
  reply.id = "m1";
  return reply;
}

Query example_query() {
  Query query;
  query.kind = QueryKind::kResolve;
  query.point = "mark:m1";
  query.volume = VolumeId{1};
  query.blocks = {2, 9};
  return query;
}

Answer example_answer() {
  Answer answer;
  answer.done = true;
  answer.error_message = "no";
  answer.volumes = {{VolumeId{1}, "data", 1 << 20}};
  answer.runs = {{1, 2}, {4, 8}};
  answer.checksums = {1, 2, 3};
  answer.window = GroupWindow{};
  answer.window->last_mark = "m1";
  return answer;
}

}  // namespace
}  // namespace tidemark::format

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::format;
  const tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try_header(input);
  try_bodies(input);
  for (std::uint32_t version = kLinkVersion; version <= kLinkVersionCompressed; ++version) {
    try_bodies(tidemark::fuzz::laid_over(encode_hello(example_hello_of_version(version)), input));
  }
  try_bodies(tidemark::fuzz::laid_over(encode_welcome(example_welcome()), input));
  try_bodies(
      tidemark::fuzz::laid_over(encode_suspend({.cause = SuspendCause::kError, .reason = "full"}), input));
  const std::vector<UnitOfVolume> units = {{{1}, {7}}, {{2}, {8}}};
  try_bodies(tidemark::fuzz::laid_over(encode_units(units), input));
  try_bodies(tidemark::fuzz::laid_over(encode_mark_request(example_mark_request()), input));
  try_bodies(tidemark::fuzz::laid_over(encode_mark_reply(example_mark_reply()), input));
  try_bodies(tidemark::fuzz::laid_over(encode_query(example_query()), input));
  try_bodies(tidemark::fuzz::laid_over(encode_answer(example_answer()), input));
  return 0;
}
