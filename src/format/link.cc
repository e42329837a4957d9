#include "format/link.h"

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/names.h"

namespace tidemark::format {
namespace {

constexpr std::uint32_t kLinkMagic = 0x314c4d54;  // "TML1"
constexpr std::size_t kMessageTextBytesMax = 4096;

Error malformed(const char* what) {
  return fail(ErrorCode::kInvalid,
              std::string("a ") + what + " message is cut off or has a field out of bounds");
}

}  // namespace

std::vector<std::byte> encode_link_header(const LinkHeader& header) {
  Encoder out;
  out.u32(kLinkMagic);
  out.u16(static_cast<std::uint16_t>(header.type));
  out.u16(0);
  out.u32(header.body_bytes);
  out.u32(header.payload_bytes);
  out.u32(header.body_checksum);
  out.u32(header.uncompressed_bytes);
  out.u32(0);
  out.u32(crc32c(out.bytes()));
  TM_ASSERT(out.size() == kLinkHeaderBytes);
  return out.take();
}

namespace {

bool is_payload_length(std::uint32_t bytes) {
  return bytes <= kLinkPayloadBytesMax && bytes % kBlockSizeBytes == 0;
}

bool payload_in_bounds(const LinkHeader& header) {
  if (header.uncompressed_bytes == 0) return is_payload_length(header.payload_bytes);
  return is_payload_length(header.uncompressed_bytes) && header.payload_bytes > 0 &&
         header.payload_bytes < header.uncompressed_bytes;
}

}  // namespace

Result<LinkHeader> decode_link_header(Bytes bytes) {
  Decoder in(bytes);
  const std::uint32_t magic = in.u32();
  LinkHeader header;
  const std::uint16_t type = in.u16();
  const std::uint16_t reserved = in.u16();
  header.body_bytes = in.u32();
  header.payload_bytes = in.u32();
  header.body_checksum = in.u32();
  header.uncompressed_bytes = in.u32();
  const std::uint32_t zero = in.u32();
  const std::uint32_t checksum = in.u32();
  if (!in.done() || magic != kLinkMagic || checksum != crc32c(bytes.first(kLinkHeaderBytes - 4))) {
    return fail(ErrorCode::kInvalid, "what came is not a message of a tidemarkd");
  }
  if (type < 1 || type > 15 || reserved != 0 || zero != 0 || header.body_bytes > kLinkBodyBytesMax ||
      !payload_in_bounds(header)) {
    return fail(ErrorCode::kInvalid, "a message has a header with a field out of bounds");
  }
  header.type = static_cast<LinkMessage>(type);
  return header;
}

void encode_terms(Encoder& out, const SyncTerms& terms) {
  out.u8(static_cast<std::uint8_t>(terms.on_loss));
  out.i64(terms.loss_after.ns);
}

std::optional<SyncTerms> decode_terms(Decoder& in) {
  const std::uint8_t on_loss = in.u8();
  SyncTerms terms;
  terms.loss_after.ns = in.i64();
  if (on_loss < 1 || on_loss > 3 || terms.loss_after < kLossAfterMin || terms.loss_after > kLossAfterMax) {
    return std::nullopt;
  }
  terms.on_loss = static_cast<PeerLoss>(on_loss);
  return terms;
}

std::vector<std::byte> encode_hello(const Hello& hello) {
  Encoder out;
  out.u32(hello.version());
  out.u8(static_cast<std::uint8_t>(hello.intent));
  out.u8(hello.overrules ? 1 : 0);
  out.raw(hello.node.bytes);
  out.u64(hello.instance);
  out.text(hello.node_name);
  out.raw(hello.group.bytes);
  out.text(hello.group_name);
  out.text(hello.primary_group);
  TM_ASSERT(hello.addresses.size() <= kLinkAddressesMax);
  out.u32(static_cast<std::uint32_t>(hello.addresses.size()));
  for (const std::string& address : hello.addresses) {
    out.text(std::string_view(address).substr(0, kLinkAddressBytesMax));
  }
  out.u64(hello.start.raw());
  out.u32(hello.start_checksum);
  out.u32(hello.parity);
  out.u64(hello.journal_size_bytes);
  out.i64(hello.retain_ns);
  out.u32(static_cast<std::uint32_t>(hello.state.size()));
  out.raw(Bytes(hello.state));
  if (hello.version() >= kLinkVersionPlaced) {
    out.text(hello.raid);
    out.u8(hello.sync.has_value() ? 1 : 0);
  }
  if (hello.version() >= kLinkVersionCompressed) out.u8(static_cast<std::uint8_t>(hello.compression));
  if (hello.sync.has_value()) {
    encode_terms(out, *hello.sync);
    out.u8(static_cast<std::uint8_t>(hello.not_in_sync));
  }
  return out.take();
}

Result<Hello> decode_hello(Bytes bytes) {
  Decoder in(bytes);
  Hello hello;
  const std::uint32_t version = in.u32();
  if (!in.failed() && (version < kLinkVersion || version > kLinkVersionCompressed)) {
    return fail(ErrorCode::kUnsupported, "the peer speaks version " + std::to_string(version) +
                                             " of the link; this tidemarkd speaks versions " +
                                             std::to_string(kLinkVersion) + " to " +
                                             std::to_string(kLinkVersionCompressed));
  }
  const std::uint8_t intent = in.u8();
  const std::uint8_t overrules = in.u8();
  hello.overrules = overrules != 0;
  hello.node.bytes = in.array<16>();
  hello.instance = in.u64();
  hello.node_name = in.text(kNameLengthMax);
  hello.group.bytes = in.array<16>();
  hello.group_name = in.text(kNameLengthMax);
  hello.primary_group = in.text(kNameLengthMax);
  const std::uint32_t addresses = in.u32();
  if (in.failed() || addresses > kLinkAddressesMax) return malformed("hello");
  for (std::uint32_t i = 0; i < addresses; ++i) hello.addresses.push_back(in.text(kLinkAddressBytesMax));
  hello.start = LogId::from_raw(in.u64());
  hello.start_checksum = in.u32();
  hello.parity = in.u32();
  hello.journal_size_bytes = in.u64();
  hello.retain_ns = in.i64();
  const Bytes state = in.raw(in.u32());
  hello.state.assign(state.begin(), state.end());
  bool has_terms = version == kLinkVersionSync;
  if (version >= kLinkVersionPlaced) {
    hello.raid = in.text(kNameLengthMax);
    const std::uint8_t sync = in.u8();
    if (sync > 1 || (hello.raid.empty() && version == kLinkVersionPlaced)) return malformed("hello");
    has_terms = sync == 1;
  }
  if (version >= kLinkVersionCompressed) {
    const std::uint8_t compression = in.u8();
    if (compression != static_cast<std::uint8_t>(Compression::kZstd)) return malformed("hello");
    hello.compression = Compression::kZstd;
  }
  if (has_terms) {
    hello.sync = decode_terms(in);
    const std::uint8_t not_in_sync = in.u8();
    if (!hello.sync.has_value() || not_in_sync > 4) return malformed("hello");
    hello.not_in_sync = static_cast<NotInSync>(not_in_sync);
  }
  if (!in.done() || intent < 1 || intent > 9 || overrules > 1 || hello.retain_ns < 0)
    return malformed("hello");
  hello.intent = static_cast<HelloIntent>(intent);
  TM_TRY(validate_name("node name", hello.node_name));
  TM_TRY(validate_name("group name", hello.group_name));
  TM_TRY(validate_name("group name", hello.primary_group));
  if (!hello.raid.empty()) TM_TRY(validate_name("RAID group name", hello.raid));
  return hello;
}

std::vector<std::byte> encode_welcome(const Welcome& welcome) {
  Encoder out;
  out.u8(welcome.accepted ? 1 : 0);
  out.u16(welcome.error_code);
  out.text(std::string_view(welcome.error_message).substr(0, kMessageTextBytesMax));
  out.raw(welcome.node.bytes);
  out.text(welcome.node_name);
  out.u64(welcome.received.raw());
  out.u64(welcome.floor.raw());
  out.u8(welcome.taken_over ? 1 : 0);
  if (welcome.copied.has_value()) {
    out.u32(welcome.copied->volume.value);
    out.u64(welcome.copied->offset_bytes);
  }
  return out.take();
}

Result<Welcome> decode_welcome(Bytes bytes) {
  Decoder in(bytes);
  Welcome welcome;
  const std::uint8_t accepted = in.u8();
  welcome.accepted = accepted != 0;
  welcome.error_code = in.u16();
  welcome.error_message = in.text(kMessageTextBytesMax);
  welcome.node.bytes = in.array<16>();
  welcome.node_name = in.text(kNameLengthMax);
  welcome.received = LogId::from_raw(in.u64());
  welcome.floor = LogId::from_raw(in.u64());
  const std::uint8_t taken_over = in.u8();
  welcome.taken_over = taken_over != 0;
  if (in.remaining() > 0) {
    CopyCursor copied;
    copied.volume.value = in.u32();
    copied.offset_bytes = in.u64();
    if (copied.offset_bytes % kBlockSizeBytes != 0) return malformed("welcome");
    welcome.copied = copied;
  }
  if (!in.done() || accepted > 1 || taken_over > 1 ||
      welcome.error_code > static_cast<std::uint16_t>(ErrorCode::kShutdown)) {
    return malformed("welcome");
  }
  return welcome;
}

std::vector<std::byte> encode_chunk(const Chunk& chunk) {
  Encoder out;
  out.u32(chunk.volume.value);
  out.u64(chunk.begin_block);
  out.u32(chunk.checksum);
  return out.take();
}

Result<Chunk> decode_chunk(Bytes bytes) {
  Decoder in(bytes);
  Chunk chunk;
  chunk.volume.value = in.u32();
  chunk.begin_block = in.u64();
  chunk.checksum = in.u32();
  if (!in.done() || chunk.begin_block > (1ull << 44)) return malformed("chunk");
  return chunk;
}

std::vector<std::byte> encode_ack(const Ack& ack) {
  Encoder out;
  out.u64(ack.durable.raw());
  out.u64(ack.floor.raw());
  out.u8(ack.window_open ? 1 : 0);
  if (ack.sent_ns.has_value()) out.i64(*ack.sent_ns);
  return out.take();
}

Result<Ack> decode_ack(Bytes bytes) {
  Decoder in(bytes);
  Ack ack;
  ack.durable = LogId::from_raw(in.u64());
  ack.floor = LogId::from_raw(in.u64());
  const std::uint8_t window_open = in.u8();
  ack.window_open = window_open != 0;
  if (!in.failed() && in.remaining() > 0) ack.sent_ns = in.i64();
  if (!in.done() || window_open > 1) return malformed("acknowledgement");
  return ack;
}

std::vector<std::byte> encode_in_sync(const InSync& word) {
  Encoder out;
  out.u8(static_cast<std::uint8_t>(word.why));
  out.i64(word.since.ns);
  out.i64(word.heard_ns);
  out.i64(word.holds_for.ns);
  return out.take();
}

Result<InSync> decode_in_sync(Bytes bytes) {
  Decoder in(bytes);
  InSync word;
  const std::uint8_t why = in.u8();
  word.why = static_cast<NotInSync>(why);
  word.since.ns = in.i64();
  word.heard_ns = in.i64();
  word.holds_for.ns = in.i64();
  // Their sum is a time on the secondary's clock.
  const bool in_bounds = word.heard_ns >= 0 && word.heard_ns < INT64_MAX / 2 &&
                         word.holds_for >= kHoldsForMin && word.holds_for <= kLossAfterMax;
  if (!in.done() || why > 4 || !in_bounds) return malformed("word about being in sync");
  return word;
}

std::vector<std::byte> encode_suspend(const Suspend& suspend) {
  Encoder out;
  out.u8(static_cast<std::uint8_t>(suspend.cause));
  out.text(std::string_view(suspend.reason).substr(0, kMessageTextBytesMax));
  return out.take();
}

Result<Suspend> decode_suspend(Bytes bytes) {
  Decoder in(bytes);
  Suspend suspend;
  const std::uint8_t cause = in.u8();
  suspend.cause = static_cast<SuspendCause>(cause);
  suspend.reason = in.text(kMessageTextBytesMax);
  if (!in.done() || cause > 3) return malformed("suspension");
  return suspend;
}

std::vector<std::byte> encode_mark_request(const MarkRequest& request) {
  Encoder out;
  out.u64(request.number);
  out.u64(request.at.raw());
  out.text(request.mark.id);
  out.i64(request.mark.host_time.ns);
  out.text(request.mark.host);
  out.text(request.mark.note);
  return out.take();
}

Result<MarkRequest> decode_mark_request(Bytes bytes) {
  Decoder in(bytes);
  MarkRequest request;
  request.number = in.u64();
  request.at = LogId::from_raw(in.u64());
  request.mark.id = in.text(kKnownMarkIdLengthMax);
  request.mark.host_time.ns = in.i64();
  request.mark.host = in.text(kHostNameBytesMax);
  request.mark.note = in.text(kMarkNoteBytesMax);
  if (!in.done()) return malformed("mark request");
  TM_TRY(validate_known_mark_id(request.mark.id));
  return request;
}

std::vector<std::byte> encode_mark_reply(const MarkReply& reply) {
  Encoder out;
  out.u64(reply.number);
  out.u8(reply.done ? 1 : 0);
  out.u16(reply.error_code);
  out.text(std::string_view(reply.error_message).substr(0, kMessageTextBytesMax));
  out.text(reply.id);
  out.u64(reply.entry.raw());
  return out.take();
}

Result<MarkReply> decode_mark_reply(Bytes bytes) {
  Decoder in(bytes);
  MarkReply reply;
  reply.number = in.u64();
  const std::uint8_t done = in.u8();
  reply.done = done != 0;
  reply.error_code = in.u16();
  reply.error_message = in.text(kMessageTextBytesMax);
  reply.id = in.text(kKnownMarkIdLengthMax);
  reply.entry = LogId::from_raw(in.u64());
  if (!in.done() || done > 1 || reply.error_code > static_cast<std::uint16_t>(ErrorCode::kShutdown)) {
    return malformed("mark reply");
  }
  return reply;
}

std::vector<std::byte> encode_query(const Query& query) {
  Encoder out;
  out.u8(static_cast<std::uint8_t>(query.kind));
  out.text(query.point);
  out.u8(static_cast<std::uint8_t>((query.before ? 1 : 0) | (query.gives_way ? 2 : 0)));
  out.u64(query.at.raw());
  out.u64(query.from.raw());
  out.u32(query.volume.value);
  out.u64(query.blocks.begin);
  out.u64(query.blocks.end);
  return out.take();
}

Result<Query> decode_query(Bytes bytes) {
  Decoder in(bytes);
  Query query;
  const std::uint8_t kind = in.u8();
  query.point = in.text(kQueryPointBytesMax);
  const std::uint8_t flags = in.u8();
  query.before = (flags & 1) != 0;
  query.gives_way = (flags & 2) != 0;
  query.at = LogId::from_raw(in.u64());
  query.from = LogId::from_raw(in.u64());
  query.volume.value = in.u32();
  query.blocks.begin = in.u64();
  query.blocks.end = in.u64();
  if (!in.done() || kind < 1 || kind > 7 || flags > 3 || query.blocks.begin > query.blocks.end ||
      query.blocks.end > (1ull << 44)) {
    return malformed("query");
  }
  query.kind = static_cast<QueryKind>(kind);
  return query;
}

namespace {

void encode_window(Encoder& out, const GroupWindow& window) {
  out.u64(window.floor.raw());
  out.i64(window.floor_timer.ns);
  out.u64(window.newest.raw());
  out.i64(window.newest_timer.ns);
  out.u64(window.journal_bytes);
  out.u64(window.journal_used_bytes);
  out.text(window.last_mark);
  out.u64(window.last_mark_at.raw());
}

GroupWindow decode_window(Decoder& in) {
  GroupWindow window;
  window.floor = LogId::from_raw(in.u64());
  window.floor_timer.ns = in.i64();
  window.newest = LogId::from_raw(in.u64());
  window.newest_timer.ns = in.i64();
  window.journal_bytes = in.u64();
  window.journal_used_bytes = in.u64();
  window.last_mark = in.text(kKnownMarkIdLengthMax);
  window.last_mark_at = LogId::from_raw(in.u64());
  return window;
}

}  // namespace

std::vector<std::byte> encode_answer(const Answer& answer) {
  TM_ASSERT(answer.runs.size() <= kQueryRunsMax && answer.volumes.size() <= kLinkUnitsMax &&
            answer.checksums.size() <= kQueryChecksumsMax);
  Encoder out;
  out.u8(answer.done ? 1 : 0);
  out.u16(answer.error_code);
  out.text(std::string_view(answer.error_message).substr(0, kMessageTextBytesMax));
  out.u64(answer.at.raw());
  out.i64(answer.timer.ns);
  out.u32(static_cast<std::uint32_t>(answer.volumes.size()));
  for (const Answer::Volume& volume : answer.volumes) {
    out.u32(volume.id.value);
    out.text(volume.name);
    out.u64(volume.size_bytes);
  }
  out.u32(static_cast<std::uint32_t>(answer.runs.size()));
  for (const BlockRange& run : answer.runs) {
    out.u64(run.begin);
    out.u64(run.end);
  }
  out.u32(answer.checksum);
  out.u32(static_cast<std::uint32_t>(answer.checksums.size()));
  for (const std::uint32_t checksum : answer.checksums) out.u32(checksum);
  if (answer.window.has_value()) encode_window(out, *answer.window);
  return out.take();
}

Result<Answer> decode_answer(Bytes bytes) {
  Decoder in(bytes);
  Answer answer;
  const std::uint8_t done = in.u8();
  answer.done = done != 0;
  answer.error_code = in.u16();
  answer.error_message = in.text(kMessageTextBytesMax);
  answer.at = LogId::from_raw(in.u64());
  answer.timer.ns = in.i64();
  const std::uint32_t volumes = in.u32();
  if (in.failed() || volumes > kLinkUnitsMax) return malformed("answer");
  for (std::uint32_t i = 0; i < volumes && !in.failed(); ++i) {
    Answer::Volume volume;
    volume.id.value = in.u32();
    volume.name = in.text(kNameLengthMax);
    volume.size_bytes = in.u64();
    if (volume.size_bytes % kBlockSizeBytes != 0) return malformed("answer");
    answer.volumes.push_back(std::move(volume));
  }
  const std::uint32_t runs = in.u32();
  if (in.failed() || runs > kQueryRunsMax) return malformed("answer");
  std::uint64_t behind = 0;
  for (std::uint32_t i = 0; i < runs; ++i) {
    const std::uint64_t begin = in.u64();
    const std::uint64_t end = in.u64();
    if (begin < behind || end <= begin || end > (1ull << 44)) return malformed("answer");
    behind = end;
    answer.runs.push_back(BlockRange{begin, end});
  }
  answer.checksum = in.u32();
  const std::uint32_t checksums = in.u32();
  if (in.failed() || checksums > kQueryChecksumsMax) return malformed("answer");
  for (std::uint32_t i = 0; i < checksums; ++i) answer.checksums.push_back(in.u32());
  if (in.remaining() > 0) answer.window = decode_window(in);
  if (!in.done() || done > 1 || answer.error_code > static_cast<std::uint16_t>(ErrorCode::kShutdown)) {
    return malformed("answer");
  }
  return answer;
}

std::vector<std::byte> encode_units(const std::vector<UnitOfVolume>& units) {
  TM_ASSERT(units.size() <= kLinkUnitsMax);
  Encoder out;
  out.u32(static_cast<std::uint32_t>(units.size()));
  for (const UnitOfVolume& unit : units) {
    out.u32(unit.volume.value);
    out.u32(unit.unit.value);
  }
  return out.take();
}

Result<std::vector<UnitOfVolume>> decode_units(Bytes bytes) {
  Decoder in(bytes);
  const std::uint32_t count = in.u32();
  if (in.failed() || count > kLinkUnitsMax) return malformed("units");
  std::vector<UnitOfVolume> units(count);
  for (UnitOfVolume& unit : units) {
    unit.volume.value = in.u32();
    unit.unit.value = in.u32();
  }
  if (!in.done()) return malformed("units");
  return units;
}

std::vector<std::byte> encode_log_id(LogId id) {
  Encoder out;
  out.u64(id.raw());
  return out.take();
}

Result<LogId> decode_log_id(Bytes bytes) {
  Decoder in(bytes);
  const LogId id = LogId::from_raw(in.u64());
  if (!in.done()) return malformed("position");
  return id;
}

}  // namespace tidemark::format
