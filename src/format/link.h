#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "format/records.h"

namespace tidemark {
class Decoder;
class Encoder;
}  // namespace tidemark

namespace tidemark::format {

// Messages between the nodes of a pair. docs/formats/link.md is the page of this format. A message is a fixed
// header, a body of encoded fields, and for batches and chunks a payload of whole blocks.

enum class LinkMessage : std::uint16_t {
  kHello = 1,         // primary → secondary, first: who and what
  kWelcome = 2,       // its answer
  kBatch = 3,         // primary → secondary: body is an encoded BatchMeta, payload its payload
  kChunk = 4,         // primary → secondary: blocks of the first copy
  kCopyDone = 5,      // primary → secondary: the copy is complete as of a log id
  kPing = 6,          // primary → secondary when idle
  kAck = 7,           // secondary → primary: what it holds
  kSuspend = 8,       // either way: the pair is suspended, by an operator or by an error
  kDelete = 9,        // either way: the pair is dissolved
  kUnits = 10,        // either way: the logical units that hold the volumes on the sender's node
  kMarkRequest = 11,  // secondary → primary: a mark that was asked for at the secondary
  kMarkReply = 12,    // its answer
  kQuery = 13,        // either way, on a connection of its own: what the other node has at a point
  kAnswer = 14,       // its answer; payload are blocks
  kInSync = 15,       // primary → secondary of a synchronous pair: whether FLUSHes wait for it
};

inline constexpr std::size_t kLinkHeaderBytes = 32;
inline constexpr std::uint32_t kLinkBodyBytesMax = 256u << 20;  // a group's state with its marks
inline constexpr std::uint32_t kLinkPayloadBytesMax = 4u << 20;
inline constexpr std::uint32_t kLinkVersion = 2;
// Of a synchronous pair; in an asynchronous one a node of the version before can be the peer.
inline constexpr std::uint32_t kLinkVersionSync = 3;
// Of a hello that names the RAID group for the copy, of either kind of pair.
inline constexpr std::uint32_t kLinkVersionPlaced = 4;
// Of a hello of a pair whose payloads are compressed; what the versions before say is in it where it applies.
inline constexpr std::uint32_t kLinkVersionCompressed = 5;
inline constexpr std::uint32_t kLinkAddressesMax = 16;
inline constexpr std::size_t kLinkAddressBytesMax = 512;

struct LinkHeader {
  LinkMessage type = LinkMessage::kPing;
  std::uint32_t body_bytes = 0;
  std::uint32_t payload_bytes = 0;  // as they come
  std::uint32_t body_checksum = 0;
  std::uint32_t uncompressed_bytes = 0;  // what the payload is, decompressed; 0: it comes as it is
};
std::vector<std::byte> encode_link_header(const LinkHeader& header);
// kInvalid when the bytes are not such a header: somebody else is talking.
Result<LinkHeader> decode_link_header(Bytes bytes);

enum class HelloIntent : std::uint8_t {
  kCreate = 1,    // make the group there and copy it; refused when it exists
  kReplace = 2,   // the same over the secondary of this pair, whose window is given up
  kContinue = 3,  // go on streaming; refused while suspended
  kResync = 4,    // go on after a suspension
  kFollow = 5,    // the sender has taken over: the peer follows it from `start` on, the last entry both have
  kHandOver = 6,  // the peer is to take over where it has not yet, and then say kFollow to the sender
  kQuery = 7,     // questions follow; nothing changes
  kSkip = 8,      // go on after `start`, without what lies between it and what the peer has
  kContinueCopy = 9,  // kContinue, and with a first copy that was cut off where that stopped
};
// What a synchronous pair does when its primary has lost the secondary.
enum class PeerLoss : std::uint8_t {
  kAsync = 1,  // FLUSH and FUA no longer wait for it, until it has caught up
  kWait = 2,   // they wait on
  kFail = 3,   // they fail
};
// How a synchronous pair is kept.
struct SyncTerms {
  PeerLoss on_loss = PeerLoss::kAsync;
  Duration loss_after = Duration::seconds(10);  // of no link, or of no progress while somebody waits
  bool operator==(const SyncTerms&) const = default;
};
inline constexpr Duration kLossAfterMin = Duration::seconds(1);
inline constexpr Duration kLossAfterMax = Duration::seconds(3600);
void encode_terms(Encoder& out, const SyncTerms& terms);
// Nothing when a field is out of bounds.
std::optional<SyncTerms> decode_terms(Decoder& in);

// How payloads may come, where that makes them notably smaller.
enum class Compression : std::uint8_t {
  kOff = 0,
  kZstd = 1,  // RFC 8878: one frame
};

// Why the FLUSHes of a synchronous pair do not wait for the secondary.
enum class NotInSync : std::uint8_t {
  kNone = 0,        // they do
  kCatchingUp = 1,  // since the copy, a resync or a change of the mode it has not had everything
  kLinkDown = 2,    // the link was lost for too long
  kNoProgress = 3,  // the link was there and nothing became durable on the secondary for too long
  kSuspended = 4,
};

struct Hello {
  std::uint32_t version() const {
    if (compression != Compression::kOff) return kLinkVersionCompressed;
    if (!raid.empty()) return kLinkVersionPlaced;
    return sync.has_value() ? kLinkVersionSync : kLinkVersion;
  }
  HelloIntent intent = HelloIntent::kContinue;
  // kResync, kSkip, kReplace: this side's branch continues, whatever the peer wrote alone
  bool overrules = false;
  NodeIdentity node{};
  std::uint64_t instance = 0;  // drawn when the node starts: tells a node from a copy of it
  std::string node_name{};
  GroupIdentity group{};
  std::string group_name{};              // as the secondary is to call it
  std::string primary_group{};           // as the sender calls it
  std::vector<std::string> addresses{};  // where the sender's replication service listens
  // kCreate, kReplace, kSkip: the state is of this point; batches after it follow. kFollow: the last entry
  // that both have. kHandOver: the primary's newest entry when it still is one; the peer must hold it.
  LogId start{};
  std::uint32_t start_checksum = 0;
  // kCreate, kReplace; of kSkip the state alone:
  std::uint32_t parity = 0;  // of the epoch numbers that the secondary draws
  std::uint64_t journal_size_bytes = 0;
  std::int64_t retain_ns = 0;
  std::vector<std::byte> state{};
  std::string raid{};  // the secondary's RAID group that takes the copy; empty: as it sees fit
  // Of a synchronous pair; and what no longer holds of what the secondary was told before.
  std::optional<SyncTerms> sync{};
  NotInSync not_in_sync = NotInSync::kCatchingUp;
  Compression compression = Compression::kOff;  // of the payloads of this connection, both ways
};
std::vector<std::byte> encode_hello(const Hello& hello);
Result<Hello> decode_hello(Bytes bytes);

// Up to where a first copy is durable on the secondary: all of the volumes before `volume`, and of that one
// so many bytes.
struct CopyCursor {
  VolumeId volume{};
  std::uint64_t offset_bytes = 0;
  bool operator==(const CopyCursor&) const = default;
};

struct Welcome {
  bool accepted = false;
  std::uint16_t error_code = 0;  // an ErrorCode, when not accepted
  std::string error_message{};
  NodeIdentity node{};
  std::string node_name{};
  LogId received{};  // newest entry of the primary's order held there
  LogId floor{};
  bool taken_over = false;             // not accepted: the peer has an epoch of its own and takes writes
  std::optional<CopyCursor> copied{};  // kContinueCopy: the first copy is not complete
};
std::vector<std::byte> encode_welcome(const Welcome& welcome);
Result<Welcome> decode_welcome(Bytes bytes);

struct Chunk {
  VolumeId volume{};
  std::uint64_t begin_block = 0;
  std::uint32_t checksum = 0;  // CRC32C of the payload
};
std::vector<std::byte> encode_chunk(const Chunk& chunk);
Result<Chunk> decode_chunk(Bytes bytes);

struct Ack {
  LogId durable{};  // newest entry of the primary's order that is durable there
  LogId floor{};
  bool window_open = false;
  // In a synchronous pair: the secondary's own clock when it sent this, for it to read back (see InSync).
  std::optional<std::int64_t> sent_ns{};
};
std::vector<std::byte> encode_ack(const Ack& ack);
Result<Ack> decode_ack(Bytes bytes);

// What the secondary may count on when it takes over. While `why` is kNone, nothing that the primary has
// acknowledged to a FLUSH is missing there.
struct InSync {
  NotInSync why = NotInSync::kCatchingUp;
  WallTime since{};  // of `why`, by the primary's clock
  // With kNone and PeerLoss::kAsync: that holds until the secondary's clock shows `heard_ns` + `holds_for`.
  std::int64_t heard_ns = 0;  // `sent_ns` of the newest acknowledgement that came
  Duration holds_for{};       // from the moment it came; may be negative
};
inline constexpr Duration kHoldsForMin = Duration::seconds(-24 * 3600);
std::vector<std::byte> encode_in_sync(const InSync& word);
Result<InSync> decode_in_sync(Bytes bytes);

enum class SuspendCause : std::uint8_t {
  kOperator = 0,
  kError = 1,
  kTakeover = 2,  // the secondary takes writes from now on
  kGap = 3,       // the secondary lacks what the entries that follow stand on
};
struct Suspend {
  SuspendCause cause = SuspendCause::kOperator;
  std::string reason{};
};
std::vector<std::byte> encode_suspend(const Suspend& suspend);
Result<Suspend> decode_suspend(Bytes bytes);

// `number` tells the requests of one connection apart.
struct MarkRequest {
  std::uint64_t number = 0;
  LogId at{};  // none: the primary's next mark. Else of one that was taken while the link was down
  MarkRecord mark{};
};
std::vector<std::byte> encode_mark_request(const MarkRequest& request);
Result<MarkRequest> decode_mark_request(Bytes bytes);

struct MarkReply {
  std::uint64_t number = 0;
  bool done = false;
  std::uint16_t error_code = 0;  // an ErrorCode, when not done
  std::string error_message{};
  std::string id{};  // as it is known now
  LogId entry{};     // that recorded it
};
std::vector<std::byte> encode_mark_reply(const MarkReply& reply);
Result<MarkReply> decode_mark_reply(Bytes bytes);

enum class QueryKind : std::uint8_t {
  kResolve = 1,    // which entry `point` is, and the volumes there
  kDiffering = 2,  // which of `blocks` differ between `from` and `at`
  kBlocks = 3,     // the bytes of `blocks` at `at`
  kAllocated = 4,  // which of `blocks` may hold anything but zeroes at `at`
  kChecksums = 5,  // the CRC32C of each of `blocks` at `at`
  kDigests = 6,    // the digest of each of `blocks` at `at`
  kWindow = 7,     // what the group can show there, and what its journal holds
};
struct Query {
  QueryKind kind = QueryKind::kResolve;
  std::string point{};
  bool before = false;  // just before that entry
  // kResolve: to compare with, also where the peer follows behind a gap; the point may expire when space is
  // had from nothing else.
  bool gives_way = false;
  LogId at{};
  LogId from{};
  VolumeId volume{};
  BlockRange blocks{};
};
inline constexpr std::size_t kQueryPointBytesMax = 256;
inline constexpr std::uint32_t kQueryRunsMax = 4096;
inline constexpr std::uint32_t kQueryChecksumsMax = 1024;
// Of a block: the first half of its SHA-256, as four big-endian words among the checksums.
inline constexpr std::uint32_t kDigestWords = 4;
inline constexpr std::uint32_t kQueryDigestsMax = kQueryChecksumsMax / kDigestWords;
std::vector<std::byte> encode_query(const Query& query);
Result<Query> decode_query(Bytes bytes);

// What a node can show of a group, and what that takes.
struct GroupWindow {
  LogId floor{};
  WallTime floor_timer{};
  LogId newest{};  // the newest point that can be shown; the head unless there is a gap before that
  WallTime newest_timer{};
  std::uint64_t journal_bytes = 0;
  std::uint64_t journal_used_bytes = 0;
  std::string last_mark{};  // empty: no marks
  LogId last_mark_at{};
  bool operator==(const GroupWindow&) const = default;
};

struct Answer {
  bool done = false;
  std::uint16_t error_code = 0;  // an ErrorCode, when not done
  std::string error_message{};
  LogId at{};        // kResolve
  WallTime timer{};  // of that entry
  struct Volume {
    VolumeId id{};
    std::string name{};
    std::uint64_t size_bytes = 0;
    bool operator==(const Volume&) const = default;
  };
  std::vector<Volume> volumes{};
  // kDiffering, kAllocated, in order; as many as kQueryRunsMax: there may be more. kChecksums, kDigests:
  // those of the blocks that cannot be read.
  std::vector<BlockRange> runs{};
  std::uint32_t checksum = 0;  // kBlocks: CRC32C of the payload
  // kChecksums: one for each block; of one that cannot be read, 0. kDigests: kDigestWords for each.
  std::vector<std::uint32_t> checksums{};
  std::optional<GroupWindow> window{};  // kWindow
};
std::vector<std::byte> encode_answer(const Answer& answer);
Result<Answer> decode_answer(Bytes bytes);

// Which logical unit of the sender's node holds a volume of the pair; for the pair table of the other node.
struct UnitOfVolume {
  VolumeId volume{};
  LuNumber unit{};
  bool operator==(const UnitOfVolume&) const = default;
};
inline constexpr std::uint32_t kLinkUnitsMax = 4096;
std::vector<std::byte> encode_units(const std::vector<UnitOfVolume>& units);
Result<std::vector<UnitOfVolume>> decode_units(Bytes bytes);

// Body of kCopyDone and kPing: a log id (the point of the copy; the primary's durable head).
std::vector<std::byte> encode_log_id(LogId id);
Result<LogId> decode_log_id(Bytes bytes);

}  // namespace tidemark::format
