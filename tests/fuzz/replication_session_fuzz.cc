// What a primary says to a node, changed by somebody who knows the checksums: the messages of a real session
// that makes a pair, copies, and sends batches and marks. Each record of the input changes, repeats, drops or
// swaps a message, whose checksums are then set right; or its compressed payload, or how long that is said to
// be. Or that session is heard as it was, and what changes is a second one, which begins with any other
// intent and says one of each kind of message, to a node that meanwhile was suspended, has taken over, or was
// started anew. Whatever comes, the node goes on, stops in order, and opens again on its disk.
#include <cstring>
#include <memory>

#include "format/link.h"
#include "fuzz/fuzz.h"
#include "node/node.h"
#include "replication/compression.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/world.h"

namespace tidemark::node {
namespace {

constexpr std::uint64_t kDiskBytes = 128 << 20;
constexpr std::uint64_t kJournalBytes = 17 << 20;  // the least
constexpr std::size_t kRecordBytes = 16;           // what, which message, where (2), how many, the bytes
constexpr std::size_t kRecordsMax = 16;
constexpr std::size_t kMessagesMax = 64;

struct Message {
  format::LinkHeader header{};
  std::vector<std::byte> body{};
  std::vector<std::byte> payload{};
};

io::Task<Result<index::OpenedIndex>> open_memory_index() {
  index::OpenedIndex opened;
  opened.index = index::make_memory_index();
  co_return opened;
}

Result<std::unique_ptr<Node>> start_node(sim::World& world, sim::Disk& disk, const std::string& name,
                                         std::uint8_t identity) {
  NodeConfiguration configuration;
  configuration.identity.bytes.fill(identity);
  configuration.name = name;
  configuration.disks = one_disk(disk);
  configuration.cache_size_bytes = kCacheSizeBytesMin;
  return world.run(Node::start(
      world.environment(), std::move(configuration), [](GroupIdentity) { return open_memory_index(); },
      OpenCatalog(), [](const std::string&, const std::string&) {}));
}

std::vector<Message> messages_of(Bytes bytes) {
  std::vector<Message> messages;
  while (bytes.size() >= format::kLinkHeaderBytes) {
    const auto header = format::decode_link_header(bytes.first(format::kLinkHeaderBytes));
    TM_ASSERT(header.ok());
    bytes = bytes.subspan(format::kLinkHeaderBytes);
    if (bytes.size() < std::size_t{header->body_bytes} + header->payload_bytes) break;
    Message message;
    message.header = *header;
    const Bytes body = bytes.first(header->body_bytes);
    const Bytes payload = bytes.subspan(header->body_bytes, header->payload_bytes);
    message.body.assign(body.begin(), body.end());
    message.payload.assign(payload.begin(), payload.end());
    bytes = bytes.subspan(body.size() + payload.size());
    messages.push_back(std::move(message));
  }
  return messages;
}

// What a node that makes a pair of a small group says: the group's state, a copy, batches, marks.
std::vector<Message> record_session() {
  sim::World world(1);
  sim::Disk near_disk(world, kDiskBytes);
  sim::Disk far_disk(world, kDiskBytes);
  auto near_node = start_node(world, near_disk, "tokyo", 1);
  auto far_node = start_node(world, far_disk, "osaka", 2);
  TM_ASSERT(near_node.ok() && far_node.ok());
  Node& node = **near_node;
  io::TaskScope tasks(world);
  auto listener = world.run(world.network().listen(*io::Address::parse("unix:/osaka")));
  TM_ASSERT(listener.ok());
  tasks.spawn((*far_node)->pairs().serve(std::move(listener).value()));
  (*far_node)->set_addresses({}, {}, {"unix:/osaka"});
  node.set_addresses({}, {}, {});  // from here on it sends
  control::GroupCreateRequest create;
  create.group = "app";
  create.journal_size_bytes = kJournalBytes;
  TM_ASSERT(world.run(node.group_create(std::move(create))).ok());
  group::Group& group = *node.find_group("app");
  const auto volume = world.run(group.create_volume("db", 32 * kBlockSizeBytes));
  TM_ASSERT(volume.ok());
  const auto write = [&](std::uint64_t block) {
    Buffer data = Buffer::allocate(kBlockSizeBytes);
    std::memset(data.data(), static_cast<int>(block), data.size());
    TM_ASSERT(world.run(group.data().write(volume->id, block * kBlockSizeBytes, std::move(data), true)).ok());
  };
  for (std::uint64_t block = 0; block < 4; ++block) write(block);
  TM_ASSERT(world.run(group.create_mark({.id = "before"})).ok());
  TM_ASSERT(world.run(node.pairs().create("app", "unix:/osaka", {"app", ""}, {})).ok());
  for (std::uint64_t block = 2; block < 6; ++block) {
    write(block);
    world.run_for(Duration::milliseconds(30));
  }
  TM_ASSERT(world.run(group.create_mark({.id = "after"})).ok());
  TM_ASSERT(world.run(group.data().zero(volume->id, 0, 2 * kBlockSizeBytes, true, true)).ok());
  world.run_for(Duration::milliseconds(1500));
  std::vector<Message> messages = messages_of(world.network().last_session());
  TM_ASSERT(messages.size() >= 6 && messages.front().header.type == format::LinkMessage::kHello);
  tasks.cancel_all();
  return messages;
}

template <typename Value>
Message message_of(format::LinkMessage type, std::vector<std::byte> (*encode)(const Value&),
                   const Value& value) {
  Message message;
  message.header.type = type;
  message.body = encode(value);
  return message;
}

// What whoever has made the pair says when it comes again: one message of each kind.
std::vector<Message> second_session(const std::vector<Message>& first, unsigned intent, bool overrules,
                                    bool is_sync) {
  const auto hello = format::decode_hello(first.front().body);
  TM_ASSERT(hello.ok());
  format::Hello again = *hello;
  again.intent = static_cast<format::HelloIntent>(1 + intent % 9);
  again.overrules = overrules;
  again.addresses = {"unix:/tokyo"};
  if (is_sync) again.sync = format::SyncTerms{};
  std::vector<Message> messages{message_of(format::LinkMessage::kHello, format::encode_hello, again)};
  if (again.intent != format::HelloIntent::kQuery) {
    const auto is_copy = [](const Message& message) {
      return message.header.type == format::LinkMessage::kChunk ||
             message.header.type == format::LinkMessage::kCopyDone;
    };
    for (const Message& message : first) {
      if (is_copy(message) || message.header.type == format::LinkMessage::kBatch) messages.push_back(message);
    }
    format::MarkReply reply;
    reply.done = true;
    reply.id = "m";
    messages.push_back(message_of(format::LinkMessage::kMarkReply, format::encode_mark_reply, reply));
    messages.push_back(message_of(format::LinkMessage::kInSync, format::encode_in_sync, format::InSync{}));
    messages.push_back(message_of(format::LinkMessage::kUnits, format::encode_units, {{{1}, {7}}}));
  }
  for (unsigned kind = 1; kind <= 7; ++kind) {
    format::Query query;
    query.kind = static_cast<format::QueryKind>(kind);
    query.point = kind == 1 ? "after" : "head";
    query.at = again.start;
    query.from = again.start;
    query.volume = VolumeId{1};
    query.blocks = {0, 8};
    messages.push_back(message_of(format::LinkMessage::kQuery, format::encode_query, query));
  }
  messages.push_back(message_of(format::LinkMessage::kSuspend, format::encode_suspend,
                                {.cause = format::SuspendCause::kTakeover, .reason = "so it is"}));
  Message removal;
  removal.header.type = format::LinkMessage::kDelete;
  messages.push_back(removal);
  return messages;
}

// The same session of a pair that compresses.
void compress(std::vector<Message>& messages) {
  const auto hello = format::decode_hello(messages.front().body);
  TM_ASSERT(hello.ok());
  format::Hello compressed = *hello;
  compressed.compression = format::Compression::kZstd;
  messages.front().body = format::encode_hello(compressed);
  replication::ZstdCompressor compressor;
  for (Message& message : messages) {
    if (message.payload.empty()) continue;
    const std::optional<Buffer> frame = compressor.compress(message.payload);
    if (!frame.has_value()) continue;
    message.header.uncompressed_bytes = static_cast<std::uint32_t>(message.payload.size());
    message.payload.assign(frame->data(), frame->data() + frame->size());
  }
}

void change(std::vector<Message>& messages, Bytes record) {
  const auto byte = [&record](std::size_t i) { return static_cast<unsigned>(record[i]); };
  const std::size_t which = byte(1) % messages.size();
  Message& message = messages[which];
  const auto patch = [&](std::vector<std::byte>& bytes) {
    if (bytes.empty()) return;
    const std::size_t where = (byte(2) | byte(3) << 8) % bytes.size();
    const std::size_t count = std::min<std::size_t>(1 + byte(4) % (kRecordBytes - 5), bytes.size() - where);
    std::memcpy(bytes.data() + where, record.data() + 5, count);
  };
  switch (byte(0) % 10) {
    case 0:
      if (messages.size() < kMessagesMax) {
        Message twice = message;
        messages.insert(messages.begin() + static_cast<long>(which), std::move(twice));
      }
      return;
    case 1:
      if (messages.size() > 1) messages.erase(messages.begin() + static_cast<long>(which));
      return;
    case 2:
      std::swap(message, messages[byte(2) % messages.size()]);
      break;
    case 3:
      message.body.resize((byte(2) | byte(3) << 8) % 8192);
      break;
    case 4:
      message.payload.resize(byte(2) % 8 * kBlockSizeBytes);
      break;
    case 5:
      message.header.type = static_cast<format::LinkMessage>(1 + byte(2) % 15);
      break;
    case 6:
      patch(message.payload);
      break;
    case 7:
      if (message.header.uncompressed_bytes != 0) {
        message.header.uncompressed_bytes = byte(2) % 8 * static_cast<std::uint32_t>(kBlockSizeBytes);
        break;
      }
      [[fallthrough]];
    default:
      patch(message.body);
  }
  // A batch carries a checksum of its own.
  if (message.header.type == format::LinkMessage::kBatch && byte(0) < 240) fuzz::seal(message.body);
}

// `claim`: what the header of the last message adds to the length of its body.
std::vector<std::byte> encoded(const std::vector<Message>& messages, std::uint32_t claim = 0) {
  std::vector<std::byte> bytes;
  for (const Message& message : messages) {
    format::LinkHeader header = message.header;
    header.body_bytes = static_cast<std::uint32_t>(message.body.size());
    if (&message == &messages.back()) header.body_bytes += claim;
    header.payload_bytes = static_cast<std::uint32_t>(message.payload.size());
    header.body_checksum = crc32c(message.body);
    for (const auto& part : {format::encode_link_header(header), message.body, message.payload}) {
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
  }
  return bytes;
}

io::Task<void> say(io::Stream* stream, std::vector<std::byte> bytes) {
  std::vector<Buffer> pieces;
  pieces.push_back(Buffer::copy_of(bytes));
  (void)co_await stream->write(std::move(pieces));
}

io::Task<void> hear(io::Stream* stream) {
  Buffer out = Buffer::allocate(kBlockSizeBytes);
  while (true) {
    const auto count = co_await stream->read_some(out);
    if (!count.ok() || *count == 0) co_return;
  }
}

enum class Meanwhile : std::uint8_t { kNothing, kSuspended, kTakenOver, kStartedAnew };

// One connection to the node, which is up.
void converse(sim::World& world, const std::vector<std::byte>& bytes) {
  io::TaskScope tasks(world);
  auto stream = world.run(world.network().connect(*io::Address::parse("unix:/osaka"), Duration::seconds(1)));
  TM_ASSERT(stream.ok());
  tasks.spawn(say(stream->get(), bytes));
  tasks.spawn(hear(stream->get()));
  world.run_for(Duration::milliseconds(700));
  (*stream)->close();
  world.run_for(Duration::milliseconds(100));
  tasks.cancel_all();
}

void run_sessions(const std::vector<std::vector<std::byte>>& sessions, Meanwhile meanwhile) {
  sim::World world(1);
  sim::Disk disk(world, kDiskBytes);
  std::size_t next = 0;
  while (next < sessions.size()) {
    auto started = start_node(world, disk, "osaka", 2);
    TM_ASSERT(started.ok());
    Node& node = **started;
    io::TaskScope tasks(world);
    auto listener = world.run(world.network().listen(*io::Address::parse("unix:/osaka")));
    TM_ASSERT(listener.ok());
    tasks.spawn(node.pairs().serve(std::move(listener).value()));
    node.set_addresses({}, {}, {"unix:/osaka"});
    converse(world, sessions[next++]);
    if (next < sessions.size() && meanwhile != Meanwhile::kStartedAnew) {
      if (meanwhile == Meanwhile::kSuspended) (void)world.run(node.pairs().suspend("app"));
      if (meanwhile == Meanwhile::kTakenOver) (void)world.run(node.pairs().take_over("app", true));
      converse(world, sessions[next++]);
    }
    TM_ASSERT(world.run(node.node_status({})).ok());
    TM_ASSERT(world.run(node.stop()).ok());
    tasks.cancel_all();
  }
  auto again = start_node(world, disk, "osaka", 2);
  TM_ASSERT(again.ok());
  const auto status = world.run((*again)->node_status({}));
  TM_ASSERT(status.ok());
  for (const control::Problem& problem : status->problems) {
    TM_ASSERT(problem.text.find("cannot be opened") == std::string::npos);
  }
  TM_ASSERT(world.run((*again)->stop()).ok());
}

}  // namespace
}  // namespace tidemark::node

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::node;
  static const std::vector<Message> uncompressed_session = record_session();
  static const std::vector<Message> compressed_session = [] {
    std::vector<Message> messages = uncompressed_session;
    compress(messages);
    return messages;
  }();
  const unsigned mode = size == 0 ? 0 : data[0];
  const unsigned intent = size < 2 ? 0 : data[1];
  const std::vector<Message>& session = intent >= 128 ? compressed_session : uncompressed_session;
  const bool comes_again = (mode & 3) != 0;
  std::vector<Message> messages =
      comes_again ? second_session(session, intent, (mode & 4) != 0, (mode & 8) != 0) : session;
  tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  input = input.subspan(std::min<std::size_t>(size, 2));
  for (std::size_t n = 0; n < kRecordsMax && input.size() >= kRecordBytes; ++n) {
    change(messages, input.first(kRecordBytes));
    input = input.subspan(kRecordBytes);
  }
  const std::uint32_t claim = (mode & 0xc0) == 0x80 ? intent << 16 : 0;
  std::vector<std::vector<std::byte>> sessions{encoded(messages, claim)};
  // What a checksum is there for.
  if ((mode & 0xc0) == 0xc0) sessions[0][intent * 7 % sessions[0].size()] ^= std::byte{1};
  if (comes_again) sessions.insert(sessions.begin(), encoded(session));
  run_sessions(sessions, static_cast<Meanwhile>(mode >> 4 & 3));
  return 0;
}
