#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "catalog/rows.h"

namespace tidemark::catalog {

inline constexpr std::uint32_t kQueryRowsMax = 10'000;  // in one answer
// Of the log_id table, per group: some tens of megabytes. The oldest rows go first; the journal still
// answers for what they said.
inline constexpr std::uint64_t kLogIdRowsMax = 250'000;

// A question to one table. Members that do not apply to the table are refused.
struct Query {
  std::string table;             // "mark_id"
  std::string group;             // only its rows; empty: all
  std::optional<LogId> log_id;   // log_id: the row that covers it; mark_id: marks at it. Needs `group`
  std::string mark_id;           // mark_id: this mark
  std::optional<WallTime> time;  // log_id, mark_id: the newest row at or before it. Needs `group`
  std::uint64_t after = 0;       // skip this many rows
  std::uint32_t limit = 100;     // at most kQueryRowsMax
};

using Cell = std::variant<std::monostate, std::int64_t, double, std::string>;
struct Table {
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
  std::optional<std::uint64_t> next;  // `after` for the next page
};

// How one table compares with what should be in it.
struct TableCheck {
  std::string name;
  std::uint64_t rows = 0;             // that should be there
  std::uint64_t missing = 0;          // of these
  std::uint64_t foreign = 0;          // rows that should not be there; a row that was changed is both
  std::vector<std::string> examples;  // of either, at most kCheckExamplesMax
};
inline constexpr std::size_t kCheckExamplesMax = 20;

// The node's management tables in a SQLite file, for people and programs to read. They are a projection:
// the journal, the extents and the node's configuration are the truth, and a file that is lost or damaged is
// made again from them.
//
// Owned by the node. Every call blocks on the file, so the node makes it through io's Offload; one call at a
// time, from whatever thread. A change is there for every reader when apply() returns; a power failure may
// take the last changes with it (never half of one), which the node makes good when it starts.
class Catalog {
 public:
  // Opens or creates, and brings an older schema up to date. ":memory:" makes one that ends with the object.
  // kDamaged when the file is malformed (see recreate), kUnsupported when a newer program wrote it, kRefused
  // when it is another program's database, kBusy when another program has locked it, else kIo.
  static Result<std::unique_ptr<Catalog>> open(const std::string& path);
  // Throws away what is there, whatever it is, and begins with empty tables. Only while it is not open.
  static Result<std::unique_ptr<Catalog>> recreate(const std::string& path);
  // The names of the tables, in the order in which a person reads them.
  static const std::vector<std::string>& table_names();

  virtual ~Catalog() = default;

  // All of the changes in their order, or none. Errors as of open(); kInvalid for a row that cannot be.
  virtual Result<void> apply(const Changes& changes) = 0;
  // kNotFound names the tables there are; kInvalid for a question that the table cannot answer.
  virtual Result<Table> query(const Query& query) = 0;
  // Compares these tables with what `rows` make of empty ones; of log_id the rows from `log_ids_since` on.
  // Holds both in memory. kDamaged when the file itself is not whole.
  virtual Result<std::vector<TableCheck>> check(const Changes& rows, const std::vector<TableName>& tables,
                                                WallTime log_ids_since) = 0;
};

}  // namespace tidemark::catalog
