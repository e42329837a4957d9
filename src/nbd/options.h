#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

// The data of handshake options, from bytes that may be anything. Every length is checked against what is
// really there before it is used. Failures are kInvalid and are told to the client.

namespace tidemark::nbd {

// NBD_OPT_INFO and NBD_OPT_GO.
struct InfoOption {
  std::string export_name;
  std::vector<std::uint16_t> requests;  // as sent: any number, in any order, perhaps twice
  bool asks_for(std::uint16_t information) const;
  static Result<InfoOption> decode(Bytes data);
};

// NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
struct MetaContextOption {
  std::string export_name;
  std::vector<std::string> queries;
  static Result<MetaContextOption> decode(Bytes data);
};

// The rule for strings: at most 4096 bytes, no NUL. Which exports exist is the directory's business.
Result<void> validate_export_name(const std::string& name);

}  // namespace tidemark::nbd
