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

// Stands as the program in the rows of `tidemark mark create`.
inline constexpr char kMarkCreateProgram[] = "tidemark mark create";

// A mark that somebody wants.
struct MarkWish {
  std::string group;
  std::string id;  // empty: one is generated
  std::string note;
  std::string program;
  std::string path;
  control::WaitFor wait = control::WaitFor::kLocal;
  // Whoever wants it may have asked before and have been cut off: a row of the table without an answer, with
  // this program and path, and with this note or where there is none here, is this very wish.
  bool resumes = false;

  // A try of this wish that may have been carried out; make() sets it and forgets it.
  struct Try {
    std::uint64_t row = 0;  // 0: it is not in the table
    WallTime host_time;
  };
  std::optional<Try> open_try;
};

struct MadeMark {
  control::MarkInfo mark;
  bool by_earlier_try = false;  // the same request had been made before, and the node had done it
};

// Makes marks, and keeps the host's own table of them.
//
// A wish whose earlier try has no answer yet goes out with the host time of that try, and when the node says
// that there is such a mark, and it is one of this host and that time, it is the mark. So however often it is
// asked for there is one mark. Nobody else's row counts as such a try, whatever its id.
//
// A table that cannot be written costs no mark: it is made all the same, and `say` gets a warning. Used by
// one thread; what it was built from outlives it.
class HostMarks {
 public:
  HostMarks(control::ApiClient& node, std::string table_path, Say say)
      : node_(node), table_path_(std::move(table_path)), say_(std::move(say)) {}

  // What the node answered. When it is an error that leaves it open whether the mark was made,
  // `wish.open_try` is set; the same wish, which has its id then, may be made again. Once it was open a
  // refusal of a later try does not settle it.
  // `around`, when there is one, is given what asks the node and calls it, perhaps, once: nothing is written
  // to the table meanwhile.
  using Ask = std::function<Result<control::MarkInfo>()>;
  using Around = std::function<Result<control::MarkInfo>(const Ask& ask)>;
  Result<MadeMark> make(MarkWish& wish, std::chrono::seconds time_limit, const Around& around = {});

 private:
  MarkTable* table();
  void warn(const Error& error);
  // The row of this request, the one that an earlier try left, or a new one; its number is 0 without a table.
  // An earlier try that is only in the table gets into `wish`.
  control::HostMark begin(MarkWish& wish);
  Result<control::MarkInfo> find_own(const control::HostMark& row, const MarkWish& wish,
                                     std::chrono::steady_clock::time_point deadline, const Error& taken);

  control::ApiClient& node_;
  const std::string table_path_;
  const Say say_;
  std::optional<MarkTable> table_;
  bool warned_ = false;
};

}  // namespace tidemark::host
