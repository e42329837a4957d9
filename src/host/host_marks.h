#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "control/host_types.h"
#include "control/http_client.h"
#include "host/mark_table.h"

namespace tidemark::host {

// Warnings and other sentences for a person.
using Say = std::function<void(const std::string& sentence)>;

// The node's address, the same from whatever folder it is named.
std::string lasting_address(const control::ControlAddress& address);

// A mark that somebody wants.
struct MarkWish {
  std::string group;
  std::string id;  // empty: one is generated
  std::string note;
  std::string program;
  std::string path;
  control::WaitFor wait = control::WaitFor::kLocal;
};

struct MadeMark {
  control::MarkInfo mark;
  bool by_earlier_try = false;  // the same request had been made before, and the node had done it
};

// Makes marks, and keeps the host's own table of them.
//
// A wish for an id whose row has no answer yet is the same request made again: it goes out with the host time
// of the first try, and when the node says that there is such a mark, and it is one of this host and that
// time, it is the mark. So however often it is asked for there is one mark.
//
// A table that cannot be written costs no mark: it is made all the same, and `say` gets a warning. Used by
// one thread; what it was built from outlives it.
class HostMarks {
 public:
  HostMarks(control::ApiClient& node, std::string table_path, Say say)
      : node_(node), table_path_(std::move(table_path)), say_(std::move(say)) {}

  // What the node answered. kClosed, kTimeout, kIo, kDamaged and kShutdown leave it open whether the mark
  // was made; the same wish under `wish.id`, which has the id then, may be made again.
  // `around`, when there is one, is given what asks the node and calls it, perhaps, once: nothing is written
  // to the table meanwhile.
  using Ask = std::function<Result<control::MarkInfo>()>;
  using Around = std::function<Result<control::MarkInfo>(const Ask& ask)>;
  Result<MadeMark> make(MarkWish& wish, std::chrono::seconds time_limit, const Around& around = {});

  // Whether a request that failed so may have been carried out.
  static bool leaves_open(ErrorCode code);

 private:
  MarkTable* table();
  void warn(const Error& error);
  // The row of this request, the one that an earlier try left, or a new one; its number is 0 without a table.
  control::HostMark begin(const MarkWish& wish, bool& again);
  Result<control::MarkInfo> find_own(const control::HostMark& row, const MarkWish& wish,
                                     std::chrono::steady_clock::time_point deadline, const Error& taken);

  control::ApiClient& node_;
  const std::string table_path_;
  const Say say_;
  std::optional<MarkTable> table_;
  bool warned_ = false;
};

}  // namespace tidemark::host
