#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/database.h"
#include "control/host_types.h"

namespace tidemark::host {

// The host's own table of the marks that it asked for: one SQLite file of a user or of the system, the table
// `host_mark`. A row is there, durable, before the node is asked, and gets the outcome afterwards. So a
// command that is cut off leaves a row that says `pending`, and the same request made again is known for
// what it is.
//
// Opened by whoever makes or lists marks; several processes may have it open at once, each call is one
// transaction. Errors are those of catalog::Database and name the file.
class MarkTable {
 public:
  // Makes the file (mode 0600) and its folder when they are missing. kRefused: it is another program's
  // database; kUnsupported: a newer version's.
  static Result<MarkTable> open(const std::string& path);
  // Without making anything: nullopt when there is no such file.
  static Result<std::optional<MarkTable>> open_existing(const std::string& path);

  const std::string& path() const { return database_.path(); }

  // Adds a row in state kPending; its number.
  Result<std::uint64_t> add(const control::HostMark& mark);
  // Makes the row with `mark.number`, which was refused, a pending one of this mark.
  Result<void> renew(const control::HostMark& mark);
  // Writes state, log id, timer value, node and outcome of the row with `mark.number`.
  Result<void> settle(const control::HostMark& mark);
  // The rows of this mark, newest first.
  Result<std::vector<control::HostMark>> find(const std::string& group, const std::string& id);
  // The rows of `group` (empty: of all), oldest first; only the newest `count_max` of them.
  Result<std::vector<control::HostMark>> list(const std::string& group, std::uint64_t count_max);
  Result<std::vector<std::string>> groups();

  struct OldRows {
    std::uint64_t answered = 0;
    std::uint64_t open = 0;  // pending and unknown: what became of these marks is not known
  };
  // The rows of `group` (empty: of all) of marks that were asked for before `time`.
  Result<OldRows> count_before(const std::string& group, WallTime time);
  // Removes those that have an answer, the open ones too if wanted; how many. Not one transaction but one for
  // each kPruneStep rows, so that nobody who notes a mark meanwhile waits for long: what was removed when it
  // fails stays removed. pruned_before() is `time` or later before the first row goes.
  Result<std::uint64_t> prune(const std::string& group, WallTime time, bool with_open);
  // Rows of marks of `group` that were asked for before may be gone. nullopt: none was ever removed.
  Result<std::optional<WallTime>> pruned_before(const std::string& group);

  static constexpr std::int64_t kPruneStep = 5'000;  // rows

 private:
  explicit MarkTable(catalog::Database database) : database_(std::move(database)) {}
  static Result<MarkTable> prepare(const std::string& path);

  catalog::Database database_;
};

}  // namespace tidemark::host
