#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace tidemark {

// What went wrong, as far as a caller acts on it. docs/errors.md says for each code: what happened,
// whether it may be retried, and whether it may have taken effect already.
enum class ErrorCode {
  kInvalid,      // the request itself is wrong: a name, a size, a malformed message
  kNotFound,     // no such group, volume, mark, point, export
  kExists,       // the name or identity is taken
  kRefused,      // well-formed, but the present state does not allow it
  kBusy,         // in use by somebody else just now
  kNoSpace,      // a disk, a pool or a journal is full
  kReadOnly,     // a write to something that only reads
  kExpired,      // a point below the floor: it was readable once
  kNotReceived,  // a point above the head: it may become readable
  kInGap,        // a point that this node never held
  kIo,           // a disk or a socket failed
  kDamaged,      // bytes that do not match their checksum or their place
  kClosed,       // the other end is gone, or the object was closed
  kTimeout,      // waited as long as was asked
  kUnsupported,  // a version, an option or a platform feature we do not have
  kShutdown,     // the node is stopping
  kDenied,       // who asks may not: no token, one that does not count, or a role that is too low
};

// The stable name of a code as it appears in JSON answers and in docs/errors.md ("not-found").
const char* error_code_name(ErrorCode code);

// A failure that was expected to be possible. The message says what, where and what to do, in one
// sentence without a final newline.
struct Error {
  ErrorCode code;
  std::string message;
};

inline Error fail(ErrorCode code, std::string message) {
  return Error{code, std::move(message)};
}

// A value or an Error. Reading the value of a failed Result is a programming error and aborts.
template <typename T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<std::remove_cvref_t<T>, Error>);

 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    TM_ASSERT(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    TM_ASSERT(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    TM_ASSERT(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    TM_ASSERT(!ok());
    return std::get<1>(state_);
  }
  Error&& error() && {
    TM_ASSERT(!ok());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  void value() const { TM_ASSERT(ok_); }

  const Error& error() const& {
    TM_ASSERT(!ok_);
    return error_;
  }
  Error&& error() && {
    TM_ASSERT(!ok_);
    return std::move(error_);
  }

 private:
  Error error_{};
  bool ok_ = true;
};

}  // namespace tidemark

#define TM_CONCAT_INNER(a, b) a##b
#define TM_CONCAT(a, b) TM_CONCAT_INNER(a, b)

// Hand a failure to the caller; otherwise go on. TM_CO_* are for coroutines.
//   TM_TRY(validate(request));
//   TM_TRY_ASSIGN(auto header, decode_header(bytes));
#define TM_TRY(expression)                                    \
  do {                                                        \
    auto tm_result = (expression);                            \
    if (!tm_result.ok()) return std::move(tm_result).error(); \
  } while (false)

#define TM_TRY_ASSIGN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                                \
  if (!temporary.ok()) return std::move(temporary).error();     \
  declaration = std::move(temporary).value()
#define TM_TRY_ASSIGN(declaration, expression) \
  TM_TRY_ASSIGN_INNER(TM_CONCAT(tm_result_, __LINE__), declaration, expression)

#define TM_CO_TRY(expression)                                    \
  do {                                                           \
    auto tm_result = (expression);                               \
    if (!tm_result.ok()) co_return std::move(tm_result).error(); \
  } while (false)

#define TM_CO_TRY_ASSIGN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                                   \
  if (!temporary.ok()) co_return std::move(temporary).error();     \
  declaration = std::move(temporary).value()
#define TM_CO_TRY_ASSIGN(declaration, expression) \
  TM_CO_TRY_ASSIGN_INNER(TM_CONCAT(tm_result_, __LINE__), declaration, expression)
