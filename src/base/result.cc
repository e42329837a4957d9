#include "base/result.h"

namespace tidemark {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return "invalid";
    case ErrorCode::kNotFound:
      return "not-found";
    case ErrorCode::kExists:
      return "exists";
    case ErrorCode::kRefused:
      return "refused";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kNoSpace:
      return "no-space";
    case ErrorCode::kReadOnly:
      return "read-only";
    case ErrorCode::kExpired:
      return "expired";
    case ErrorCode::kNotReceived:
      return "not-received";
    case ErrorCode::kInGap:
      return "in-gap";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kDamaged:
      return "damaged";
    case ErrorCode::kClosed:
      return "closed";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kShutdown:
      return "shutdown";
    case ErrorCode::kDenied:
      return "denied";
  }
  return "unknown";
}

}  // namespace tidemark
