#include "replication/pair_record.h"

#include <utility>

#include "base/codec.h"
#include "base/names.h"

namespace tidemark::replication {
namespace {

// 1 had neither epoch_left nor alone, 2 no peer_certificate and no mode, 3 no copy_rate_bytes,
// 4 no fork_checksum, 5 no peer_raid, 6 no compression. A record without any is written as version 6, which
// the tidemarkd before reads.
constexpr std::uint32_t kPairRecordVersion = 7;
constexpr std::size_t kAddressBytesMax = 512;
constexpr std::size_t kReasonBytesMax = 512;
constexpr std::size_t kCertificateBytesMax = 512;

}  // namespace

const char* pair_state_name(PairState state) {
  switch (state) {
    case PairState::kSmpl:
      return "SMPL";
    case PairState::kCopy:
      return "COPY";
    case PairState::kPair:
      return "PAIR";
    case PairState::kPsus:
      return "PSUS";
    case PairState::kPsue:
      return "PSUE";
    case PairState::kSsws:
      return "SSWS";
  }
  return "?";
}

Result<void> PairRecord::check_peer(const std::string& shown) const {
  if (peer_certificate.empty() || shown == peer_certificate) return {};
  const std::string bound = "this pair was made with the certificate of '" + peer_certificate + "'";
  if (shown.empty()) {
    return fail(ErrorCode::kRefused, "the connection shows no certificate, and " + bound +
                                         "; use TLS on both nodes (--tls-cert), or make the pair anew");
  }
  return fail(ErrorCode::kRefused, "the other end has the certificate of '" + shown + "', and " + bound +
                                       "; give that node a certificate of that name, or make the pair anew");
}

void PairRecord::leave_sync(format::NotInSync why, WallTime now) {
  // Since when not, not since when for this reason.
  if (not_in_sync == format::NotInSync::kNone) sync_since = now;
  not_in_sync = why;
}

// A suspension by an error leaves it as it is: that is a loss of the peer like any other, and takes as long.
void PairRecord::enter(PairState next, WallTime now) {
  const PairState left = std::exchange(state, next);
  if (!sync.has_value()) return;
  if (next == PairState::kCopy) {
    leave_sync(format::NotInSync::kCatchingUp, now);
  } else if (next == PairState::kPsus) {
    leave_sync(format::NotInSync::kSuspended, now);
  } else if (next == PairState::kPair && left != next) {
    // A secondary counts on what its primary tells it from now on.
    const bool kept = side == Side::kPrimary && left == PairState::kPsue && in_sync();
    if (!kept) leave_sync(format::NotInSync::kCatchingUp, now);
  }
}

std::vector<std::byte> PairRecord::encode() const {
  Encoder out;
  const bool compresses = compression != format::Compression::kOff;
  out.u32(compresses ? kPairRecordVersion : kPairRecordVersion - 1);
  out.u8(static_cast<std::uint8_t>(side));
  out.u8(static_cast<std::uint8_t>(state));
  out.text(std::string_view(peer_address).substr(0, kAddressBytesMax));
  out.text(peer_group);
  out.raw(peer_node.bytes);
  out.text(peer_name);
  out.text(std::string_view(reason).substr(0, kReasonBytesMax));
  out.i64(since.ns);
  out.u64(fork.raw());
  out.u8(static_cast<std::uint8_t>((needs_copy ? 1 : 0) | (resyncs ? 2 : 0)));
  out.u32(epoch_left.value);
  out.u8(alone ? 1 : 0);
  // One that is too long must not turn into none.
  TM_ASSERT(peer_certificate.size() <= kCertificateBytesMax);
  out.text(peer_certificate);
  out.u8(sync.has_value() ? 1 : 0);
  if (sync.has_value()) {
    format::encode_terms(out, *sync);
    out.u8(static_cast<std::uint8_t>(not_in_sync));
    out.i64(sync_since.ns);
  }
  out.u64(copy_rate_bytes);
  out.u32(fork_checksum);
  out.text(peer_raid);
  if (compresses) out.u8(static_cast<std::uint8_t>(compression));
  return out.take();
}

Result<PairRecord> PairRecord::decode(Bytes bytes) {
  Decoder in(bytes);
  const std::uint32_t version = in.u32();
  if (version < 1 || version > kPairRecordVersion) {
    return fail(ErrorCode::kUnsupported, "a pair record has version " + std::to_string(version) +
                                             "; this tidemarkd knows versions 1 to " +
                                             std::to_string(kPairRecordVersion));
  }
  PairRecord record;
  const std::uint8_t side = in.u8();
  const std::uint8_t state = in.u8();
  record.peer_address = in.text(kAddressBytesMax);
  record.peer_group = in.text(kNameLengthMax);
  record.peer_node.bytes = in.array<16>();
  record.peer_name = in.text(kNameLengthMax);
  record.reason = in.text(kReasonBytesMax);
  record.since.ns = in.i64();
  record.fork = LogId::from_raw(in.u64());
  const std::uint8_t flags = in.u8();
  record.needs_copy = (flags & 1) != 0;
  record.resyncs = (flags & 2) != 0;
  record.epoch_left = record.fork.epoch();
  if (version >= 2) {
    record.epoch_left.value = in.u32();
    record.alone = in.u8() != 0;
  }
  if (version >= 3) record.peer_certificate = in.text(kCertificateBytesMax);
  const bool sync = version >= 3 && in.u8() != 0;
  std::uint8_t not_in_sync = static_cast<std::uint8_t>(record.not_in_sync);
  if (sync) {
    record.sync = format::decode_terms(in);
    not_in_sync = in.u8();
    record.sync_since.ns = in.i64();
  }
  if (version >= 4) record.copy_rate_bytes = in.u64();
  if (version >= 5) record.fork_checksum = in.u32();
  if (version >= 6) record.peer_raid = in.text(kNameLengthMax);
  const std::uint8_t compression = version >= 7 ? in.u8() : 0;
  if (!in.done() || compression > 1 || flags > 3 || not_in_sync > 4 || sync != record.sync.has_value() ||
      side < 1 || side > 2 || state > 5) {
    return fail(ErrorCode::kInvalid, "a pair record is cut off or has a field out of bounds");
  }
  record.side = static_cast<Side>(side);
  record.compression = static_cast<format::Compression>(compression);
  record.not_in_sync = static_cast<format::NotInSync>(not_in_sync);
  record.state = static_cast<PairState>(state);
  return record;
}

}  // namespace tidemark::replication
