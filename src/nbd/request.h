#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "nbd/target.h"
#include "nbd/wire.h"

// Everything that is checked about a request before a target sees it, and every way from an ErrorCode to a
// number on the wire.

namespace tidemark::nbd {

// What was negotiated, as far as it decides which requests are acceptable.
struct Agreement {
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  bool multi_conn = false;
  bool structured_replies = false;
  bool allocation_context = false;  // base:allocation was selected for the export that was opened
};

std::uint16_t transmission_flags(const Agreement& agreement);

// Why a request is refused, without asking the target. The connection goes on.
struct Refusal {
  WireError error = WireError::kNone;
  std::string message;
};

// For every command but DISC. nullopt: the target may have it: known type and flags, not empty, inside the
// export, no write to a read-only export, no READ longer than kPayloadBytesMax.
std::optional<Refusal> validate(const Request& request, const Agreement& agreement);

// The one place that maps failures of a target to the error values of the protocol.
WireError wire_error(ErrorCode code, const Request& request);
// The same for the handshake: an option reply type of the error kind.
std::uint32_t option_error(ErrorCode code);

// A message for the other end's eyes: printable, cut far below the protocol's limit.
std::string displayable(std::string_view message);

}  // namespace tidemark::nbd
